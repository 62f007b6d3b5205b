//! Every parser of what kiln did not write itself, as a function of bytes that may be anything: targets of the fuzzer, and of a short run
//! in `make test` (`crates/kiln-testkit/tests/fuzz.rs` includes this file). Parsers within a crate are reached by the fuzzer alone; there
//! the crate's own tests have the short run. Knows no expected values, only what always holds.

use kiln_cmdline::{Family, Request, check_specs, explain, parse, parse_all, quick_refusal};
use kiln_frame::{Decoder, Frame, Hello, Reply};
use kiln_proto::grant::GrantKey;
use kiln_scan::{
    Compiler, ContentId, Dialect, DirId, Directives, Entry as FoundEntry, FileId, FileView, LineComments, MacroTable, MemoryView,
    Names, ReadError, ScanRequest, Scanner, SearchDirs, SearchList, directives,
};
use kiln_store::{KeptBounds, Origin, read_kept};
use std::sync::Arc;

/// One parser.
pub type Entry = fn(&[u8]);

/// All of them, by the name of their target and of their directory of seeds.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("address", address),
    ("cmdline", cmdline),
    ("depfile", depfile),
    ("directives", recorded),
    #[cfg(fuzzing)]
    ("elf", kiln_toolchain::fuzzing::elf),
    #[cfg(fuzzing)]
    ("files", kiln_daemon::fuzzing::files),
    ("frame", frame),
    ("grant", grant),
    ("kept", kept),
    #[cfg(fuzzing)]
    ("ldcache", kiln_toolchain::fuzzing::ldcache),
    ("macros", macros),
    ("reapi", reapi),
    #[cfg(fuzzing)]
    ("record", kiln_store::fuzzing::record),
    ("resource", resource),
    ("response", response),
    #[cfg(fuzzing)]
    ("sandbox", kiln_sandbox::fuzzing::messages),
    ("scan", scan),
    ("specs", specs),
    ("toolchain", toolchain),
];

const FAMILIES: [Family; 2] = [Family::Gcc, Family::Clang];

/// What becomes of one command line: it is read or refused, the quick look agrees, and every word is told of.
fn read(args: &[Vec<u8>], file: Option<&[u8]>) {
    let quick = quick_refusal(args);
    for family in FAMILIES {
        for cxx_driver in [false, true] {
            let read_file = |_: &str| file.map(<[u8]>::to_vec);
            let request = Request { family, cxx_driver, args, env: &[], cwd: "/d", read_file: &read_file };
            if let Ok(invocation) = parse(&request) {
                assert!(quick.is_none(), "refused at a glance, and read");
                assert!(invocation.outputs.iter().any(|output| output.required));
                assert_eq!(invocation.args.len(), args.len());
                let again: Vec<Vec<u8>> = invocation.expanded.iter().map(|arg| arg.clone().into_bytes()).collect();
                let second = parse(&Request { args: &again, read_file: &|_| None, ..request }).expect("what was read reads again");
                assert_eq!(second.outputs, invocation.outputs);
            }
            let _ = parse_all(&request);
            let words: Vec<String> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            let _ = explain(family, cxx_driver, &words);
        }
    }
}

/// A command line, a word a line.
fn cmdline(bytes: &[u8]) {
    let args: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    read(&args, None);
}

/// A response file.
fn response(bytes: &[u8]) {
    read(&[b"-c".to_vec(), b"@f".to_vec()], Some(bytes));
}

/// What an earlier daemon kept of its compilers: digests, a toolchain, an answer. What reads is written the same again.
fn toolchain(bytes: &[u8]) {
    let _ = kiln_toolchain::DigestCache::decode(bytes);
    if let Ok(toolchain) = kiln_toolchain::Toolchain::decode(bytes) {
        let again =
            kiln_toolchain::Toolchain::decode(&toolchain.encode().expect("what was read is text")).expect("what was written");
        assert_eq!((again.id, &again.entries), (toolchain.id, &toolchain.entries));
    }
    if let Ok(answer) = kiln_toolchain::Builtins::decode(bytes) {
        let again = kiln_toolchain::Builtins::decode(&answer.encode().expect("what was read is text"));
        assert_eq!(again.ok(), Some(answer));
    }
}

/// A file of what an earlier process kept; with its head sealed again, so that what is behind the digest is read as well.
fn kept(bytes: &[u8]) {
    const BOUNDS: KeptBounds = KeptBounds { values: 64, bytes: 1 << 20 };
    let reader = Origin::new("1", "b", 100);
    let _ = read_kept(bytes, &reader, BOUNDS);
    let Some((fixed, list)) = bytes.split_at_checked(40) else { return };
    let len = u64::from_le_bytes(*fixed.last_chunk().expect("eight bytes"));
    let Some(head) = usize::try_from(len).ok().and_then(|len| list.get(..len)) else { return };
    let sealed = [&kiln_cas::Digest::of(head).hash[..], &fixed[32..], list].concat();
    if let Ok(values) = read_kept(&sealed, &reader, BOUNDS) {
        let read: usize = values.values().flatten().map(Vec::len).sum();
        assert!(read <= list.len() && values.len() <= BOUNDS.values);
    }
}

/// A specs file.
fn specs(bytes: &[u8]) {
    let _ = check_specs(&String::from_utf8_lossy(bytes));
}

/// A source, and a header that includes itself by another name: lexed in every dialect, scanned twice with the same outcome.
fn scan(bytes: &[u8]) {
    const DIALECTS: &[Dialect] = &[
        Dialect::GNU_C,
        Dialect::GNU_CXX,
        Dialect::ASSEMBLER,
        Dialect { trigraphs: true, modules: true, ..Dialect::GNU_CXX },
        Dialect { line_comments: LineComments::InText, digraphs: false, raw_strings: false, ..Dialect::GNU_C },
    ];
    let names = Names::new();
    for dialect in DIALECTS {
        let _ = directives(bytes, *dialect, &names);
    }
    let mut view = MemoryView::with(&[("/w/i/x.h", "#include_next <x.h>\n#define A 1\n"), ("/w/j/x.h", "#undef A\n")]);
    view.write("/w/a.c", bytes);
    for compiler in [Compiler::Gcc, Compiler::Clang] {
        let request = request(&view, compiler);
        let mut scanner = Scanner::new();
        let first = scanner.scan(&view, &request);
        assert_eq!(first, scanner.scan(&view, &request), "a second scan says the same");
    }
}

/// Files as another view has them, but for one whose directives come from a record.
struct Recorded {
    view: MemoryView,
    file: ContentId,
    directives: Arc<Directives>,
}

impl FileView for Recorded {
    fn names(&self) -> &Names {
        self.view.names()
    }

    fn generation(&self) -> u64 {
        self.view.generation()
    }

    fn dir(&self, path: &str) -> Option<DirId> {
        self.view.dir(path)
    }

    fn walk(&self, from: DirId, relative: &str) -> Option<DirId> {
        self.view.walk(from, relative)
    }

    fn entry(&self, dir: DirId, name: &str) -> FoundEntry {
        self.view.entry(dir, name)
    }

    fn content(&self, file: FileId) -> Result<ContentId, ReadError> {
        self.view.content(file)
    }

    fn directives(&self, content: ContentId, dialect: Dialect) -> Result<Arc<Directives>, ReadError> {
        if content == self.file { Ok(Arc::clone(&self.directives)) } else { self.view.directives(content, dialect) }
    }
}

/// What an earlier daemon kept of a file's directives: written again it reads the same, and whatever it says can be scanned.
fn recorded(bytes: &[u8]) {
    let mut view = MemoryView::with(&[("/w/i/x.h", "#include_next <x.h>\n#define A 1\n"), ("/w/j/x.h", "#undef A\n")]);
    let Ok(directives) = Directives::decode(bytes, view.names()) else { return };
    let again = directives.encode(view.names()).expect("what was read can be written");
    assert_eq!(Directives::decode(&again, view.names()).ok().as_ref(), Some(&directives));
    let file = view.write("/w/a.c", b"");
    let view = Recorded { view, file, directives: Arc::new(directives) };
    for compiler in [Compiler::Gcc, Compiler::Clang] {
        let request = request(&view, compiler);
        let mut scanner = Scanner::new();
        let first = scanner.scan(&view, &request);
        assert_eq!(first, scanner.scan(&view, &request), "a second scan says the same");
        let listed = ["a.c".to_owned(), "i/x.h".to_owned()];
        let _ = scanner.complete(&view, &request, &listed);
    }
}

/// A unit `a.c` of this view.
fn request(view: &impl FileView, compiler: Compiler) -> ScanRequest {
    let dirs = SearchDirs { user: vec!["i".to_owned(), "j".to_owned()], ..SearchDirs::default() };
    let search = Arc::new(SearchList::assemble(view, "/w", &dirs, compiler));
    let predefined = Arc::new(MacroTable::parse(b"#define __cplusplus 201703L\n", view.names()));
    ScanRequest { compiler, ..ScanRequest::new("a.c", "/w", Dialect::GNU_CXX, search, predefined) }
}

/// A compiler's dump of its macros.
fn macros(bytes: &[u8]) {
    let _ = MacroTable::parse(bytes, &Names::new());
}

/// A dependency file.
fn depfile(bytes: &[u8]) {
    let _ = kiln_toolchain::parse_depfile(bytes);
}

/// What arrives at either end of the wrapper's socket: the same frames whether byte by byte or at once.
fn frame(bytes: &[u8]) {
    let mut at_once = Decoder::new();
    let taken = at_once.push(bytes, Vec::new());
    let (mut by_byte, mut frames) = (Decoder::new(), 0);
    for byte in bytes {
        if by_byte.push(&[*byte], Vec::new()).is_err() {
            break;
        }
        while let Ok(Some(frame)) = by_byte.next_frame() {
            messages(&frame);
            frames += 1;
        }
    }
    if taken.is_ok() {
        let mut count = 0;
        while let Ok(Some(_)) = at_once.next_frame() {
            count += 1;
        }
        assert_eq!(count, frames, "frames at once and byte by byte");
    }
}

fn messages(frame: &Frame) {
    let _ = Hello::from_frame(frame);
    let _ = kiln_frame::Request::from_frame(frame);
    let _ = Reply::from_frame(frame);
}

/// Messages of the Remote Execution API, as they are stored.
fn reapi(bytes: &[u8]) {
    let _ = kiln_cas::Directory::decode(bytes);
    let _ = kiln_cas::Command::decode(bytes);
    let _ = kiln_cas::Action::decode(bytes);
}

/// Names of resources in byte streams, and digests.
fn resource(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = kiln_cache::read_name(&text);
    if let Ok(digest) = text.parse::<kiln_cas::Digest>() {
        assert_eq!(digest.to_string().parse::<kiln_cas::Digest>().as_ref(), Ok(&digest), "a digest reads as it is written");
    }
}

/// A grant that nobody signed.
fn grant(bytes: &[u8]) {
    let key = GrantKey::new("key", [7; 32]);
    assert!(key.verify(bytes).is_err(), "a forged grant");
}

/// Addresses and networks.
fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.parse::<kiln_rpc::Network>();
    let _ = text.parse::<kiln_rpc::Address>();
}

/// The target of this name, for one input.
///
/// # Panics
/// The target fails, or there is none of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = ENTRIES.iter().find(|(of, _)| *of == name).expect("a target");
    target(bytes);
}
