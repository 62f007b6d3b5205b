//! A place of its own for each test: `kiln`, links, a state directory, and a scripted daemon. Knows no test.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use kiln_frame::Claim;
use kiln_frame::Connection;
use kiln_frame::Data;
use kiln_frame::Done;
use kiln_frame::Ending;
use kiln_frame::Hello;
use kiln_frame::Identity;
use kiln_frame::OutputFile;
use kiln_frame::Place;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::RunLocally;

/// The program under test; a test that runs again as another user says where its copy is.
pub(crate) const UNDER_TEST: &str = "KILN_UNDER_TEST";

/// A temporary directory with `bin/kiln`, `masq` (links), `real` (fake compilers), `work` and `state`.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Home {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("kiln-test-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for sub in ["bin", "masq", "real", "work"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let home = Home { dir };
        let kiln = std::env::var_os(UNDER_TEST).unwrap_or_else(|| env!("CARGO_BIN_EXE_kiln").into());
        install(Path::new(&kiln), &home.kiln());
        for name in ["gcc", "g++", "clang", "tool"] {
            home.link("masq", name);
        }
        home
    }

    pub(crate) fn kiln(&self) -> PathBuf {
        self.dir.join("bin/kiln")
    }

    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.dir.join("work").join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A link named `name` to `kiln` in directory `dir`.
    pub(crate) fn link(&self, dir: &str, name: &str) -> PathBuf {
        fs::create_dir_all(self.dir.join(dir)).unwrap();
        let link = self.dir.join(dir).join(name);
        symlink(self.kiln(), &link).unwrap();
        link
    }

    /// An executable script at `path` below the home.
    pub(crate) fn script(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let plain = path.with_extension("text");
        fs::write(&plain, text).unwrap();
        install(&plain, &path);
        fs::remove_file(plain).unwrap();
        path
    }

    /// `masq` and then `dirs`, each below the home unless absolute.
    pub(crate) fn path(&self, dirs: &[&str]) -> OsString {
        std::env::join_paths(dirs.iter().map(|dir| self.dir.join(dir))).unwrap()
    }

    /// A command with nothing in its environment but what every build has; PATH is `masq:real:/usr/bin:/bin`.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", self.path(&["masq", "real", "/usr/bin", "/bin"]))
            .env("HOME", &self.dir)
            .env("KILN_DIR", self.state())
            .current_dir(self.dir.join("work"));
        command
    }

    /// The masquerade link `name` with `args`, run to its end.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Output {
        self.command(self.dir.join("masq").join(name)).args(args).output().unwrap()
    }

    pub(crate) fn place(&self) -> Place {
        let settings = |name: &str| match name {
            "KILN_DIR" => Some(self.state().into_os_string()),
            "HOME" => Some(self.dir.clone().into_os_string()),
            _ => None,
        };
        Place::find(&settings, &Identity::current()).unwrap()
    }

    /// A daemon that answers each request by `answer`.
    pub(crate) fn serve(&self, answer: impl Fn(Request, Vec<OwnedFd>, &mut Connection) + Send + Sync + 'static) -> Daemon {
        Daemon::start(self.place().claim().unwrap(), self.place().socket(), Arc::new(answer))
    }

    /// A daemon that answers each request by `reply`, once.
    pub(crate) fn reply(&self, reply: Reply) -> Daemon {
        self.serve(move |_, _, connection| send(connection, &reply, &[]))
    }

    /// Names in `work`, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.join("work")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Copies a program by a process of its own: a descriptor open for writing here would be inherited for a moment by whatever
/// another test starts just then, and a file that is open for writing cannot be executed.
pub(crate) fn install(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap().success());
}

type Answer = Arc<dyn Fn(Request, Vec<OwnedFd>, &mut Connection) + Send + Sync>;

/// A daemon in a thread. Dropping it ends it.
pub(crate) struct Daemon {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(claim: Claim, socket: PathBuf, answer: Answer) -> Daemon {
        let (stop, requests, hellos) = (Arc::<AtomicBool>::default(), Arc::default(), Arc::default());
        let mut daemon =
            Daemon { socket, stop: Arc::clone(&stop), requests: Arc::clone(&requests), hellos: Arc::clone(&hellos), thread: None };
        let thread = std::thread::spawn(move || {
            loop {
                let (stream, _) = claim.listener.accept().unwrap();
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (requests, hellos, answer) = (Arc::clone(&requests), Arc::clone(&hellos), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut connection = Connection::over(stream);
                    connection.check_peer().unwrap();
                    // A wrapper that a test killed may be gone already.
                    let Ok(Some(hello)) = connection.receive() else { return };
                    let Ok(Some(mut frame)) = connection.receive() else { return };
                    let request = Request::from_frame(&frame).unwrap();
                    hellos.lock().unwrap().push(Hello::from_frame(&hello).unwrap());
                    requests.lock().unwrap().push(request.clone());
                    answer(request, std::mem::take(&mut frame.fds), &mut connection);
                });
            }
        });
        daemon.thread = Some(thread);
        daemon
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The hello of each.
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.hellos.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let woken = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take()
            && woken.is_ok()
        {
            let _ = thread.join();
        }
    }
}

/// Sends one reply; a wrapper that is gone is no error.
pub(crate) fn send(connection: &mut Connection, reply: &Reply, fds: &[std::os::fd::BorrowedFd<'_>]) {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes, fds.len()).unwrap();
    let _ = connection.send(&bytes, fds);
}

/// A successful compile without messages that made these files, the last of them the one it is for.
pub(crate) fn done(files: &[(&str, &str)]) -> Done {
    let file = |(at, (path, text)): (usize, &(&str, &str))| OutputFile {
        path: path.as_bytes().to_vec(),
        executable: false,
        is_main: at + 1 == files.len(),
        data: Data::Inline(text.as_bytes().to_vec()),
    };
    Done {
        ending: Ending::Exit(0),
        stdout: Data::Inline(vec![]),
        stderr: Data::Inline(vec![]),
        outputs: files.iter().enumerate().map(file).collect(),
        removed: vec![],
        warning: None,
    }
}

pub(crate) fn result(done: Done) -> Reply {
    Reply::Done(Box::new(done))
}

/// "Run it yourself", under slot `token` if given.
pub(crate) fn locally(token: Option<&str>) -> Reply {
    Reply::RunLocally(RunLocally {
        reason: "test".into(),
        token: token.map(|token| token.as_bytes().to_vec()),
        warning: None,
        rest: None,
    })
}

/// What was written to stdout, and nothing to stderr, by a command that succeeded.
#[track_caller]
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{}: {out}{err}", output.status);
    out.into_owned()
}

/// What was written to stderr.
pub(crate) fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
