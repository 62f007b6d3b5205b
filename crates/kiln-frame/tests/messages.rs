//! Every message there and back, and every message bent: decoders take hostile bytes without panic or greed.

use std::fs::File;
use std::os::fd::OwnedFd;

use kiln_frame::Compile;
use kiln_frame::Control;
use kiln_frame::Data;
use kiln_frame::Decoder;
use kiln_frame::Done;
use kiln_frame::Ending;
use kiln_frame::FRAME_BODY_MAX;
use kiln_frame::FRAME_FDS_MAX;
use kiln_frame::FileId;
use kiln_frame::Frame;
use kiln_frame::FrameError;
use kiln_frame::HEADER;
use kiln_frame::Hello;
use kiln_frame::INLINE_TOTAL_MAX;
use kiln_frame::Identity;
use kiln_frame::Limits;
use kiln_frame::OUTPUTS_MAX;
use kiln_frame::OutputFile;
use kiln_frame::PROTOCOL_VERSION;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::Rest;
use kiln_frame::RunLocally;
use kiln_frame::Slot;
use kiln_frame::Terminal;
use kiln_frame::View;
use kiln_frame::drain_frame;
use kiln_frame::kind;

fn hello() -> Hello {
    let identity = Identity {
        uid: 1000,
        euid: 1001,
        gid: 100,
        egid: 101,
        groups: vec![4, 24, 100],
        mount_ns: 4_026_531_841,
        user_ns: 4_026_531_837,
        pid_ns: 4_026_531_836,
        root: FileId { dev: 2049, ino: 2 },
    };
    let limits = Limits { cpu: u64::MAX, file_size: 1 << 30, data: u64::MAX, stack: 8 << 20, address_space: u64::MAX };
    Hello { version: PROTOCOL_VERSION, view: View { identity, cwd: FileId { dev: 2049, ino: 77 }, umask: 0o022, limits } }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Compile(Box::new(Compile {
            compiler: b"/usr/bin/gcc-12".to_vec(),
            args: [&b"-c"[..], b"", b"-o", b"a \xff\n.o", b"a.c"].map(<[u8]>::to_vec).to_vec(),
            cwd: b"/home/u".to_vec(),
            env: vec![b"PATH=/bin".to_vec(), b"odd".to_vec(), b"LANG=".to_vec()],
            terminal: Some(Terminal { columns: 132, rows: 43 }),
            under_slot: Some(b"token".to_vec()),
            depth: 3,
            stdin: Some(1),
        })),
        Request::Compile(Box::new(Compile {
            compiler: b"/c".to_vec(),
            args: vec![],
            cwd: b"/".to_vec(),
            env: vec![],
            terminal: None,
            under_slot: None,
            depth: 0,
            stdin: None,
        })),
        Request::Slot(Slot { heavy: true, reason: "link".into(), command: vec![b"/usr/bin/ld".to_vec()], under_slot: None }),
        Request::Control(Control { name: "explain".into(), args: vec![b"--last".to_vec(), b"3".to_vec()] }),
    ]
}

fn replies() -> Vec<Reply> {
    let part = |len| Data::Fd { index: 1, offset: 4096, len };
    let done = Done {
        ending: Ending::Exit(1),
        stdout: Data::Inline(vec![]),
        stderr: part(70_000),
        outputs: vec![
            OutputFile { path: b"a.d".to_vec(), executable: false, is_main: false, data: Data::Inline(b"a.o: a.c\n".to_vec()) },
            OutputFile { path: b"/x/a.o".to_vec(), executable: true, is_main: true, data: part(1) },
        ],
        removed: vec![b"a.gcno".to_vec()],
        warning: Some("a worker was lost".into()),
    };
    let rest = Rest { args: vec![b"-o".to_vec(), vec![]], stdout: vec![0], stderr: b"a.c:1: warning\n".to_vec() };
    let killed = Done { ending: Ending::Signal(11), outputs: vec![], removed: vec![], warning: None, ..done.clone() };
    vec![
        Reply::Wait,
        Reply::RunLocally(RunLocally { reason: "link".into(), token: Some(b"t-1".to_vec()), warning: None, rest: None }),
        Reply::RunLocally(RunLocally { reason: "farm-full".into(), token: None, warning: Some("w".into()), rest: Some(rest) }),
        Reply::Done(Box::new(done)),
        Reply::Done(Box::new(killed)),
        Reply::Answer("{\"ok\":true}".into()),
        Reply::Refuse("another view".into()),
        Reply::Fail("no worker".into()),
    ]
}

/// Some descriptors to go with a frame.
fn fds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
}

fn frame_of(bytes: &[u8], count: usize) -> Frame {
    let mut decoder = Decoder::new();
    decoder.push(bytes, fds(count)).unwrap();
    let frame = decoder.next_frame().unwrap().expect("a whole frame");
    assert!(decoder.is_at_boundary());
    frame
}

#[test]
fn every_message_comes_back_as_it_was() {
    let mut bytes = Vec::new();
    hello().encode(&mut bytes).unwrap();
    assert_eq!(Hello::from_frame(&frame_of(&bytes, 0)).unwrap(), hello());
    for request in requests() {
        let mut bytes = Vec::new();
        request.encode(&mut bytes, 2).unwrap();
        assert_eq!(Request::from_frame(&frame_of(&bytes, 2)).unwrap(), request);
    }
    for reply in replies() {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes, 2).unwrap();
        assert_eq!(Reply::from_frame(&frame_of(&bytes, 2)).unwrap(), reply);
    }
    assert_eq!(frame_of(&drain_frame(), 0).kind, kind::DRAIN);
}

#[test]
fn frames_arrive_byte_by_byte_and_all_at_once() {
    let mut bytes = Vec::new();
    hello().encode(&mut bytes).unwrap();
    for reply in replies() {
        reply.encode(&mut bytes, 0).unwrap();
    }
    let count_of = |chunk: usize| {
        let (mut decoder, mut count) = (Decoder::new(), 0);
        for part in bytes.chunks(chunk) {
            decoder.push(part, []).unwrap();
            while decoder.next_frame().unwrap().is_some() {
                count += 1;
            }
        }
        assert!(decoder.is_at_boundary());
        count
    };
    for chunk in [1, 2, 7, 8, 9, 100, bytes.len()] {
        assert_eq!(count_of(chunk), 1 + replies().len(), "in pieces of {chunk}");
    }
}

#[test]
fn descriptors_go_to_the_frame_that_claims_them() {
    let mut bytes = Vec::new();
    hello().encode(&mut bytes).unwrap();
    requests()[0].encode(&mut bytes, 2).unwrap();
    let mut decoder = Decoder::new();
    decoder.push(&bytes, fds(2)).unwrap();
    assert_eq!(decoder.next_frame().unwrap().unwrap().fds.len(), 0);
    assert_eq!(decoder.next_frame().unwrap().unwrap().fds.len(), 2);
}

#[test]
fn a_header_is_refused_before_its_body_is_waited_for() {
    let refused = |header: [u8; HEADER]| {
        let mut decoder = Decoder::new();
        decoder.push(&header, []).unwrap();
        decoder.next_frame().map(|frame| frame.is_some())
    };
    let len = (FRAME_BODY_MAX as u32).to_le_bytes();
    let over = (FRAME_BODY_MAX as u32 + 1).to_le_bytes();
    assert_eq!(refused([len[0], len[1], len[2], len[3], 1, 0, 0, 0]), Ok(false));
    assert_eq!(refused([over[0], over[1], over[2], over[3], 1, 0, 0, 0]), Err(FrameError::TooLarge { len: FRAME_BODY_MAX + 1 }));
    assert_eq!(refused([0, 0, 0, 0, 1, 1, 0, 0]), Err(FrameError::BadValue("header")));
    assert_eq!(refused([0, 0, 0, 0, 1, 0, FRAME_FDS_MAX as u8 + 1, 0]), Err(FrameError::TooManyDescriptors));
    assert_eq!(refused([0, 0, 0, 0, 1, 0, 1, 0]), Err(FrameError::MissingDescriptors));
}

#[test]
fn descriptors_that_nobody_claims_do_not_pile_up() {
    let mut decoder = Decoder::new();
    let pushed = (0..).take_while(|_| decoder.push(&[], fds(1)).is_ok()).count();
    assert_eq!(pushed, 2 * FRAME_FDS_MAX);
}

#[test]
fn what_does_not_fit_is_not_encoded() {
    let mut bytes = b"before".to_vec();
    let huge = Request::Control(Control { name: "x".into(), args: vec![vec![0x61; FRAME_BODY_MAX]] });
    assert!(matches!(huge.encode(&mut bytes, 0), Err(FrameError::TooLarge { .. })));
    assert_eq!(Reply::Wait.encode(&mut bytes, FRAME_FDS_MAX + 1), Err(FrameError::TooManyDescriptors));
    assert_eq!(bytes, b"before");
}

/// The reply `change` makes of a good one, encoded and decoded.
#[track_caller]
fn refused(change: impl FnOnce(&mut Done), because: &'static str) {
    let Some(Reply::Done(mut done)) = replies().into_iter().nth(3) else { panic!("the fourth reply is a result") };
    change(&mut done);
    let mut bytes = Vec::new();
    Reply::Done(done).encode(&mut bytes, 2).unwrap();
    assert_eq!(Reply::from_frame(&frame_of(&bytes, 2)), Err(FrameError::BadValue(because)));
}

#[test]
fn results_that_no_compile_has_are_refused() {
    let file = |path: &[u8]| OutputFile { path: path.to_vec(), executable: false, is_main: false, data: Data::Inline(vec![]) };
    refused(|done| done.ending = Ending::Signal(0), "signal");
    refused(|done| done.ending = Ending::Signal(65), "signal");
    refused(|done| done.stdout = Data::Fd { index: 2, offset: 0, len: 1 }, "descriptor index");
    refused(|done| done.stdout = Data::Fd { index: 0, offset: u64::MAX, len: 2 }, "data range");
    refused(|done| done.stdout = Data::Fd { index: 0, offset: 1, len: i64::MAX as u64 }, "data range");
    refused(|done| done.outputs.push(file(b"")), "output path");
    refused(|done| done.outputs.push(file(b"a\0b")), "output path");
    refused(|done| done.outputs = vec![file(b"x"); OUTPUTS_MAX + 1], "number of outputs");
    refused(|done| done.removed = vec![b"x".to_vec(); OUTPUTS_MAX + 1], "number of outputs");
    refused(|done| done.stderr = Data::Inline(vec![0; INLINE_TOTAL_MAX]), "amount of inline data");
}

#[test]
fn requests_that_no_wrapper_makes_are_refused() {
    let change = |change: &dyn Fn(&mut Compile)| {
        let Some(Request::Compile(mut compile)) = requests().into_iter().next() else { panic!("the first is a compile") };
        change(&mut compile);
        let mut bytes = Vec::new();
        Request::Compile(compile).encode(&mut bytes, 2).unwrap();
        Request::from_frame(&frame_of(&bytes, 2)).unwrap_err()
    };
    assert_eq!(change(&|compile| compile.compiler = b"gcc".to_vec()), FrameError::BadValue("compiler path"));
    assert_eq!(change(&|compile| compile.cwd = b"".to_vec()), FrameError::BadValue("working directory"));
    assert_eq!(change(&|compile| compile.args.push(b"a\0b".to_vec())), FrameError::BadValue("argument"));
    assert_eq!(change(&|compile| compile.env.push(b"\0".to_vec())), FrameError::BadValue("variable"));
    assert_eq!(change(&|compile| compile.stdin = Some(2)), FrameError::BadValue("descriptor index"));
}

#[test]
fn another_version_is_told_by_its_hello_alone() {
    let mut bytes = Vec::new();
    Hello { version: PROTOCOL_VERSION + 1, ..hello() }.encode(&mut bytes).unwrap();
    assert_eq!(Hello::from_frame(&frame_of(&bytes, 0)), Err(FrameError::BadValue("protocol version")));
    assert_eq!(Hello::from_frame(&frame_of(&drain_frame(), 0)), Err(FrameError::UnexpectedKind(kind::DRAIN)));
}

/// A small generator with a seed (SplitMix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Decodes whatever `bytes` are as everything. A body that some decoder takes must encode to itself again.
fn decode_as_everything(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new();
    decoder.push(bytes, fds(2)).unwrap();
    let Ok(Some(frame)) = decoder.next_frame() else { return false };
    let mut again = Vec::new();
    let count = frame.fds.len();
    let (hello, request, reply) = (Hello::from_frame(&frame), Request::from_frame(&frame), Reply::from_frame(&frame));
    let taken = match (&hello, &request, &reply) {
        (Ok(hello), ..) => hello.encode(&mut again),
        (_, Ok(request), _) => request.encode(&mut again, count),
        (_, _, Ok(reply)) => reply.encode(&mut again, count),
        _ => return false,
    };
    taken.unwrap();
    assert_eq!(again[HEADER..], frame.body, "a message has one encoding");
    true
}

#[test]
fn bent_messages_never_panic_and_what_is_taken_is_canonical() {
    let mut samples = Vec::new();
    let mut bytes = Vec::new();
    hello().encode(&mut bytes).unwrap();
    samples.push(bytes);
    for request in requests() {
        samples.push(Vec::new());
        request.encode(samples.last_mut().unwrap(), 2).unwrap();
    }
    for reply in replies() {
        samples.push(Vec::new());
        reply.encode(samples.last_mut().unwrap(), 2).unwrap();
    }
    for sample in &samples {
        assert!(decode_as_everything(sample));
        // Every truncation, with a header that claims just what is there.
        for len in HEADER..sample.len() {
            let mut cut = sample[..len].to_vec();
            cut[..4].copy_from_slice(&((len - HEADER) as u32).to_le_bytes());
            assert!(!decode_as_everything(&cut), "a message cut to {len} bytes");
        }
        let mut long = sample.clone();
        long.push(0);
        let len = (long.len() - HEADER) as u32;
        long[..4].copy_from_slice(&len.to_le_bytes());
        assert!(!decode_as_everything(&long), "a message with a byte more");
    }
    let mut random = Random(1);
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut bent = samples[random.below(samples.len())].clone();
        for _ in 0..=random.below(4) {
            let at = HEADER + random.below((bent.len() - HEADER).max(1));
            if let Some(byte) = bent.get_mut(at) {
                *byte = if random.below(2) == 0 { random.next() as u8 } else { *byte ^ (1 << random.below(8)) };
            }
        }
        bent[4] = samples[random.below(samples.len())][4];
        taken += usize::from(decode_as_everything(&bent));
    }
    assert!(taken > 100, "some bent messages are still messages: {taken}");
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let len = random.below(200);
        let mut bytes: Vec<u8> = (0..HEADER + len).map(|_| random.next() as u8).collect();
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[5] = 0;
        bytes[6] = random.below(3) as u8;
        bytes[7] = 0;
        decode_as_everything(&bytes);
    }
}
