//! Control groups of this process: a worker's own ones for its jobs, and a daemon's way out of the build that started it. Knows
//! v1, v2 and systemd's bus; bounds nothing itself.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where cgroups are mounted on every distribution.
const MOUNT: &str = "/sys/fs/cgroup";

/// The word of `worker.cgroups` for the groups that this process is in.
const OWN: &str = "own";

/// The group below its own one that a service moves into, so that its own one may have jobs' groups beside it.
const SERVICE: &str = "service";

/// The group that a daemon moves into, beside that of the build.
const DAEMON: &str = "kiln-daemon";

/// What `worker.cgroups` names, `own` replaced by the groups of this process.
pub(crate) fn for_jobs(configured: &[String]) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for word in configured {
        if word != OWN {
            groups.push(PathBuf::from(word));
            continue;
        }
        match own(Path::new(MOUNT), &own_lines()) {
            Ok(own) => groups.extend(own),
            Err(error) => tracing::warn!("this service's cgroup cannot be used for jobs: {error}"),
        }
    }
    groups
}

fn own_lines() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The path of a v2 group in `/proc/self/cgroup`.
fn unified(lines: &str) -> Option<&str> {
    lines.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path of a v1 controller's group.
fn controller<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = lines.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    fields.find_map(|fields| match fields[..] {
        [_, names, path] if names.split(',').any(|of| of == name) => Some(path),
        _ => None,
    })
}

/// `path` below `dir`.
fn below(dir: &Path, path: &str) -> PathBuf {
    dir.join(path.trim_start_matches('/'))
}

/// The groups of this process that can have jobs' groups below them.
fn own(mount: &Path, lines: &str) -> io::Result<Vec<PathBuf>> {
    let v1: Vec<PathBuf> = ["memory", "pids"]
        .iter()
        .filter_map(|name| Some(below(&mount.join(name), controller(lines, name)?)))
        .filter(|dir| dir.is_dir())
        .collect();
    if !v1.is_empty() {
        return Ok(v1);
    }
    let path = unified(lines).ok_or_else(|| io::Error::other("/proc/self/cgroup names none"))?;
    let group = below(mount, path);
    // In v2 a group with groups below it has no process of its own.
    enter(&group.join(SERVICE))?;
    Ok(vec![group])
}

/// Makes a group and moves this process into it.
fn enter(group: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", group.display()));
    match std::fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(error)),
        _ => {}
    }
    std::fs::write(group.join("cgroup.procs"), "0").map_err(named)
}

/// Leaves the cgroup of the build that started this daemon, where that can be done: a CI system or a terminal that ends all
/// processes of a build's group would end the daemon of every other build. Blocks for as long as systemd takes.
pub(crate) fn leave_build() {
    let outcome = by_systemd().or_else(|by_systemd| {
        let uid = rustix::process::geteuid().as_raw();
        // Every group is root's, also the one above a container's.
        let aside =
            if uid == 0 { Err("root has no group of its own".to_owned()) } else { aside(Path::new(MOUNT), &own_lines(), uid) };
        aside.map_err(|aside| format!("{by_systemd}; {aside}"))
    });
    match outcome {
        Ok(group) => tracing::info!("in cgroup {group}"),
        Err(why) => tracing::debug!("stays in the cgroup of the build that started it: {why}"),
    }
}

/// Has systemd take this process into a scope of its own.
fn by_systemd() -> Result<String, String> {
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id().to_string());
    let bus = if uid == 0 { "/run/dbus/system_bus_socket".to_owned() } else { format!("/run/user/{uid}/bus") };
    let manager = if uid == 0 { "/run/systemd/system".to_owned() } else { format!("/run/user/{uid}/systemd") };
    if !Path::new(&bus).exists() || !Path::new(&manager).exists() {
        return Err("no systemd to ask".to_owned());
    }
    let scope = format!("kiln-daemon-{pid}.scope");
    let mut command = Command::new("busctl");
    command.arg(format!("--address=unix:path={bus}")).args(["--timeout=5", "--quiet", "call"]);
    command.args(["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]);
    // One property: the processes to take in. No other units.
    command.args(["StartTransientUnit", "ssa(sv)a(sa(sv))", &scope, "fail", "1", "PIDs", "au", "1", &pid, "0"]);
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().map_err(|error| format!("busctl: {error}"))?;
    match output.status.success() {
        true => Ok(scope),
        false => Err(format!("systemd: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Moves into a group beside this process's own, where the one above both is the user's (v2 delegation).
fn aside(mount: &Path, lines: &str, uid: u32) -> Result<String, String> {
    let path = unified(lines).ok_or("no v2 cgroup")?;
    if mount.join("cgroup.controllers").symlink_metadata().is_err() {
        return Err("v2 cgroups are not mounted".to_owned());
    }
    let own = below(mount, path);
    let above = own.parent().filter(|above| above.starts_with(mount) && *above != mount).ok_or("no group above the build's")?;
    if above.metadata().map(|of| of.uid()).ok() != Some(uid) {
        return Err(format!("{} is not this user's", above.display()));
    }
    let group = above.join(DAEMON);
    enter(&group).map_err(|error| error.to_string())?;
    Ok(group.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:name=systemd:/\n8:cpu,pids:/job/a\n4:memory:/job\n0::/\n";

    #[test]
    fn groups_are_found_in_both_versions() {
        assert_eq!((controller(HYBRID, "memory"), controller(HYBRID, "pids")), (Some("/job"), Some("/job/a")));
        assert_eq!((unified(HYBRID), controller(HYBRID, "cpuset")), (Some("/"), None));
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path();
        std::fs::create_dir_all(mount.join("memory/job")).unwrap();
        std::fs::create_dir_all(mount.join("pids/job/a")).unwrap();
        assert_eq!(own(mount, HYBRID).unwrap(), [mount.join("memory/job"), mount.join("pids/job/a")]);
    }

    #[test]
    fn a_service_leaves_its_group_to_its_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("system.slice/kiln-worker.service");
        std::fs::create_dir_all(&group).unwrap();
        let own = own(dir.path(), "0::/system.slice/kiln-worker.service\n").unwrap();
        assert_eq!(own, std::slice::from_ref(&group));
        assert_eq!(std::fs::read_to_string(group.join("service/cgroup.procs")).unwrap(), "0");
        assert!(super::own(dir.path(), "0::/absent\n").is_err());
    }

    #[test]
    fn a_daemon_moves_aside_only_below_a_group_of_its_user() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("ci/job-7")).unwrap();
        let uid = dir.path().metadata().unwrap().uid();
        let aside = |lines: &str| aside(dir.path(), lines, uid);
        assert!(aside("0::/ci/job-7\n").is_err(), "no v2 there");
        std::fs::write(dir.path().join("cgroup.controllers"), "").unwrap();
        assert!(super::aside(dir.path(), "0::/ci/job-7\n", uid + 1).is_err(), "another user's");
        aside("0::/ci/job-7\n").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("ci/kiln-daemon/cgroup.procs")).unwrap(), "0");
        assert!(aside("0::/ci\n").is_err() && aside("0::/\n").is_err(), "never to the top");
    }
}
