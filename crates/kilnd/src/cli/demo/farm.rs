//! A farm of processes in a directory: `kilnd all` and two workers besides, over Unix sockets. Knows no unit.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use super::super::place;
use super::super::stats::Stats;
use crate::roles::embedded_socket;

/// Workers besides the one that `kilnd all` has.
const WORKERS: usize = 2;
/// Longest wait until all of them are there: each starts in well under a second.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for a process to end: nothing runs any more.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A running farm. Dropping it ends it.
pub(crate) struct Farm {
    dir: PathBuf,
    children: Vec<Child>,
}

impl Farm {
    /// Starts it in `dir` and waits until its workers are known to its scheduler.
    ///
    /// # Errors
    /// A part of it ends, or is not there in time; the logs in `dir` say why.
    pub(crate) fn start(dir: &Path, cores: usize) -> anyhow::Result<Farm> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut farm = Farm { dir: dir.to_owned(), children: Vec::new() };
        // All of them are on one machine: none takes the others' jobs for a user's.
        farm.spawn("all", &["all".into(), "--worker-yields".into(), "false".into()])?;
        for number in 1..=WORKERS {
            let name = format!("worker{number}");
            let home = dir.join(&name);
            let words = [
                ("--listen", format!("unix:{}", home.join("run/worker.sock").display())),
                ("--name", name.clone()),
                ("--yields", "false".to_owned()),
                ("--dir", home.join("state").display().to_string()),
                ("--slots", (cores / 2).max(1).to_string()),
                ("--farm-schedulers", embedded_socket(dir, "scheduler").to_string()),
            ];
            let words = words.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value.into()]);
            let args: Vec<OsString> = std::iter::once("worker".into()).chain(words).collect();
            farm.spawn(&name, &args)?;
        }
        farm.await_workers()?;
        Ok(farm)
    }

    fn spawn(&mut self, name: &str, args: &[OsString]) -> anyhow::Result<()> {
        let log = File::create(self.dir.join(format!("{name}.log")))?;
        let mut command = Command::new(place::kilnd()?);
        // The demonstration's own settings, not the user's.
        let settings = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("KILN_"));
        for name in settings {
            command.env_remove(name);
        }
        command.args(args).env("KILN_DIR", &self.dir).env("KILN_CONFIG", "/dev/null").current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.children.push(command.spawn().context("cannot start kilnd")?);
        Ok(())
    }

    fn await_workers(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("a part of the farm ended with {status}; see the logs in {}", self.dir.display());
                }
            }
            let workers = self.ask("status").ok().map_or(0, |status| live_workers(&status));
            if workers > WORKERS {
                return Ok(());
            }
            if begin.elapsed() > START_MAX {
                bail!("only {workers} of {} workers came up; see the logs in {}", WORKERS + 1, self.dir.display());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What a build needs in its environment to use this farm.
    ///
    /// # Errors
    /// There is no wrapper.
    pub(crate) fn environment(&self) -> anyhow::Result<Vec<(&'static str, OsString)>> {
        let links = self.dir.join("links");
        super::links::make_for(&links)?;
        Ok(vec![
            ("PATH", place::path_with(&links)?),
            ("KILN_DIR", self.dir.clone().into()),
            ("KILN_CONFIG", "/dev/null".into()),
            ("KILN_FALLBACK", "fail".into()),
        ])
    }

    /// The counters of its daemon.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(crate) fn counters(&self) -> anyhow::Result<Stats> {
        Ok(Stats::read(&self.ask("stats")?))
    }

    /// Asks by a process of its own: which daemon is asked stands in the environment.
    fn ask(&self, word: &str) -> anyhow::Result<Value> {
        let mut command = Command::new(place::kilnd()?);
        command.args(["cli", word, "--json"]).env("KILN_DIR", &self.dir).env("KILN_CONFIG", "/dev/null");
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Lets each process drain.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let signal = |child: &Child, signal| {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // It may have ended already.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, signal));
        };
        // Workers before the scheduler they say goodbye to.
        for child in self.children.iter().rev() {
            signal(child, Signal::TERM);
        }
        let begin = Instant::now();
        for child in self.children.iter_mut().rev() {
            while child.try_wait().is_ok_and(|ended| ended.is_none()) {
                if begin.elapsed() > STOP_MAX {
                    signal(child, Signal::KILL);
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
        self.children.clear();
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.end();
    }
}

fn live_workers(status: &Value) -> usize {
    let workers = status.pointer("/farm/workers").and_then(Value::as_array);
    let is_worker = |worker: &&Value| worker.get("kind").and_then(Value::as_str) == Some("worker");
    workers.map_or(0, |workers| workers.iter().filter(is_worker).count())
}
