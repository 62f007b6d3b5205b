//! What can be seen of a farm: its processes, counters, status, logs; and waiting for it. Hurts nothing.

use super::{ASK_MAX, START_MAX, TestFarm};
use crate::process::{await_for, descendants, run};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

/// States in which a worker gets work; the trial after failures ends with a success, so no wait would end it.
const TAKES_WORK: [&str; 2] = ["well", "trial"];

impl TestFarm {
    /// The worker that runs a process named `program` now, such as `cc1plus`.
    #[must_use]
    pub fn who_runs(&self, program: &str) -> Option<String> {
        self.workers().into_iter().find(|name| self.role_runs(name, program))
    }

    /// Whether there is a process named `program` below that of a role.
    #[must_use]
    pub fn role_runs(&self, name: &str, program: &str) -> bool {
        self.below(name).iter().any(|(_, of)| of == program)
    }

    /// The worker that has a process with `word` in its arguments.
    #[must_use]
    pub fn who_works_on(&self, word: &str) -> Option<String> {
        let works = |name: &String| self.below(name).iter().any(|(pid, _)| arguments(*pid).contains(word));
        self.workers().into_iter().find(works)
    }

    fn below(&self, name: &str) -> Vec<(u32, String)> {
        let pid = self.roles.get(name).and_then(|role| role.child.as_ref()).map(Child::id);
        pid.map(descendants).unwrap_or_default()
    }

    /// Counters of the user's daemon.
    #[must_use]
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.ask(&["stats", "--json"])
    }

    /// Sets the counters to zero.
    #[track_caller]
    pub fn zero(&self) {
        let _ = run(self.kiln().args(["stats", "--zero"]), ASK_MAX).ok();
    }

    /// What `kiln status` knows.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        self.ask(&["status", "--json"])
    }

    /// What became of the last `count` units, newest last.
    #[must_use]
    #[track_caller]
    pub fn explain(&self, count: usize) -> Value {
        self.ask(&["explain", "--last", &count.to_string(), "--json"])
    }

    #[track_caller]
    fn ask(&self, words: &[&str]) -> Value {
        let ran = run(self.kiln().args(words), ASK_MAX).ok();
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}:\n{}", ran.text()))
    }

    /// Starts the daemon if it does not run, and gives its process.
    #[track_caller]
    pub fn daemon(&self) -> u32 {
        let _ = run(self.kiln().args(["daemon", "start"]), ASK_MAX).ok();
        self.status()["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a daemon's number")
    }

    /// Awaits a daemon that sees a scheduler and all workers and caches that run, all well, and uses them. Counters are
    /// zero then.
    ///
    /// # Panics
    /// That does not come about; the logs are in the message.
    #[track_caller]
    pub fn await_well(&mut self) {
        let _ = self.daemon();
        let awaited = |name: &&String| !name.starts_with("scheduler") && !self.layout.sick.contains(name);
        let names: Vec<String> = self.roles.keys().filter(awaited).cloned().collect();
        let wanted = names.iter().filter(|name| self.roles[*name].child.is_some()).count();
        let is_cache = |name: &&String| self.roles[*name].args.iter().any(|arg| arg == "cache");
        let caches = names.iter().filter(|name| self.roles[*name].child.is_some()).filter(is_cache).count();
        let begun = std::time::Instant::now();
        loop {
            let status = self.status();
            let workers = status["farm"]["workers"].as_array().cloned().unwrap_or_default();
            let well = workers.iter().filter(|worker| TAKES_WORK.iter().any(|state| worker["state"] == *state)).count();
            let avoided = status["farm"]["avoided"].as_array().cloned().unwrap_or_default();
            let is_here = |name: &Value| names.iter().any(|of| name == of && self.roles[of].child.is_some());
            // The daemon hears of cache servers later than the scheduler; what it sends before, it sends to a worker, and once more then.
            let heard_of = status["farm"]["caches"].as_array().map_or(0, Vec::len);
            if well >= wanted && heard_of >= caches && !avoided.iter().any(is_here) {
                break;
            }
            let names: Vec<String> = self.roles.keys().filter(|name| !self.layout.sick.contains(name)).cloned().collect();
            let dead: Vec<&String> = names.iter().filter(|name| self.roles[*name].child.is_some() && !self.runs(name)).collect();
            assert!(dead.is_empty(), "ended: {dead:?}\n{}", self.logs());
            assert!(begun.elapsed() < START_MAX, "not all well: {}\n{}", status["farm"], self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.await_use();
        self.zero();
    }

    /// Awaits that the daemon itself, which looks for a lost farm about each second, has a unit compiled on a worker.
    #[track_caller]
    fn await_use(&self) {
        fs::write(self.dir.join("probe.c"), "int probe(void) { return PROBE; }\n").expect("a source");
        let mut salt = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        await_for("a unit through the farm", START_MAX, || {
            salt += 1;
            let define = format!("-DPROBE={salt}");
            let args = ["gcc", &define, "-c", "probe.c", "-o", "probe.o"];
            let done = run(self.kiln().args(args).current_dir(&self.dir), START_MAX).code == Some(0);
            // On a loaded machine the first may be compiled here while the farm seems full.
            (done && self.stats()["remote"].as_u64() > Some(0)).then_some(())
        });
    }

    /// What a role's own server, on a Unix socket, answers to `GET path`: the status code and the body.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    #[track_caller]
    pub fn page(&self, name: &str, path: &str) -> (u32, String) {
        let mut stream = UnixStream::connect(self.dir.join("s").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        stream.set_read_timeout(Some(ASK_MAX)).expect("a limit");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{name}{path}: {error}"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{name}{path}: {text}"));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.unwrap_or_else(|| panic!("{name}{path}: {head}")), body.to_owned())
    }

    /// Compiles that workers ran to their end, as they count them themselves.
    #[must_use]
    #[track_caller]
    pub fn executed(&self) -> u64 {
        let of = |name: &String| {
            let (_, page) = self.page(name, "/metrics");
            let line = page.lines().find_map(|line| line.strip_prefix("kiln_worker_executed_total "));
            line.and_then(|count| count.parse::<u64>().ok()).unwrap_or_else(|| panic!("no count of {name}: {page}"))
        };
        self.workers().iter().map(of).sum()
    }

    /// Ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let own = self.roles.keys().map(|name| self.dir.join(format!("{name}.log")));
        for path in own.chain([self.dir.join("client/daemon.log")]) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            all.push_str(&format!("--- {}\n{}\n", path.display(), tail.join("\n")));
        }
        all
    }

    /// The worker on which a process named `program` is seen next.
    #[track_caller]
    pub fn await_job(&self, program: &str, limit: Duration) -> String {
        await_for(&format!("{program} on a worker"), limit, || self.who_runs(program))
    }
}

/// The command line of a process, its arguments separated by spaces.
fn arguments(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
