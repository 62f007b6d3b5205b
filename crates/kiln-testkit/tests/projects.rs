//! Real projects through a farm whose workers see none of the user's files, no compiler and no header: all products are those of a
//! plain build in the same directory. Compiler calls are counted by a stand-in that knows nothing of kiln.
//!
//! `make test` builds the smaller ones and parts of others. `make soak` builds all, each once more below `kiln verify`. One of its:
//! `KILN_SOAK=1 cargo nextest run -p kiln-testkit --test projects --no-capture NAME`

use kiln_testkit::{Calls, Layout, Products, RealProject, TestFarm, binary};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// What is built, and how.
struct Plan {
    /// As `fetch.sh` and `build.sh` know it.
    name: &'static str,
    /// Variables of the build.
    settings: &'static [(&'static str, &'static str)],
    /// Calls that compile, at least.
    compiles: usize,
    /// Whether kiln is the build's compiler launcher, not first in PATH.
    launcher: bool,
}

impl Plan {
    const fn new(name: &'static str, compiles: usize) -> Self {
        Self { name, settings: &[], compiles, launcher: false }
    }
}

/// In which one build ends, on a machine that does much else.
const BUILD_MAX: Duration = Duration::from_secs(3600);

/// Compiles at once: fewer than the workers of a farm have slots, so that none waits long enough to run here.
const JOBS: &str = "3";

fn check(plan: &Plan) {
    let project = RealProject::fetch(plan.name);
    let settings: Vec<(&str, &str)> = plan.settings.iter().copied().chain([("JOBS", JOBS)]).collect();
    let shims = project.shims();
    let plainly = || {
        let mut front = Command::new("env");
        if !plan.launcher {
            front.env("SHIM_DIR", &shims);
        }
        front
    };
    project.build(plainly, &settings, || (), BUILD_MAX);
    let (plain, calls) = (project.products(), project.take_calls());
    project.clean();
    let hide = vec![("HIDE".to_owned(), project.top().display().to_string())];
    let farm = TestFarm::start(Layout { bare: true, settings: hide, ..Layout::default() });
    let front = || {
        let kiln = binary("kiln");
        if !plan.launcher {
            let mut front = farm.client(kiln);
            front.args(["run", "--"]).env("SHIM_DIR", &shims);
            return front;
        }
        let mut front = farm.client("env");
        let launcher = format!("{};{}", shims.join("launch").display(), kiln.display());
        front.env("CMAKE_C_COMPILER_LAUNCHER", &launcher).env("CMAKE_CXX_COMPILER_LAUNCHER", &launcher);
        front
    };
    project.build(front, &settings, || farm.zero(), BUILD_MAX);
    let (farmed, farm_calls) = (project.products(), project.take_calls());
    let stats = farm.stats();
    println!("{}: {} calls compile, {} others; {stats}", plan.name, farm_calls.compiles, farm_calls.others);
    is_equal(plan.name, plan.launcher, &plain, &farmed);
    assert!(farm_calls.compiles >= plan.compiles, "{farm_calls:?}");
    if !plan.launcher {
        assert_eq!(farm_calls, calls, "the build itself went another way");
    }
    is_distributed(&farm_calls, &stats);
    if soaks() && !plan.launcher {
        project.clean();
        let front = || {
            let mut front = farm.client(binary("kiln"));
            front.args(["verify", "--"]).env("SHIM_DIR", &shims);
            front
        };
        // It fails where any output, message, exit or list of inputs differs.
        project.build(front, &settings, || (), BUILD_MAX);
    }
}

/// Whether this is `make soak`.
fn soaks() -> bool {
    std::env::var_os("KILN_SOAK").is_some()
}

#[track_caller]
fn is_equal(name: &str, launcher: bool, plain: &Products, farmed: &Products) {
    let names = plain.keys().chain(farmed.keys());
    let mut differ: Vec<&String> = names.filter(|name| plain.get(*name) != farmed.get(*name)).collect();
    // A launcher is written into what the build goes by.
    differ.retain(|name| !(launcher && ["CMakeCache.txt", "rules.ninja"].iter().any(|end| name.ends_with(end))));
    differ.dedup();
    assert!(differ.is_empty(), "{name}: {} of {} products differ: {differ:?}", differ.len(), plain.len());
}

/// Nearly all of what compiles went to workers, its inputs found by kiln.
#[track_caller]
fn is_distributed(calls: &Calls, stats: &Value) {
    let count = |key: &str| stats[key].as_u64().unwrap_or_else(|| panic!("{key}: {stats}"));
    let remote = count("remote");
    assert!(remote * 100 > calls.compiles as u64 * 95, "{remote} of {} calls on workers: {stats}", calls.compiles);
    assert!(count("scanned") >= remote, "{stats}");
    for zero in ["local", "listed", "preprocessed", "errors", "scan_miss"] {
        assert_eq!(count(zero), 0, "{zero}: {stats}");
    }
    assert_eq!(stats["fallback"], serde_json::json!({}), "{stats}");
}

/// A project of `make test`: all of it, or a part.
macro_rules! project {
    ($name:ident, $plan:expr) => {
        #[test]
        fn $name() {
            check(&$plan);
        }
    };
}

/// A project of `make soak`, all of it.
macro_rules! long_project {
    ($name:ident, $plan:expr) => {
        #[test]
        fn $name() {
            if soaks() {
                check(&$plan);
            }
        }
    };
}

project!(zlib, Plan::new("zlib", 34));
project!(haproxy, Plan::new("haproxy", 100));
project!(lua, Plan::new("lua5.4", 100));
project!(re2, Plan::new("re2", 20));
project!(fmt_by_launcher, Plan { launcher: true, ..Plan::new("fmt", 2) });
project!(linux, Plan { settings: &[("TARGETS", "kernel/ lib/ mm/")], ..Plan::new("linux", 100) });
long_project!(linux_all, Plan::new("linux", 400));
long_project!(libxml2, Plan::new("libxml2", 90));
long_project!(libsodium, Plan::new("libsodium", 200));
long_project!(abseil, Plan::new("abseil", 100));
long_project!(abseil_by_launcher, Plan { launcher: true, ..Plan::new("abseil", 100) });
long_project!(mbedtls, Plan::new("mbedtls", 150));
long_project!(dav1d, Plan::new("dav1d", 60));
long_project!(harfbuzz, Plan::new("harfbuzz", 100));
long_project!(lighttpd, Plan::new("lighttpd", 100));
