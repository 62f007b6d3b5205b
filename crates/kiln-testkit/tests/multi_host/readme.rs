//! README's farm of two machines, walked as it stands: its commands and its files, on two hosts that are named as there.

use crate::builds::BUILD_MAX;
use crate::hosts::among;
use kiln_testkit::{Project, Running, binary, host_address, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// In which all of it is done.
const ALL_MAX: Duration = Duration::from_secs(1100);
/// Gives a host its own `/home/you`, then runs a script there: `bash -c LIVING bash HOST SCRIPT`.
const LIVING: &str = r#"set -eu; mount --bind "/run/homes/$1" /home/you; cd /home/you; exec bash -eu -c "$2""#;

/// What README says to do.
struct TwoMachines {
    tokens: String,
    box_settings: String,
    services: Vec<String>,
    desk_settings: String,
    build: String,
}

fn readme() -> TwoMachines {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a root");
    let text = fs::read_to_string(root.join("README.md")).expect("README.md");
    let (_, section) = text.split_once("\n## A farm of two machines").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the section's end");
    let parts: Vec<&str> = section.split("\n```").collect();
    // Prose and fences take turns.
    assert_eq!(parts.len(), 9, "{parts:?}");
    let fence = |index: usize, kind: &str| {
        let (first, rest) = parts[index].split_once('\n').expect("a first line");
        assert_eq!(first, kind, "fence {index}");
        rest.to_owned()
    };
    let services = parts[4].split('`').filter(|word| word.starts_with("kilnd ")).map(str::to_owned).collect();
    TwoMachines {
        tokens: fence(1, ""),
        box_settings: fence(3, "toml"),
        services,
        desk_settings: fence(5, "toml"),
        build: fence(7, ""),
    }
}

/// A script on a host, in an environment of its own.
fn on(host: &str, script: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{host}")).args(["unshare", "-m", "bash", "-c", LIVING, "bash", host, script]);
    command.env_clear().env("HOME", "/home/you").env("PATH", "/run/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
    // Both hosts are one machine: what the user does there is no other work.
    command.env("KILN_WORKER_YIELDS", "false");
    command
}

fn sh(script: &str) {
    let _ = run(Command::new("bash").args(["-euc", script]), BUILD_MAX).ok();
}

fn settings(host: &str, text: &str) {
    let dir = Path::new("/run/homes").join(host).join(".config/kiln");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("kiln.toml"), text).expect("settings");
}

/// The two hosts know each other by name, and each has a home that the other does not see.
fn move_in(dir: &Path) {
    let names = ["box", "desk"].map(|host| format!("{} {host}\n", host_address(host))).concat();
    fs::write("/run/hosts", format!("127.0.0.1 localhost\n{names}")).expect("names");
    sh("mkdir /run/bin /run/homes; mount --bind /run/hosts /etc/hosts; touch /run/bin/kiln /run/bin/kilnd");
    for name in ["kiln", "kilnd"] {
        sh(&format!("mount --bind '{}' /run/bin/{name}", binary(name).display()));
    }
    sh(&format!("mount --bind '{}' /run/homes; mkdir /run/homes/box /run/homes/desk", dir.display()));
    sh("mount -t tmpfs none /home; mkdir /home/you");
}

#[test]
fn two_machines_as_in_the_readme() {
    among(&["box", "desk"], "readme::two_machines_as_in_the_readme", ALL_MAX, || {
        let readme = readme();
        let dir = tempfile::tempdir().expect("a directory");
        move_in(dir.path());
        let _ = run(&mut on("box", &readme.tokens), BUILD_MAX).ok();
        settings("box", &readme.box_settings);
        assert_eq!(readme.services, ["kilnd scheduler", "kilnd cache", "kilnd worker"]);
        let services: Vec<Running> =
            readme.services.iter().map(|words| Running::start(&mut on("box", &format!("exec {words}")))).collect();

        sh("cd /run/homes; mkdir desk/pki; cp box/pki/ca.pem desk/pki/");
        sh("cd /run/homes; umask 077; grep ' user \\|^user ' box/tokens >desk/kiln-token");
        settings("desk", &readme.desk_settings);
        let project = Path::new("/run/homes/desk/project");
        let project = Project::write_small(project, 1);
        let lines: Vec<&str> = readme.build.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).collect();
        assert_eq!(lines, ["kiln daemon restart", "kiln status", "kiln run -- make -j16"]);
        // One script, for each mount namespace has a daemon of its own. A person looks until all is there.
        let look = "until kiln status >&2 && kiln status | grep -q ' well .* box:8981'; do sleep 0.2; done";
        let script = ["cd project", lines[0], look, lines[2], "echo '--- counters'; kiln stats --json"].join("\n");
        let ran = run(&mut on("desk", &script), BUILD_MAX).ok();
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let (_, stats) = text.split_once("--- counters\n").expect("counters");
        let stats: Value = serde_json::from_str(stats).expect("counters");
        assert_eq!(stats["fallback"], serde_json::json!({}), "{stats}");
        assert!(stats["remote"].as_u64().is_some_and(|remote| remote > 0), "{stats}");
        assert_eq!(project.objects() as u64, project.units());
        drop(services);
    });
}
