//! Fixtures: a store in a directory, trees of real files, a sandbox, and a program that misbehaves on request.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test binary uses another part")]

use kiln_cas::{BuiltTree, Digest, Directory, TreeBuilder, relative_link};
use kiln_sandbox::{
    Blobs, BlobsError, JobOutcome, JobSpec, JobUser, LaidRoot, Limits, LinkKind, NODE_MTIME_SECONDS, RootMode, RootPool, Rung,
    Sandbox, SandboxConfig, SandboxError,
};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

/// A store: one file a digest and executable bit, as the worker's has it.
pub struct Store {
    pub dir: PathBuf,
    directories: Mutex<HashMap<Digest, Arc<Directory>>>,
}

impl Store {
    pub fn new(dir: PathBuf) -> Store {
        std::fs::create_dir_all(&dir).unwrap();
        Store { dir, directories: Mutex::default() }
    }

    fn path(&self, digest: &Digest, executable: bool) -> PathBuf {
        self.dir.join(format!("{}{}", digest.hex(), if executable { ".x" } else { "" }))
    }

    pub fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for executable in [false, true] {
            let path = self.path(&digest, executable);
            if path.exists() {
                continue;
            }
            std::fs::write(&path, bytes).unwrap();
            let file = File::open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(NODE_MTIME_SECONDS as u64)).unwrap();
            file.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 })).unwrap();
        }
        digest
    }

    pub fn put_tree(&self, tree: &BuiltTree) -> Digest {
        for (digest, bytes) in &tree.directories {
            self.put_directory(*digest, Directory::decode(bytes).unwrap());
        }
        tree.root
    }

    pub fn put_directory(&self, digest: Digest, directory: Directory) {
        self.directories.lock().unwrap().insert(digest, Arc::new(directory));
    }

    pub fn remove(&self, digest: &Digest) {
        for executable in [false, true] {
            let _ = std::fs::remove_file(self.path(digest, executable));
        }
    }

    /// Every file still is what its name says, may not be written to and has its time.
    #[track_caller]
    pub fn verify(&self) {
        for entry in std::fs::read_dir(&self.dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(Digest::of(&bytes).hex(), name.trim_end_matches(".x"), "a stored blob was changed");
            let metadata = path.metadata().unwrap();
            assert_eq!(metadata.mode() & 0o777, if name.ends_with(".x") { 0o555 } else { 0o444 }, "{name}");
            assert_eq!(metadata.mtime(), NODE_MTIME_SECONDS, "{name}");
        }
    }
}

impl Blobs for Store {
    fn directory(&self, digest: &Digest) -> Result<Option<Arc<Directory>>, BlobsError> {
        Ok(self.directories.lock().unwrap().get(digest).cloned())
    }

    fn contains(&self, digest: &Digest) -> bool {
        self.path(digest, false).exists()
    }

    fn link(&self, digest: &Digest, executable: bool, dir: BorrowedFd<'_>, name: &str) -> io::Result<LinkKind> {
        use rustix::io::Errno;
        let from = self.path(digest, executable);
        match rustix::fs::linkat(rustix::fs::CWD, &from, dir, name, rustix::fs::AtFlags::empty()) {
            Ok(()) => Ok(LinkKind::Linked),
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => Ok(LinkKind::CannotLink),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.path(digest, false))
    }
}

/// A store, a pool and a helper in a directory of their own.
pub struct Farm {
    pub store: Store,
    pub pool: RootPool,
    pub sandbox: Sandbox,
    dir: tempfile::TempDir,
}

pub fn helper() -> OsString {
    std::env::var_os("KILN_TEST_HELPER").unwrap_or_else(|| env!("CARGO_BIN_EXE_kiln-sandbox-server").into())
}

impl Farm {
    pub fn new() -> Farm {
        Farm::with(|_| {})
    }

    pub fn on(rung: Rung) -> Farm {
        Farm::with(|config| config.rung = Some(rung))
    }

    pub fn with(change: impl FnOnce(&mut SandboxConfig)) -> Farm {
        Farm::try_with(change).unwrap()
    }

    pub fn try_with(change: impl FnOnce(&mut SandboxConfig)) -> Result<Farm, SandboxError> {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots");
        let store = Store::new(dir.path().join("store"));
        let pool = RootPool::open(&roots, JobUser::NOBODY, 4).unwrap();
        let mut config = SandboxConfig::new(vec![helper()], roots);
        change(&mut config);
        let sandbox = Sandbox::start(config)?;
        Ok(Farm { store, pool, sandbox, dir })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn lay_out(&self, tree: &TreeBuilder) -> LaidRoot {
        let root = self.store.put_tree(&tree.build());
        self.pool.lay_out(&self.store, &root).unwrap()
    }

    /// A tree with the misbehaving program in it.
    pub fn tree(&self) -> TreeBuilder {
        let mut tree = TreeBuilder::new();
        tree.file("/bin/act", self.store.put(act()), true).unwrap();
        tree.directory("/w").unwrap();
        tree
    }

    pub fn job(&self, tree: &TreeBuilder, args: &[&str]) -> JobSpec {
        JobSpec {
            root: self.lay_out(tree),
            mode: RootMode::Chroot,
            argv: ["/bin/act"].iter().chain(args).map(|arg| (*arg).to_owned()).collect(),
            env: vec![],
            cwd: "/w".into(),
            outputs: vec![],
            output_trees: vec![],
            make_dirs: vec![],
            limits: limits(),
            terminal: None,
            stdin: None,
        }
    }

    #[track_caller]
    pub fn run(&self, spec: JobSpec) -> JobOutcome {
        self.sandbox.run(spec).unwrap().wait().unwrap()
    }

    /// Runs the misbehaving program and returns what it printed; it must have exited with 0.
    #[track_caller]
    pub fn act(&self, args: &[&str]) -> String {
        let outcome = self.run(self.job(&self.tree(), args));
        assert_eq!(outcome.ending, kiln_sandbox::Ending::Exited(0), "{args:?}: {outcome:?}");
        String::from_utf8(outcome.stdout).unwrap()
    }
}

/// Small enough that meeting one costs the machine nothing.
pub fn limits() -> Limits {
    Limits {
        wall_ms: 60_000,
        memory_bytes: 256 << 20,
        processes: 64,
        output_bytes: 1 << 20,
        file_bytes: 64 << 20,
        scratch_bytes: 64 << 20,
        ..Limits::default()
    }
}

/// The misbehaving program, compiled once a test process; nothing of that is left behind.
pub fn act() -> &'static [u8] {
    static ACT: OnceLock<Vec<u8>> = OnceLock::new();
    ACT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (dir.path().join("act.c"), dir.path().join("act"));
        std::fs::write(&source, include_str!("act.c")).unwrap();
        let status = Command::new("gcc").args(["-O1", "-static", "-pthread", "-o"]).arg(&path).arg(&source).status();
        assert!(status.expect("the tests need gcc").success());
        std::fs::read(path).unwrap()
    })
}

/// Enters a file of this machine at its own path, each link and directory on the way as it is.
pub fn add_path(tree: &mut TreeBuilder, store: &Store, path: &Path) {
    let mut rest: Vec<String> = path.components().rev().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    rest.retain(|part| part != "/");
    while let Some(part) = rest.pop() {
        match part.as_str() {
            "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => {}
        }
        let next = at.join(&part);
        let metadata = std::fs::symlink_metadata(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()));
        let name = next.to_str().unwrap();
        if metadata.is_symlink() {
            links += 1;
            assert!(links < 40, "{} is a loop", path.display());
            let target = std::fs::read_link(&next).unwrap();
            let text = target.to_str().unwrap();
            let relative = if target.is_absolute() { relative_link(name, text) } else { text.to_owned() };
            tree.symlink(name, &relative).unwrap();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(
                target.components().rev().map(|part| part.as_os_str().to_str().unwrap().to_owned()).filter(|part| part != "/"),
            );
            continue;
        }
        if metadata.is_file() {
            tree.file(name, store.put(&std::fs::read(&next).unwrap()), metadata.mode() & 0o100 != 0).unwrap();
        } else {
            tree.directory(name).unwrap();
        }
        at = next;
    }
}

/// The files of gcc that compiling and assembling C takes.
pub fn add_gcc(tree: &mut TreeBuilder, store: &Store) {
    let ask = |args: &[&str]| {
        let output = Command::new("gcc").args(args).output().expect("the tests need gcc");
        assert!(output.status.success());
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    };
    let which = |name: &str| {
        let dirs = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&dirs).map(|dir| dir.join(name)).find(|path| path.exists()).unwrap()
    };
    let mut programs = vec![PathBuf::from("/usr/bin/gcc"), ask(&["-print-prog-name=cc1"]), which("objcopy")];
    let assembler = ask(&["-print-prog-name=as"]);
    programs.push(if assembler.is_absolute() { assembler } else { which("as") });
    for program in programs {
        add_path(tree, store, &program);
        let output = Command::new("ldd").arg(&program).output().unwrap();
        for word in String::from_utf8(output.stdout).unwrap().split_whitespace().filter(|word| word.starts_with('/')) {
            add_path(tree, store, Path::new(word));
        }
    }
    // Where it looks for headers, and the one it reads unasked.
    let output = Command::new("gcc").args(["-xc", "-E", "-v", "/dev/null"]).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let dirs = text.lines().filter_map(|line| line.strip_prefix(" /")).map(|dir| PathBuf::from("/").join(dir));
    for dir in dirs.filter(|dir| dir.is_dir()) {
        add_path(tree, store, &dir);
        if dir.join("stdc-predef.h").exists() {
            add_path(tree, store, &dir.join("stdc-predef.h"));
        }
    }
    for file in ["/etc/ld.so.cache", "/usr/lib/locale/C.utf8/LC_CTYPE"] {
        if Path::new(file).exists() {
            add_path(tree, store, Path::new(file));
        }
    }
}
