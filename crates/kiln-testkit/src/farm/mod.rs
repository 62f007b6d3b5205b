//! A farm of real binaries in a temporary directory: started, asked, hurt and ended. Knows them by their variables and JSON.

mod layout;
mod look;
mod stranger;
mod watch;

pub use layout::Layout;

use crate::network::{HIDING, Network, host_address};
use crate::process::{Ran, Running, await_for, run, send};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use watch::Watch;

/// In which a farm is up, however loaded the machine.
const START_MAX: Duration = Duration::from_secs(60);
/// In which one question is answered.
const ASK_MAX: Duration = Duration::from_secs(20);
/// In which a service that is asked to end has ended; then it is killed.
const END_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Role {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    child: Option<Child>,
    stopped: bool,
    /// It was asked to end.
    ending: bool,
}

/// A farm; everything of it ends when it is dropped, or when the process that holds it is killed.
#[derive(Debug)]
pub struct TestFarm {
    dir: PathBuf,
    keep: bool,
    layout: Layout,
    roles: BTreeMap<String, Role>,
    schedulers: String,
    watch: Watch,
    /// Held while the farm stands: two farms at once on one machine take each other's time.
    _alone: Option<File>,
}

/// A binary of kiln, beside the directory of the running test's own.
///
/// # Panics
/// It has not been built: `scripts/test` builds all binaries before it runs tests.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let dir = own.ancestors().nth(2).expect("a target directory");
    let path = dir.join(name);
    assert!(path.is_file(), "{} is absent: run `cargo build --workspace --bins` first", path.display());
    path
}

impl TestFarm {
    /// Starts a farm and awaits all of it.
    ///
    /// # Panics
    /// It does not come up; the logs are in the message.
    #[must_use]
    pub fn start(layout: Layout) -> Self {
        let target = binary("kilnd").parent().expect("a target directory").to_owned();
        let alone = File::create(target.join(".test-farm.lock")).expect("a lock file");
        alone.lock().expect("a lock");
        Self::start_with(layout, Some(alone))
    }

    /// A second farm, which ends before the first.
    ///
    /// # Panics
    /// It does not come up; the logs are in the message.
    #[must_use]
    pub fn start_beside(_first: &TestFarm, layout: Layout) -> Self {
        Self::start_with(layout, None)
    }

    fn start_with(layout: Layout, alone: Option<File>) -> Self {
        let dir = tempfile::Builder::new().prefix("kiln-farm-").tempdir().expect("a temporary directory").keep();
        fs::create_dir(dir.join("s")).expect("a directory of sockets");
        fs::set_permissions(dir.join("s"), fs::Permissions::from_mode(0o700)).expect("a mode");
        let watch = Watch::over(&dir);
        let (roles, schedulers) = (BTreeMap::new(), String::new());
        let mut farm = Self { dir, keep: false, layout, roles, schedulers, watch, _alone: alone };
        farm.lay_out();
        let names: Vec<String> = farm.roles.keys().cloned().collect();
        for name in names {
            farm.restart(&name);
        }
        farm.await_well();
        farm
    }

    fn lay_out(&mut self) {
        let schedulers: Vec<(String, String)> =
            self.layout.scheduler_names().into_iter().map(|name| (name.clone(), self.address(&name))).collect();
        self.schedulers = schedulers.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>().join(",");
        let tcp = self.layout.network != Network::Unix;
        if tcp {
            self.tokens();
        }
        let mut plan = Vec::new();
        for (name, address) in schedulers {
            plan.push((name, "scheduler", vec![("KILN_SCHEDULER_LISTEN", address)]));
        }
        if self.layout.cache {
            plan.push(("cache".to_owned(), "cache", vec![("KILN_CACHE_LISTEN", self.address("cache"))]));
        }
        for name in self.workers() {
            let settings = vec![
                ("KILN_WORKER_NAME", name.clone()),
                ("KILN_WORKER_LISTEN", self.address(&name)),
                ("KILN_WORKER_SLOTS", self.layout.slots.to_string()),
                // All are on one machine: none takes the others' jobs for a user's.
                ("KILN_WORKER_YIELDS", "false".to_owned()),
            ];
            plan.push((name, "worker", settings));
        }
        for (name, role, settings) in plan {
            let mut env: BTreeMap<String, String> = self.layout.settings.iter().cloned().collect();
            env.insert("KILN_DIR".into(), self.dir.join(&name).display().to_string());
            env.extend(settings.into_iter().map(|(key, value)| (key.to_owned(), value)));
            if role != "scheduler" {
                env.insert("KILN_FARM_SCHEDULERS".into(), self.schedulers.clone());
            }
            if tcp {
                env.insert("KILN_AUTH_CREDENTIALS".into(), self.dir.join("credentials").display().to_string());
                env.insert("KILN_AUTH_TOKEN_FILE".into(), self.dir.join("worker.token").display().to_string());
            }
            if role == "worker" && self.with_strangers() {
                env.extend(self.settle_stranger(&name));
            }
            let own = self.layout.own.iter().filter(|(role, _, _)| *role == name);
            env.extend(own.map(|(_, key, value)| (key.clone(), value.clone())));
            self.roles.insert(name, Role { args: vec![role.to_owned()], env, child: None, stopped: false, ending: false });
        }
    }

    fn address(&self, name: &str) -> String {
        match self.layout.network {
            Network::Unix => format!("unix:{}", self.dir.join("s").join(name).display()),
            Network::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                listener.local_addr().expect("an address").to_string()
            }
            Network::Hosts => format!("{}:8980", host_address(name)),
        }
    }

    fn tokens(&self) {
        for role in ["worker", "user"] {
            let mut command = Command::new(binary("kilnd"));
            command.args(["token", "new", "--role", role, "--name", role]).current_dir(&self.dir);
            let line = run(&mut command, ASK_MAX).ok().stdout;
            let all = fs::read(self.dir.join("credentials")).unwrap_or_default();
            for (name, bytes) in [("credentials".to_owned(), [all, line.clone()].concat()), (format!("{role}.token"), line)] {
                let path = self.dir.join(name);
                fs::write(&path, bytes).expect("a file of tokens");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
            }
        }
    }

    /// Its directory; each role has one of its name in it, and a log beside that.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The addresses of its scheduler, as `KILN_FARM_SCHEDULERS` has it.
    #[must_use]
    pub fn schedulers(&self) -> &str {
        &self.schedulers
    }

    /// Keeps the directory when the farm ends, for a look at its logs, and says where it is.
    pub fn eject(&mut self) -> &Path {
        self.keep = true;
        &self.dir
    }

    /// `program` with a user's environment of this farm; what the farm cannot do fails.
    #[must_use]
    pub fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.inside("client", program.as_ref());
        command.envs(self.layout.settings.iter().cloned());
        command.env("KILN_DIR", self.dir.join("client")).env("KILN_FARM_SCHEDULERS", &self.schedulers);
        command.env("KILN_CONFIG", "/dev/null").env("KILN_FALLBACK", "fail").env("LC_ALL", "C");
        if self.layout.network != Network::Unix {
            command.env("KILN_AUTH_TOKEN_FILE", self.dir.join("user.token"));
        }
        command
    }

    /// `program` on the host of a role, where each has its own, and in its own view of files, where that is bare.
    fn inside(&self, name: &str, program: &OsStr) -> Command {
        let hosts = self.layout.network == Network::Hosts;
        let hides = name.starts_with('w') && (hosts || self.layout.bare);
        let mut words: Vec<&OsStr> = Vec::new();
        let net = format!("--net=/run/netns/{name}");
        if hosts {
            // Not `ip netns exec`, whose new mount namespace would be another view of the files, with a daemon of its own.
            words.extend(["nsenter", &net].map(OsStr::new));
        }
        if hides {
            words.push(OsStr::new("unshare"));
            if !rustix::process::getuid().is_root() {
                words.extend(["--user", "--map-root-user"].map(OsStr::new));
            }
            words.extend(["-m", "--propagation", "private", "bash", "-c", HIDING, "bash"].map(OsStr::new));
        }
        words.push(program);
        let mut command = bare(words[0]);
        command.args(&words[1..]);
        command
    }

    /// The program of a role, as its user and on its host.
    fn service(&self, name: &str) -> Command {
        if self.with_strangers() && self.workers().iter().any(|worker| worker == name) {
            return self.as_stranger();
        }
        self.inside(name, binary("kilnd").as_os_str())
    }

    /// The wrapper, with a user's environment of this farm.
    #[must_use]
    pub fn kiln(&self) -> Command {
        self.client(binary("kiln"))
    }

    /// Starts a role, anew if it ran.
    ///
    /// # Panics
    /// There is no such role, or it cannot be started.
    pub fn restart(&mut self, name: &str) {
        self.end(name);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join(format!("{name}.log"))).expect("a log");
        let mut command = self.service(name);
        let role = self.role(name);
        command.args(&role.args).envs(&role.env).env("KILN_CONFIG", "/dev/null").current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        role.child = Some(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")));
    }

    #[track_caller]
    fn role(&mut self, name: &str) -> &mut Role {
        self.roles.get_mut(name).unwrap_or_else(|| panic!("no role {name}"))
    }

    /// The process of a role.
    ///
    /// # Panics
    /// There is no such role, or it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        let role = self.roles.get(name).unwrap_or_else(|| panic!("no role {name}"));
        role.child.as_ref().unwrap_or_else(|| panic!("{name} does not run")).id()
    }

    /// Whether a role's process runs.
    #[must_use]
    pub fn runs(&mut self, name: &str) -> bool {
        self.role(name).child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Kills a role by SIGKILL.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.role(name).child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks a role to end, as `kill` does, and does not wait.
    pub fn terminate(&mut self, name: &str) {
        let role = self.role(name);
        if let Some(child) = role.child.as_ref().filter(|_| !role.ending) {
            send(child.id(), Signal::TERM);
            role.ending = true;
        }
    }

    /// Awaits that a role ends by itself; its exit code.
    ///
    /// # Panics
    /// It does not within `limit`.
    #[track_caller]
    pub fn await_end(&mut self, name: &str, limit: Duration) -> Option<i32> {
        let status = await_for(&format!("{name} ended"), limit, || {
            self.role(name).child.as_mut().and_then(|child| child.try_wait().ok().flatten())
        });
        let role = self.role(name);
        (role.child, role.ending) = (None, false);
        status.code()
    }

    /// Stops a role's process as SIGSTOP does.
    pub fn stop(&mut self, name: &str) {
        send(self.pid(name), Signal::STOP);
        self.role(name).stopped = true;
    }

    /// Lets a stopped role go on.
    pub fn cont(&mut self, name: &str) {
        send(self.pid(name), Signal::CONT);
        self.role(name).stopped = false;
    }

    /// Asks a role to end, and kills it if it does not.
    fn end(&mut self, name: &str) {
        self.terminate(name);
        let role = self.role(name);
        let Some(mut child) = role.child.take() else { return };
        role.ending = false;
        if !role.stopped {
            let begun = std::time::Instant::now();
            while begun.elapsed() < END_MAX && child.try_wait().is_ok_and(|status| status.is_none()) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        role.stopped = false;
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Names of the workers.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.layout.worker_names()
    }

    /// Compiles in `dir` through the farm, as `compiler args`.
    #[track_caller]
    pub fn compile(&self, dir: &Path, args: &[&str], limit: Duration) -> Ran {
        run(self.kiln().args(args).current_dir(dir), limit)
    }

    /// The same in the background.
    #[must_use]
    #[track_caller]
    pub fn start_compile(&self, dir: &Path, args: &[&str]) -> Running {
        Running::start(self.kiln().args(args).current_dir(dir))
    }
}

/// `program` without any setting of the user who runs the tests.
fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KILN_") {
            command.env_remove(name);
        }
    }
    command
}

impl Drop for TestFarm {
    fn drop(&mut self) {
        let mut stop = self.kiln();
        stop.args(["daemon", "stop"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = stop.spawn() {
            let begun = std::time::Instant::now();
            while begun.elapsed() < END_MAX && child.try_wait().is_ok_and(|status| status.is_none()) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let names: Vec<String> = self.roles.keys().cloned().collect();
        // All at once: each may have something to finish.
        names.iter().for_each(|name| self.terminate(name));
        for name in names {
            self.end(&name);
        }
        self.end_rest();
        self.watch.end();
        if self.keep || std::thread::panicking() {
            eprintln!("the farm's directory is kept: {}\n{}", self.dir.display(), self.logs());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl TestFarm {
    /// Kills what is left of this farm: processes whose `KILN_DIR` lies in its directory.
    fn end_rest(&self) {
        let mark = format!("KILN_DIR={}/", self.dir.display());
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes())) {
                send(pid, Signal::KILL);
            }
        }
    }
}
