//! Builds over a farm of hosts: started, compared with the plain build, and what the daemon tells of each unit. Strikes nobody.

use kiln_testkit::{Layout, Network, Project, Running, TestFarm, await_for, binary, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// In which one build ends, whatever happens to the farm.
pub(crate) const BUILD_MAX: Duration = Duration::from_secs(300);
/// In which a lost attempt is noticed and the unit restarted.
pub(crate) const RESTARTED_MAX: Duration = Duration::from_secs(3);
/// Tenths of a second of CPU that the slow unit takes.
const SLOW_TENTHS: u32 = 20;

/// A farm of hosts, a project, and what a plain build made of it.
pub(crate) struct Builds {
    pub(crate) farm: TestFarm,
    pub(crate) project: Project,
    plain: BTreeMap<String, Vec<u8>>,
    salt: u32,
    /// Failures that workers were blamed for so far.
    pub(crate) blamed: u64,
    /// The compiler command of a build: a shell script that counts compile commands, then calls the wrapper.
    shim: PathBuf,
    dir: TempDir,
}

impl Builds {
    pub(crate) fn start(layout: Layout) -> Builds {
        let dir = tempfile::tempdir().expect("a directory");
        let project = Project::write_small(dir.path(), SLOW_TENTHS);
        let _ = run(project.make(&mut Command::new("make"), "", 0), BUILD_MAX).ok();
        let plain = project.take_products();
        let shim = dir.path().join("counted");
        let script = format!("#!/bin/sh\necho \"$*\" >>'{}'\nexec '{}' \"$@\"\n", log(&dir).display(), binary("kiln").display());
        fs::write(&shim, script).expect("a script");
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).expect("a mode");
        let hidden = [("KILN_TLS_INSECURE", "true".to_owned()), ("HIDE", dir.path().display().to_string())];
        let settings = hidden.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let farm = TestFarm::start(Layout { network: Network::Hosts, settings, ..layout });
        Builds { farm, project, plain, salt: 0, blamed: 0, shim, dir }
    }

    /// Starts a build from clean, its actions all new.
    pub(crate) fn build(&mut self, fallback: &str) -> Running {
        self.salt += 1;
        let mut make = self.farm.client("make");
        make.env("KILN_FALLBACK", fallback);
        Running::start(self.project.make(&mut make, &self.shim.display().to_string(), self.salt))
    }

    /// Compile commands since the last time, as counted by the script in front of kiln.
    pub(crate) fn counted(&self) -> u64 {
        let lines = fs::read_to_string(log(&self.dir)).unwrap_or_default();
        let _ = fs::remove_file(log(&self.dir));
        lines.lines().filter(|line| line.split(' ').any(|word| word == "-c")).count() as u64
    }

    /// Awaits that the slow unit is being compiled; the worker that does it.
    #[track_caller]
    pub(crate) fn await_slow(&self) -> String {
        await_for("the slow unit on a worker", BUILD_MAX, || self.farm.who_works_on("slow.cc"))
    }

    /// Awaits a build's end and compares its products with the plain build's.
    #[track_caller]
    pub(crate) fn finish(&self, build: Running, what: &str) {
        let _ = build.finish(BUILD_MAX).ok();
        let products = self.project.take_products();
        let differ: Vec<&String> =
            self.plain.iter().filter(|(name, bytes)| products.get(*name) != Some(bytes)).map(|of| of.0).collect();
        assert!(differ.is_empty() && products.len() == self.plain.len(), "{what}: {differ:?} of {:?}", products.keys());
    }

    /// What the daemon remembers of its last units.
    #[track_caller]
    pub(crate) fn stories(&self) -> Vec<Story> {
        let told = Instant::now();
        let units = self.farm.explain(self.project.units() as usize);
        units.as_array().expect("a list").iter().map(|unit| Story { unit: unit.clone(), told }).collect()
    }

    /// What `kiln status` says to people.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        run(self.farm.kiln().arg("status"), BUILD_MAX).text()
    }
}

fn log(dir: &TempDir) -> PathBuf {
    dir.path().join("counted.log")
}

fn ms(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or_default())
}

/// What became of one unit.
pub(crate) struct Story {
    unit: Value,
    told: Instant,
}

/// One start of a unit somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// A worker's name, or `here`.
    pub(crate) place: String,
    pub(crate) at: Instant,
    pub(crate) outcome: String,
}

impl Story {
    pub(crate) fn source(&self) -> &str {
        self.unit["source"].as_str().unwrap_or_default()
    }

    /// When the daemon got it.
    pub(crate) fn began(&self) -> Instant {
        self.told - ms(&self.unit["ago_ms"])
    }

    /// Where it was started, in order.
    pub(crate) fn starts(&self) -> Vec<Start> {
        let began = self.began();
        let attempts = self.unit["attempts"].as_array().into_iter().flatten();
        let mut starts: Vec<Start> = attempts
            .map(|attempt| Start {
                place: attempt["worker"].as_str().unwrap_or_default().to_owned(),
                at: began + ms(&attempt["at_ms"]),
                outcome: attempt["outcome"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        if !self.unit["here_at_ms"].is_null() {
            starts.push(Start { place: "here".to_owned(), at: began + ms(&self.unit["here_at_ms"]), outcome: String::new() });
        }
        starts
    }

    /// The times from a worker's failing, at `struck` or when it was asked later, to the unit's next start.
    pub(crate) fn restarts(&self, worker: &str, struck: Instant) -> Vec<Duration> {
        let starts = self.starts();
        let lost = |start: &Start| start.place == worker && start.outcome.contains("Lost");
        let pairs = starts.windows(2).filter(|pair| lost(&pair[0]));
        pairs.map(|pair| pair[1].at.saturating_duration_since(pair[0].at.max(struck))).collect()
    }
}
