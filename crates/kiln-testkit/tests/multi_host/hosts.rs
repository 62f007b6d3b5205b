//! Hosts for a test: network namespaces on one bridge, and what can happen to one of them. Knows nothing of what runs there.

use kiln_testkit::{TestFarm, host_address, run};
use std::process::Command;
use std::time::Duration;

/// Set in the namespaces.
const INSIDE: &str = "KILN_TEST_INSIDE";
/// In which one small command ends.
const SOON: Duration = Duration::from_secs(20);
/// In which a role that drains has finished what it runs, on a machine that does much else.
const DRAINED_MAX: Duration = Duration::from_secs(200);

/// Runs the test `name`, which calls this, in namespaces of its own where there are `hosts`.
#[track_caller]
pub(crate) fn among(hosts: &[&str], name: &str, limit: Duration, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        lay_out(hosts);
        return body();
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let ran = run(&mut command, limit).ok();
    assert!(ran.text().contains("1 passed"), "{}", ran.text());
    println!("{}", ran.text());
}

#[track_caller]
fn command(words: &str) {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    // An ordinary user has no tc and no iptables in PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let _ = run(command.args(words).env("PATH", format!("{path}:/usr/sbin:/sbin")), SOON).ok();
}

/// The bridge, and a host for each name.
fn lay_out(hosts: &[&str]) {
    command("mount -t tmpfs none /run");
    std::fs::create_dir("/run/netns").expect("a directory");
    command("ip link set lo up");
    command("ip link add br0 type bridge");
    command("ip link set br0 up");
    for host in hosts {
        command(&format!("ip netns add {host}"));
        command(&format!("ip link add v-{host} type veth peer name eth0 netns {host}"));
        command(&format!("ip link set v-{host} master br0 up"));
        command(&format!("ip -n {host} link set lo up"));
        command(&format!("ip -n {host} addr add {}/24 dev eth0", host_address(host)));
        command(&format!("ip -n {host} link set eth0 up"));
    }
}

/// What happens to a role in the middle of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// All packets of its host are dropped.
    CutOff,
    /// Its port refuses connections, also those that are open; what it sends itself gets through.
    Refuse,
    /// Its host has a line of 16 Mbit/s, with up to 400 ms in its queue.
    Slow,
    /// SIGTERM, and a new process once it has ended.
    Restart,
}

impl Blow {
    pub(crate) fn strike(self, farm: &mut TestFarm, name: &str) {
        match self {
            Self::Kill => farm.kill(name),
            Self::Stop => farm.stop(name),
            Self::CutOff => drop_all(name, "-A"),
            Self::Refuse => refuse(name, "-A"),
            Self::Slow => command(&format!("tc -n {name} qdisc add dev eth0 root tbf rate 16mbit burst 64kb latency 400ms")),
            Self::Restart => farm.terminate(name),
        }
    }

    pub(crate) fn heal(self, farm: &mut TestFarm, name: &str) {
        match self {
            Self::Kill => farm.restart(name),
            Self::Stop => farm.cont(name),
            Self::CutOff => drop_all(name, "-D"),
            Self::Refuse => refuse(name, "-D"),
            Self::Slow => command(&format!("tc -n {name} qdisc del dev eth0 root")),
            Self::Restart => {
                assert_eq!(farm.await_end(name, DRAINED_MAX), Some(0), "{name} drains and ends well");
                farm.restart(name);
            }
        }
    }
}

/// Adds (`-A`) or deletes (`-D`) the rules that drop all of a host's packets.
#[track_caller]
fn drop_all(host: &str, what: &str) {
    for chain in ["INPUT", "OUTPUT"] {
        command(&format!("ip netns exec {host} iptables -w {what} {chain} -j DROP"));
    }
}

/// Adds (`-A`) or deletes (`-D`) the rule by which a host refuses connections to its service.
#[track_caller]
fn refuse(host: &str, what: &str) {
    command(&format!("ip netns exec {host} iptables -w {what} INPUT -p tcp --dport 8980 -j REJECT --reject-with tcp-reset"));
}
