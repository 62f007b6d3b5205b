//! Workers that are there and cannot do their work: no disk, no memory, no credential. The build is the plain build, and the
//! status says what is wrong with each.

use crate::builds::{BUILD_MAX, Builds};
use crate::hosts::among;
use kiln_testkit::{Layout, await_for, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// In which the farm is up and a build or two have ended.
const ALL_MAX: Duration = Duration::from_secs(1100);
/// A disk on which no compiler fits.
const SMALL_DISK: &str = "/run/small";
/// A file with a token that nobody knows.
const BAD_TOKEN: &str = "/run/bad.token";

#[test]
fn sick_workers_harm_no_build() {
    let hosts = ["scheduler", "cache", "client", "w1", "w2", "w3", "w4"];
    among(&hosts, "sick::sick_workers_harm_no_build", ALL_MAX, || {
        fs::create_dir(SMALL_DISK).expect("a directory");
        mount(&["-t", "tmpfs", "-o", "size=24m,mode=777", "none"]);
        fs::write(BAD_TOKEN, format!("worker worker {}\n", "0".repeat(64))).expect("a token");
        fs::set_permissions(BAD_TOKEN, fs::Permissions::from_mode(0o600)).expect("a mode");
        let own = [
            ("w1", "KILN_DIR", SMALL_DISK),
            ("w2", "KILN_WORKER_JOB_MEMORY_MAX", "32M"),
            ("w3", "KILN_AUTH_TOKEN_FILE", BAD_TOKEN),
        ];
        let own = own.map(|(role, key, value)| (role.to_owned(), key.to_owned(), value.to_owned())).to_vec();
        let sick = vec!["w1".to_owned(), "w2".to_owned(), "w3".to_owned()];
        let mut builds = Builds::start(Layout { workers: 4, own, sick, ..Layout::default() });
        // Its disk is full; with a little more it takes work by itself, and fails in the middle of it.
        await_status(&builds, &[("w1", "takes no work")]);
        // With its source named, mount takes no options over from before: an owner among them has no number in here.
        mount(&["-o", "remount,size=80m,mode=777", "none"]);
        await_status(&builds, &[("w1", " well ")]);
        builds.farm.zero();
        let build = builds.build("fail");
        await_status(
            &builds,
            &[("w1", "takes no work: "), ("w2", "the job met its limit (Memory)"), ("10.9.0.13", "unknown credential")],
        );
        builds.finish(build, "sick workers");
        let stats = builds.farm.stats();
        println!("{stats}");
        let fallback = stats["fallback"].as_object().expect("a table");
        assert!(fallback.keys().all(|code| code == "doubtful-end"), "only what ran out of memory runs here: {stats}");
        let lost = builds
            .stories()
            .iter()
            .flat_map(|story| story.starts())
            .filter(|start| start.outcome.contains("Lost"))
            .collect::<Vec<_>>();
        assert!(!lost.is_empty() && lost.iter().all(|start| start.place == "w1"), "{lost:?}");
    });
}

fn mount(args: &[&str]) {
    let _ = run(Command::new("mount").args(args).arg(SMALL_DISK), BUILD_MAX).ok();
}

/// Awaits that `kiln status` has a line with both words of each pair, not all at one time.
#[track_caller]
fn await_status(builds: &Builds, wanted: &[(&str, &str)]) {
    let mut missing = wanted.to_vec();
    await_for(&format!("the status says {wanted:?}"), BUILD_MAX, || {
        let status = builds.status();
        missing.retain(|(node, word)| !status.lines().any(|line| line.contains(node) && line.contains(word)));
        missing.is_empty().then_some(())
    });
}
