//! Connections, descriptors, peers and places on real sockets.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use kiln_frame::Connection;
use kiln_frame::ConnectionError;
use kiln_frame::FRAME_FDS_MAX;
use kiln_frame::Hello;
use kiln_frame::Identity;
use kiln_frame::PROTOCOL_VERSION;
use kiln_frame::Place;
use kiln_frame::PlaceError;
use kiln_frame::Reply;
use kiln_frame::SOCKET_PATH_MAX;
use kiln_frame::sys;

fn pair() -> (Connection, Connection) {
    let (a, b) = UnixStream::pair().unwrap();
    (Connection::over(a), Connection::over(b))
}

fn memory(text: &str) -> File {
    let mut file = sys::memory_file().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn descriptors_arrive_in_order_with_their_frame() {
    let (mut a, mut b) = pair();
    let files = [memory("first"), memory("second")];
    let mut bytes = Vec::new();
    Hello::current().encode(&mut bytes).unwrap();
    Reply::Refuse("x".repeat(200_000)).encode(&mut bytes, 2).unwrap();
    let sender = std::thread::spawn(move || {
        a.send(&bytes, &[files[0].as_fd(), files[1].as_fd()]).unwrap();
    });
    assert!(b.receive().unwrap().unwrap().fds.is_empty());
    let frame = b.receive().unwrap().unwrap();
    let texts = frame.fds.into_iter().map(|fd| {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["first", "second"]);
    sender.join().unwrap();
    assert!(b.receive().unwrap().is_none(), "an orderly end");
}

#[test]
fn an_end_inside_a_frame_is_an_error() {
    let (mut a, mut b) = pair();
    let mut bytes = Vec::new();
    Reply::Answer("{}".into()).encode(&mut bytes, 0).unwrap();
    a.send(&bytes[..bytes.len() - 1], &[]).unwrap();
    drop(a);
    let error = b.receive().unwrap_err();
    assert!(matches!(&error, ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof), "{error}");
}

#[test]
fn a_vanished_peer_is_an_error_and_no_signal() {
    let (mut a, b) = pair();
    drop(b);
    let error = a.send(&[0; 100], &[]).unwrap_err();
    assert!(matches!(&error, ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn a_silent_peer_is_given_up() {
    let (mut a, _b) = pair();
    let error = a.receive_within(Duration::from_millis(30)).unwrap_err();
    assert!(matches!(&error, ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_listener_that_never_accepts_is_given_up() {
    let dir = Dir::new("full");
    let path = dir.0.join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match sys::connect(&path, Duration::from_millis(50)) {
            Ok(stream) => held.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn the_peer_is_known() {
    let (a, _b) = pair();
    let peer = a.check_peer().unwrap();
    assert_eq!((peer.pid, peer.uid), (std::process::id(), sys::ids().euid));
}

#[test]
fn too_many_descriptors_are_refused_by_both_sides() {
    let (mut a, b) = pair();
    let null = File::open("/dev/null").unwrap();
    let fds = vec![null.as_fd(); FRAME_FDS_MAX + 1];
    assert!(a.send(b"x", &fds).is_err());
    // As a peer with its own idea of the bound would send them.
    assert_eq!(sys_send(b.stream(), fds.len(), &null), 1);
    let mut received = Vec::new();
    let error = kiln_frame::recv_with_fds(a.stream().as_fd(), &mut [0; 8], &mut received).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

/// Sends `count` descriptors at once by the system call itself.
fn sys_send(stream: &UnixStream, count: usize, file: &File) -> isize {
    use std::os::fd::AsRawFd;
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = vec![0_u64; 64 + count];
    // SAFETY: zero is a valid `msghdr`; the control buffer has room for a header and `count` descriptors, aligned.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4 * count as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4 * count as u32) as usize;
        for at in 0..count {
            libc::CMSG_DATA(header).cast::<i32>().add(at).write_unaligned(file.as_raw_fd());
        }
        libc::sendmsg(stream.as_raw_fd(), &raw const message, 0)
    }
}

/// A directory that goes when the test does.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("kiln-frame-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find(settings: &[(&str, &Path)]) -> Result<Place, PlaceError> {
    let settings =
        |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value.as_os_str()));
    Place::find(&settings, &Identity::current())
}

#[test]
fn the_runtime_directory_comes_first_and_is_private() {
    let dir = Dir::new("runtime");
    let place = find(&[("XDG_RUNTIME_DIR", &dir.0), ("KILN_DIR", &dir.0.join("state"))]).unwrap();
    assert_eq!(place.dir(), dir.0.join("kiln"));
    assert_eq!(fs::metadata(place.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    let name = place.socket().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("v{PROTOCOL_VERSION}-")), "{name}");
}

#[test]
fn a_directory_that_others_may_enter_or_redirect_is_passed_over() {
    let dir = Dir::new("open");
    let state = dir.0.join("state");
    let wide = dir.0.join("wide");
    fs::create_dir_all(wide.join("kiln")).unwrap();
    fs::set_permissions(wide.join("kiln"), fs::Permissions::from_mode(0o755)).unwrap();
    let linked = dir.0.join("linked");
    fs::create_dir(&linked).unwrap();
    fs::create_dir(linked.join("target")).unwrap();
    std::os::unix::fs::symlink("target", linked.join("kiln")).unwrap();
    for runtime in [&wide, &linked, &dir.0.join("missing"), &PathBuf::from("relative"), &dir.0.join("x".repeat(SOCKET_PATH_MAX))] {
        let place = find(&[("XDG_RUNTIME_DIR", runtime), ("KILN_DIR", &state)]).unwrap();
        assert_eq!(place.dir(), state.join("run"), "not {}", runtime.display());
    }
    assert!(!dir.0.join("missing").exists(), "a runtime directory is never made");
}

#[test]
fn another_state_or_view_has_another_socket() {
    let dir = Dir::new("names");
    let place = |state: &str| find(&[("XDG_RUNTIME_DIR", &dir.0), ("KILN_DIR", &dir.0.join(state))]).unwrap();
    assert_eq!(place("a"), place("a"));
    assert_ne!(place("a").socket(), place("b").socket());
    let mut other = Identity::current();
    other.mount_ns += 1;
    assert_ne!(Identity::current().hash(&[]), other.hash(&[]));
}

#[test]
fn one_daemon_at_a_time_serves_a_place() {
    let dir = Dir::new("claim");
    let place = find(&[("XDG_RUNTIME_DIR", &dir.0)]).unwrap();
    // Left by a daemon that was killed.
    drop(UnixListener::bind(place.socket()).unwrap());
    assert!(Connection::connect(&place.socket()).is_err());
    fs::write(place.start_failed(), "earlier").unwrap();
    let claim = place.claim().unwrap();
    assert!(!place.start_failed().exists(), "a daemon that listens has started");
    assert!(matches!(place.claim(), Err(PlaceError::Taken)));
    let mut wrapper = Connection::connect(&place.socket()).unwrap();
    let mut daemon = Connection::over(claim.listener.accept().unwrap().0);
    daemon.check_peer().unwrap();
    wrapper.send(&kiln_frame::drain_frame(), &[]).unwrap();
    assert_eq!(daemon.receive().unwrap().unwrap().kind, kiln_frame::kind::DRAIN);
    drop(claim);
    assert!(!place.socket().exists());
    drop(place.claim().unwrap());
}

#[test]
fn sockets_of_other_versions_are_found() {
    let dir = Dir::new("versions");
    let place = find(&[("XDG_RUNTIME_DIR", &dir.0)]).unwrap();
    let of = |version: u32| {
        PathBuf::from(place.socket().to_str().unwrap().replace(&format!("/v{PROTOCOL_VERSION}-"), &format!("/v{version}-")))
    };
    for version in [PROTOCOL_VERSION, PROTOCOL_VERSION + 9, PROTOCOL_VERSION + 7] {
        fs::write(of(version), "").unwrap();
    }
    fs::write(place.dir().join(format!("v{}-0123456789abcdef.sock", PROTOCOL_VERSION + 1)), "").unwrap();
    let versions = [PROTOCOL_VERSION + 7, PROTOCOL_VERSION + 9];
    assert_eq!(place.other_versions(), versions.map(|version| (version, of(version))));
}

#[test]
fn parts_are_copied_between_all_kinds_of_files() {
    let dir = Dir::new("copy");
    let text = "0123456789".repeat(50_000);
    let sources = [memory(&text), {
        fs::write(dir.0.join("in"), &text).unwrap();
        File::open(dir.0.join("in")).unwrap()
    }];
    for source in &sources {
        let path = dir.0.join("out");
        let to = File::create(&path).unwrap();
        sys::copy_range(source.as_fd(), 3, 400_000, &to).unwrap();
        sys::close(to).unwrap();
        assert!(fs::read(&path).unwrap() == text.as_bytes()[3..400_003]);
        // Opened for appending, and with fewer bytes than claimed.
        let to = File::options().append(true).open(&path).unwrap();
        sys::copy_range(source.as_fd(), 0, 5, &to).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 400_005);
        let error = sys::copy_range(source.as_fd(), 499_999, 2, &File::create(&path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_sealed_file_cannot_change() {
    let mut file = memory("final");
    sys::seal(&file).unwrap();
    assert!(file.write_all(b"other").is_err());
    assert!(file.set_len(0).is_err());
}

/// A child that is killed with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_spins_is_runnable_and_one_that_was_stopped_is_not() {
    let child = Child(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh"));
    let pid = child.0.id();
    let awaited = |runnable: bool| {
        let begin = std::time::Instant::now();
        while sys::is_runnable(pid) != runnable {
            assert!(begin.elapsed() < Duration::from_secs(20), "runnable: {}", !runnable);
            std::thread::yield_now();
        }
    };
    awaited(true);
    // SAFETY: a signal to a child that was not waited for.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) };
    awaited(false);
    assert!(!sys::is_runnable(0), "there is no such process");
}
