//! A farm of hosts: user, scheduler, cache and three workers, each in a network namespace on one bridge, all inside one user
//! namespace; builds over it while a worker and the scheduler are killed, stopped, cut off and restarted. Needs no root and leaves nothing.

use kiln_testkit::{Layout, Network, Project, Running, TestFarm, await_for, binary, host_address, run};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Set in the namespaces.
const INSIDE: &str = "KILN_TEST_INSIDE";
/// In which all of it ends.
const ALL_MAX: Duration = Duration::from_secs(420);
/// In which one build ends, whatever happens to the farm.
const BUILD_MAX: Duration = Duration::from_secs(90);
/// In which one small command ends.
const SOON: Duration = Duration::from_secs(10);
/// All hosts.
const HOSTS: [&str; 6] = ["scheduler", "cache", "client", "w1", "w2", "w3"];

#[test]
fn a_farm_of_hosts() {
    if std::env::var_os(INSIDE).is_some() {
        lay_out();
        return builds_over_hosts();
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", "a_farm_of_hosts", "--nocapture"]).env(INSIDE, "1");
    let ran = run(&mut command, ALL_MAX).ok();
    assert!(ran.text().contains("1 passed"), "{}", ran.text());
}

#[track_caller]
fn ip(words: &str) {
    let _ = run(Command::new("ip").args(words.split(' ')), SOON).ok();
}

/// The bridge, and a host for each name.
fn lay_out() {
    let _ = run(Command::new("mount").args(["-t", "tmpfs", "none", "/run"]), SOON).ok();
    std::fs::create_dir("/run/netns").expect("a directory");
    ip("link set lo up");
    ip("link add br0 type bridge");
    ip("link set br0 up");
    for host in HOSTS {
        ip(&format!("netns add {host}"));
        ip(&format!("link add v-{host} type veth peer name eth0 netns {host}"));
        ip(&format!("link set v-{host} master br0 up"));
        ip(&format!("-n {host} link set lo up"));
        ip(&format!("-n {host} addr add {}/24 dev eth0", host_address(host)));
        ip(&format!("-n {host} link set eth0 up"));
    }
}

/// What happens to a role in the middle of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Kill,
    Stop,
    CutOff,
    Restart,
}

impl Blow {
    fn strike(self, farm: &mut TestFarm, name: &str) {
        match self {
            Self::Kill => farm.kill(name),
            Self::Stop => farm.stop(name),
            Self::CutOff => filter(name, "-A"),
            Self::Restart => farm.restart(name),
        }
    }

    fn heal(self, farm: &mut TestFarm, name: &str) {
        match self {
            Self::Kill => farm.restart(name),
            Self::Stop => farm.cont(name),
            Self::CutOff => filter(name, "-D"),
            Self::Restart => {}
        }
    }
}

/// Adds (`-A`) or deletes (`-D`) the rules that drop all of a host's packets.
#[track_caller]
fn filter(host: &str, what: &str) {
    for chain in ["INPUT", "OUTPUT"] {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host, "iptables", "-w", what, chain, "-j", "DROP"]);
        let _ = run(&mut command, SOON).ok();
    }
}

struct Builds {
    farm: TestFarm,
    project: Project,
    plain: BTreeMap<String, Vec<u8>>,
    salt: u32,
}

impl Builds {
    fn start(&mut self, fallback: &str) -> Running {
        self.salt += 1;
        let mut make = self.farm.client("make");
        make.env("KILN_FALLBACK", fallback);
        Running::start(self.project.make(&mut make, &binary("kiln").display().to_string(), self.salt))
    }

    #[track_caller]
    fn finish(&self, build: Running, what: &str) {
        let _ = build.finish(BUILD_MAX).ok();
        let products = self.project.take_products();
        let differ: Vec<&String> =
            self.plain.iter().filter(|(name, bytes)| products.get(*name) != Some(bytes)).map(|of| of.0).collect();
        assert!(differ.is_empty() && products.len() == self.plain.len(), "{what}: {differ:?} of {:?}", products.keys());
    }
}

fn builds_over_hosts() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = Project::write(dir.path());
    let _ = run(project.make(&mut Command::new("make"), "", 0), BUILD_MAX).ok();
    let plain = project.take_products();
    let settings = vec![("KILN_TLS_INSECURE".to_owned(), "true".to_owned()), ("HIDE".to_owned(), dir.path().display().to_string())];
    let farm = TestFarm::start(Layout { workers: 3, network: Network::Hosts, settings, ..Layout::default() });
    let mut builds = Builds { farm, project, plain, salt: 0 };

    let build = builds.start("fail");
    builds.finish(build, "all well");
    let stats = builds.farm.stats();
    let remote = stats["remote"].as_u64().unwrap_or_default();
    assert!(remote * 10 > builds.project.units() * 9, "{stats}");
    assert_eq!(stats["fallback"], serde_json::json!({}), "{stats}");

    for name in ["w1", "scheduler"] {
        for blow in [Blow::Kill, Blow::Stop, Blow::CutOff, Blow::Restart] {
            let what = format!("{blow:?} {name}");
            let begun = std::time::Instant::now();
            let build = builds.start("silent");
            await_for("objects", BUILD_MAX, || (builds.project.objects() >= 2).then_some(()));
            blow.strike(&mut builds.farm, name);
            builds.finish(build, &what);
            println!("{what}: {} ms", begun.elapsed().as_millis());
            blow.heal(&mut builds.farm, name);
            builds.farm.await_well();
        }
    }
}
