//! Starts the real `kilnd` in a directory of its own and listens to what it says.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::ffi::OsString;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longest wait for anything that is going to happen, on a machine at load 100.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with programs and state.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    kilnd: PathBuf,
    path: OsString,
}

impl Home {
    /// With the built `kilnd`.
    pub(crate) fn new() -> Home {
        Home { dir: temp(), kilnd: env!("CARGO_BIN_EXE_kilnd").into(), path: std::env::var_os("PATH").unwrap() }
    }

    /// With `kilnd` beside a `kiln` that runs what it is given, and a PATH with these scripts alone besides the system's.
    pub(crate) fn with_programs(scripts: &[(&str, &str)]) -> Home {
        let dir = temp();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let (built, kilnd) = (Path::new(env!("CARGO_BIN_EXE_kilnd")), bin.join("kilnd"));
        std::fs::hard_link(built, &kilnd).or_else(|_| std::fs::copy(built, &kilnd).map(drop)).unwrap();
        script(&bin.join("kiln"), "exec \"$@\"");
        let tools = dir.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        scripts.iter().for_each(|(name, body)| script(&tools.join(name), body));
        let path = std::env::join_paths([tools, "/usr/bin".into(), "/bin".into()]).unwrap();
        Home { dir, kilnd, path }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of mode 600.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.at(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `kilnd ARGS` with this home's state and nothing of the machine's settings.
    pub(crate) fn kilnd(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kilnd);
        command.args(args).env_clear().env("PATH", &self.path).env("HOME", self.dir.path()).env("KILN_DIR", self.at("state"));
        command.stdin(Stdio::null()).current_dir(self.dir.path());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.kilnd(args).output().unwrap()
    }

    /// Runs it to its end and says how it ended and what it wrote to stderr.
    #[track_caller]
    pub(crate) fn ended(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.output(args);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Starts a service.
    pub(crate) fn start(&self, args: &[&str]) -> Service {
        Service::start(self.kilnd(args))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A daemon that a word started is nobody's child.
        if self.at("state/run").exists() {
            let _ = self.kilnd(&["cli", "daemon", "stop"]).output();
        }
    }
}

fn temp() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A running service. Dropping it kills it.
pub(crate) struct Service {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Service {
    fn start(mut command: Command) -> Service {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Service { child, lines, heard: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `part`; what follows `part` in it.
    #[track_caller]
    pub(crate) fn hear(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if let Some(at) = line.find(part) {
                        return line[at + part.len()..].trim().to_owned();
                    }
                }
                Err(why) => panic!("{part:?} was never said ({why}): {:#?}", self.heard),
            }
        }
    }

    /// Every line said so far and until the end, which must be near.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.heard.push(line);
        }
        std::mem::take(&mut self.heard)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `bytes`, ends writing, and waits until the other side has closed.
#[track_caller]
pub(crate) fn closes(mut stream: impl Read + std::io::Write, end: impl FnOnce(), bytes: &[u8]) {
    // The other side may be gone before all is written.
    let _ = stream.write_all(bytes);
    end();
    let mut sink = Vec::new();
    match stream.read_to_end(&mut sink) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection stays open"),
        _ => {}
    }
}
