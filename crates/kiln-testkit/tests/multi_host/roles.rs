//! Each role struck in the middle of a build in each way: the build is the plain build, what was lost is soon elsewhere, and the
//! status says what is wrong.

use crate::builds::{BUILD_MAX, Builds, RESTARTED_MAX};
use crate::hosts::{Blow, among};
use kiln_testkit::{Layout, await_for};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// In which all blows of one test have fallen.
const ALL_MAX: Duration = Duration::from_secs(1100);
/// In which the scheduler knows of a silent worker, and the daemon of a silent scheduler, and one may be asked about it: 3 s of
/// silence, a tick, and the question itself on a busy machine.
const KNOWN_MAX: Duration = Duration::from_secs(8);

const HOSTS: [&str; 6] = ["scheduler", "cache", "client", "w1", "w2", "w3"];

#[test]
fn workers_struck_in_a_build() {
    among(&HOSTS, "roles::workers_struck_in_a_build", ALL_MAX, || {
        let mut builds = Builds::start(Layout { workers: 3, ..Layout::default() });
        all_is_well(&mut builds);
        let bad = [(Blow::Kill, "silent for"), (Blow::Stop, "silent for"), (Blow::CutOff, "silent for"), (Blow::Refuse, "failed")];
        for (blow, trouble) in bad {
            worker_lost(&mut builds, blow, trouble);
        }
        for blow in [Blow::Restart, Blow::Slow] {
            worker_not_lost(&mut builds, blow);
        }
    });
}

/// A build over a farm that is well: all of it remote, as counted outside of kiln.
fn all_is_well(builds: &mut Builds) {
    let build = builds.build("fail");
    builds.finish(build, "all well");
    let (stats, counted) = (builds.farm.stats(), builds.counted());
    assert_eq!(counted, builds.project.units(), "compile commands");
    let remote = stats["remote"].as_u64().unwrap_or_default();
    assert!(remote * 10 > counted * 9, "{remote} of {counted}: {stats}");
    assert_eq!(stats["fallback"], serde_json::json!({}), "{stats}");
}

/// The worker that runs the slow unit fails in the middle of it.
fn worker_lost(builds: &mut Builds, blow: Blow, trouble: &str) {
    builds.farm.zero();
    let build = builds.build("fail");
    let victim = builds.await_slow();
    let what = format!("{blow:?} {victim}");
    blow.strike(&mut builds.farm, &victim);
    let struck = Instant::now();
    let says = await_for("the status says what is wrong", KNOWN_MAX, || {
        let status = builds.status();
        let line = status.lines().find(|line| line.trim_start().starts_with(&victim))?.to_owned();
        line.contains(trouble).then_some(line)
    });
    let known = struck.elapsed();
    builds.finish(build, &what);
    let (stories, stats) = (builds.stories(), builds.farm.stats());
    let restarts: Vec<Duration> = stories.iter().flat_map(|story| story.restarts(&victim, struck)).collect();
    println!("{what}: restarted after {restarts:?}, known after {known:?}, all in {:?}: {}", struck.elapsed(), says.trim());
    assert!(!restarts.is_empty(), "{what}: nothing was lost");
    assert!(restarts.iter().all(|restart| *restart <= RESTARTED_MAX), "{what}: {restarts:?}");
    assert_eq!(stats["fallback"], serde_json::json!({}), "{what}: {stats}");
    // Once it is known to be unwell it gets nothing.
    let late = stories.iter().flat_map(|story| story.starts()).filter(|start| start.place == victim && start.at > struck + known);
    assert_eq!(late.count(), 0, "{what}: work for a sick worker");
    blow.heal(&mut builds.farm, &victim);
    builds.farm.await_well();
}

/// A worker that is slow, or that ends as it was told to, loses nothing.
fn worker_not_lost(builds: &mut Builds, blow: Blow) {
    builds.farm.zero();
    let build = builds.build("fail");
    let victim = builds.await_slow();
    let what = format!("{blow:?} {victim}");
    blow.strike(&mut builds.farm, &victim);
    if blow == Blow::Restart {
        blow.heal(&mut builds.farm, &victim);
    }
    builds.finish(build, &what);
    let stats = builds.farm.stats();
    assert_eq!((&stats["fallback"], &stats["lost_attempts"]), (&serde_json::json!({}), &serde_json::json!({})), "{what}: {stats}");
    if blow != Blow::Restart {
        blow.heal(&mut builds.farm, &victim);
    }
    builds.farm.await_well();
}

#[test]
fn services_struck_in_a_build() {
    among(&HOSTS, "roles::services_struck_in_a_build", ALL_MAX, || {
        let mut builds = Builds::start(Layout { workers: 3, ..Layout::default() });
        for blow in [Blow::Kill, Blow::Stop, Blow::CutOff] {
            // Without a scheduler there is no farm.
            service_lost(&mut builds, "scheduler", blow, "silent", "farm: not up");
            service_lost(&mut builds, "cache", blow, "fail", "cache");
        }
        for name in ["scheduler", "cache"] {
            service_restarted(&mut builds, name);
        }
        for blow in [Blow::Kill, Blow::Stop, Blow::CutOff, Blow::Restart] {
            client_struck(&mut builds, blow);
        }
    });
}

/// A service fails in the middle of a build and stays away until its end. No unit waits longer than it takes to notice.
fn service_lost(builds: &mut Builds, name: &str, blow: Blow, fallback: &str, word: &str) {
    builds.farm.zero();
    let build = builds.build(fallback);
    let _ = builds.await_slow();
    let what = format!("{blow:?} {name}");
    blow.strike(&mut builds.farm, name);
    let struck = Instant::now();
    let says = await_for("the status says what is wrong", KNOWN_MAX, || {
        let status = builds.status();
        let lines = status.lines().filter(|line| line.contains(word) && !line.contains(" well"));
        lines.map(str::to_owned).next()
    });
    builds.finish(build, &what);
    println!("{what}: all in {:?}: {}", struck.elapsed(), says.trim());
    for story in builds.stories() {
        let Some(first) = story.starts().first().cloned() else { continue };
        let waited = first.at.saturating_duration_since(story.began().max(struck));
        assert!(waited <= RESTARTED_MAX, "{what}: {} waited {waited:?}", story.source());
    }
    let stats = builds.farm.stats();
    assert_eq!(stats["lost_attempts"], serde_json::json!({}), "{what}: no worker is to blame: {stats}");
    if fallback == "fail" {
        assert_eq!(stats["fallback"], serde_json::json!({}), "{what}: {stats}");
    }
    blow.heal(&mut builds.farm, name);
    builds.farm.await_well();
}

/// A service that ends as it was told to and comes back fails nothing, not even with `fail`.
fn service_restarted(builds: &mut Builds, name: &str) {
    builds.farm.zero();
    let build = builds.build("fail");
    let _ = builds.await_slow();
    Blow::Restart.strike(&mut builds.farm, name);
    Blow::Restart.heal(&mut builds.farm, name);
    builds.finish(build, name);
    let stats = builds.farm.stats();
    assert_eq!((&stats["fallback"], &stats["lost_attempts"]), (&serde_json::json!({}), &serde_json::json!({})), "{name}: {stats}");
    builds.farm.await_well();
}

/// The user's own daemon is struck: wrappers finish by themselves, and nobody else is blamed.
fn client_struck(builds: &mut Builds, blow: Blow) {
    builds.farm.zero();
    let pid = builds.farm.daemon();
    let build = builds.build("silent");
    let _ = builds.await_slow();
    let what = format!("{blow:?} client");
    let signal = |signal| kill_process(Pid::from_raw(pid as i32).expect("a number"), signal).expect("a signal");
    match blow {
        Blow::Kill => signal(Signal::KILL),
        Blow::Stop => {
            signal(Signal::STOP);
            // Suspended until wrappers have given it up, then resumed in the middle of the build.
            let before = builds.project.objects();
            await_for("objects without a daemon", BUILD_MAX, || (builds.project.objects() > before).then_some(()));
            signal(Signal::CONT);
        }
        Blow::CutOff => blow.strike(&mut builds.farm, "client"),
        _ => signal(Signal::TERM),
    }
    builds.finish(build, &what);
    if blow == Blow::CutOff {
        blow.heal(&mut builds.farm, "client");
    }
    builds.farm.await_well();
    let failed: u64 = {
        let status = builds.farm.status();
        let workers = status["farm"]["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().filter_map(|worker| worker["failed"].as_u64()).sum()
    };
    assert!(blow == Blow::CutOff || failed == builds.blamed, "{what}: workers are blamed");
    builds.blamed = failed;
}

#[test]
fn one_of_two_schedulers_lost_in_a_build() {
    let hosts = ["scheduler", "scheduler2", "cache", "client", "w1", "w2"];
    among(&hosts, "roles::one_of_two_schedulers_lost_in_a_build", ALL_MAX, || {
        let mut builds = Builds::start(Layout { schedulers: 2, ..Layout::default() });
        for (name, blow) in [("scheduler", Blow::Kill), ("scheduler2", Blow::CutOff)] {
            builds.farm.zero();
            let build = builds.build("fail");
            let _ = builds.await_slow();
            blow.strike(&mut builds.farm, name);
            let struck = Instant::now();
            builds.finish(build, name);
            println!("{blow:?} {name}: all in {:?}", struck.elapsed());
            let stats = builds.farm.stats();
            assert_eq!(stats["fallback"], serde_json::json!({}), "{blow:?} {name}: {stats}");
            blow.heal(&mut builds.farm, name);
            builds.farm.await_well();
        }
    });
}
