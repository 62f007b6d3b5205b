//! What the cases share: a farm with a project beside it, and reading counters.

use kiln_testkit::{Layout, Project, Ran, Running, SLOW_SOURCE, TestFarm, binary, run, slow_source};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// In which any one build or compile here ends, on a machine that does much else.
pub(crate) const BUILD_MAX: Duration = Duration::from_secs(300);
/// In which a compile has begun on a worker, its toolchain sent before.
pub(crate) const START_MAX: Duration = Duration::from_secs(100);
/// In which something that takes no time of itself is seen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A farm, a project, and what a plain build made of it.
pub(crate) struct Bench {
    pub(crate) farm: TestFarm,
    pub(crate) project: Project,
    pub(crate) plain: BTreeMap<String, Vec<u8>>,
    salt: AtomicU32,
    _dir: TempDir,
}

impl Bench {
    pub(crate) fn start(layout: Layout) -> Self {
        let farm = TestFarm::start(layout);
        let dir = tempfile::tempdir().expect("a directory");
        let project = Project::write(dir.path());
        fs::write(dir.path().join(SLOW_SOURCE), slow_source(30)).expect("a source");
        let _ = run(project.make(&mut Command::new("make"), "", 0), BUILD_MAX).ok();
        let plain = project.take_products();
        Self { farm, project, plain, salt: AtomicU32::new(1), _dir: dir }
    }

    /// A build from clean in the background, its actions all new.
    pub(crate) fn start_build(&self) -> Running {
        self.start_build_with(self.salt.fetch_add(1, Ordering::Relaxed), "fail")
    }

    pub(crate) fn start_build_with(&self, salt: u32, fallback: &str) -> Running {
        let mut make = self.farm.client("make");
        make.env("KILN_FALLBACK", fallback);
        Running::start(self.project.make(&mut make, &binary("kiln").display().to_string(), salt))
    }

    /// Awaits the end of a build and compares each product with the plain build's.
    #[track_caller]
    pub(crate) fn finish_equal(&self, build: Running) -> Ran {
        let ran = build.finish(BUILD_MAX).ok();
        let products = self.project.take_products();
        let names = |of: &BTreeMap<String, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&products), names(&self.plain));
        for (name, bytes) in &self.plain {
            assert!(products[name] == *bytes, "{name} differs");
        }
        ran
    }

    /// The slow unit, its action new, in the background: arguments of the wrapper.
    pub(crate) fn start_slow(&self, fallback: &str) -> Running {
        let salt = format!("-DSALT={}", self.salt.fetch_add(1, Ordering::Relaxed));
        let mut kiln = self.farm.kiln();
        kiln.args(["g++", &salt, "-c", SLOW_SOURCE, "-o", "slow.o"]).env("KILN_FALLBACK", fallback);
        Running::start(kiln.current_dir(self.project.dir()))
    }

    /// Awaits the slow unit and compares its object.
    #[track_caller]
    pub(crate) fn finish_slow(&self, unit: Running) -> Ran {
        let ran = unit.finish(BUILD_MAX).ok();
        let object = self.project.dir().join("slow.o");
        let bytes = fs::read(&object).expect("an object");
        let mut plain = Command::new("g++");
        let _ = run(plain.args(["-c", SLOW_SOURCE, "-o", "slow.o"]).current_dir(self.project.dir()), BUILD_MAX).ok();
        assert!(fs::read(&object).expect("an object") == bytes, "slow.o differs");
        ran
    }

    /// Awaits that a build has made `count` objects.
    #[track_caller]
    pub(crate) fn await_objects(&self, count: usize) {
        kiln_testkit::await_for("objects", BUILD_MAX, || (self.project.objects() >= count).then_some(()));
    }
}

/// A counter; sums where it is a table.
#[track_caller]
pub(crate) fn count(stats: &Value, name: &str) -> u64 {
    match &stats[name] {
        Value::Object(table) => table.values().filter_map(Value::as_u64).sum(),
        value => value.as_u64().unwrap_or_else(|| panic!("no counter {name} in {stats}")),
    }
}
