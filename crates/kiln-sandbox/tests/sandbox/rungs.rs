//! Each rung of the ladder, forced: it works as far as it promises, and says what it is.

use super::support::Farm;
use kiln_sandbox::{Ending, JobHandle, JobOutcome, JobSpec, Limit, RootMode, Rung, SandboxError};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The farm on that rung, or a refusal that says why where the rung needs root and the tests are not.
fn farm(rung: Rung) -> Option<Farm> {
    let farm = Farm::try_with(|config| config.rung = Some(rung));
    if matches!(rung, Rung::RootNamespace | Rung::Chroot) && !is_root() {
        match farm {
            Err(SandboxError::Helper(text)) => assert!(text.contains("not root"), "{text}"),
            other => panic!("{:?}", other.map(|farm| farm.sandbox.report().rung)),
        }
        return None;
    }
    let farm = farm.unwrap();
    assert_eq!(farm.sandbox.report().rung, rung);
    Some(farm)
}

fn output(outcome: &mut JobOutcome) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(outcome.outputs.len(), 1, "{outcome:?}");
    outcome.outputs[0].file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What every rung with a root of its own promises.
fn keeps_its_promises(farm: &Farm) {
    let see = farm.act(&["see"]);
    assert!(see.contains("nice 5") && see.contains("NoNewPrivs:\t1") || !see.contains("NoNewPrivs"), "{see}");
    let root = farm.act(&["list", "/"]);
    assert_eq!(root, "bin\ndev\nproc\ntmp\nw\n");
    let mut spec = farm.job(&farm.tree(), &["make", "file", "sub/x.o", "object"]);
    spec.outputs = vec!["sub/x.o".into(), "absent".into()];
    assert_eq!(output(&mut farm.run(spec)), b"object");
    assert_eq!(farm.act(&["list", "/w"]), "");
    let mut tree = farm.tree();
    tree.file("/w/a.h", farm.store.put(b"header"), false).unwrap();
    for _ in 0..2 {
        assert_eq!(farm.run(farm.job(&tree, &["spoil", "/w/a.h"])).ending, Ending::Exited(0));
        assert_eq!(farm.run(farm.job(&tree, &["read", "/w/a.h"])).stdout, b"header");
    }
    farm.store.verify();
    for act in [&["read", "/etc/passwd"][..], &["unix"], &["mount"], &["ptrace"], &["setuid"], &["make", "device", "/w/d"]] {
        let outcome = farm.run(farm.job(&farm.tree(), act));
        assert_eq!(outcome.ending, Ending::Exited(3), "{act:?} {outcome:?}");
    }
    let mut spec = farm.job(&farm.tree(), &["make", "link", "out", "/bin/act"]);
    spec.outputs = vec!["out".into()];
    assert!(farm.run(spec).outputs.is_empty());
}

/// What every rung promises of processes.
fn ends_its_jobs(farm: &Farm, job: &dyn Fn(&[&str]) -> JobSpec) {
    let run = |args: &[&str]| farm.run(job(args));
    assert_eq!(run(&["exit", "7"]).ending, Ending::Exited(7));
    assert_eq!(run(&["raise", "6"]).ending, Ending::Signalled(6));
    assert_eq!(run(&["fork-bomb"]).ending, Ending::LimitMet(Limit::Processes));
    assert_eq!(run(&["eat-memory"]).ending, Ending::LimitMet(Limit::Memory));
    assert_eq!(run(&["flood"]).ending, Ending::LimitMet(Limit::Output));
    let mut spec = job(&["leave", "mark"]);
    spec.limits.wall_ms = 10_000;
    let outcome = farm.run(spec);
    assert_eq!((outcome.ending, &outcome.stdout[..]), (Ending::Exited(0), &b"left\n"[..]));
    let mut spec = job(&["wait"]);
    spec.limits.wall_ms = 100;
    assert_eq!(farm.run(spec).ending, Ending::LimitMet(Limit::Time));
    let handle = farm.sandbox.run(job(&["wait"])).unwrap();
    handle.cancel();
    assert!(matches!(handle.wait(), Err(SandboxError::Cancelled)));
}

#[test]
fn user_namespace() {
    let farm = farm(Rung::UserNamespace).unwrap();
    keeps_its_promises(&farm);
    ends_its_jobs(&farm, &|args| farm.job(&farm.tree(), args));
}

#[test]
fn root_namespace() {
    let Some(farm) = farm(Rung::RootNamespace) else { return };
    keeps_its_promises(&farm);
    ends_its_jobs(&farm, &|args| farm.job(&farm.tree(), args));
    let see = farm.act(&["see"]);
    assert!(see.starts_with("uid 65534 gid 65534 pid 2 host kiln"), "{see}");
}

#[test]
fn host_proc() {
    let farm = farm(Rung::HostProc).unwrap();
    keeps_its_promises(&farm);
    ends_its_jobs(&farm, &|args| farm.job(&farm.tree(), args));
    // The host's processes can be seen, which is why this is a lower rung, but not touched.
    let own = std::process::id().to_string();
    assert!(farm.act(&["list", "/proc"]).lines().any(|line| line == own));
    for path in [format!("/proc/{own}/environ"), format!("/proc/{own}/root/etc/passwd"), format!("/proc/{own}/mem")] {
        assert_eq!(farm.run(farm.job(&farm.tree(), &["read", &path])).ending, Ending::Exited(3), "{path}");
    }
}

#[test]
fn chroot() {
    let Some(farm) = farm(Rung::Chroot) else { return };
    let see = farm.act(&["see"]);
    assert!(see.starts_with("uid 65534 gid 65534 "), "{see}");
    keeps_its_promises(&farm);
    ends_its_jobs(&farm, &|args| farm.job(&farm.tree(), args));
}

#[test]
fn none() {
    let farm = farm(Rung::None).unwrap();
    let ended = farm.sandbox.run(farm.job(&farm.tree(), &["exit", "0"])).and_then(JobHandle::wait);
    assert!(matches!(ended, Err(SandboxError::NoRoot(_))), "{ended:?}");
    let plain = |args: &[&str]| {
        let mut spec = farm.job(&farm.tree(), args);
        (spec.mode, spec.cwd, spec.argv[0]) = (RootMode::HostUsr, "w".into(), "../bin/act".into());
        spec
    };
    let see = String::from_utf8(farm.run(plain(&["see"])).stdout).unwrap();
    assert!(!see.starts_with("uid 0 "), "{see}");
    ends_its_jobs(&farm, &plain);
    let mut spec = plain(&["make", "file", "../out/x", "object"]);
    spec.outputs = vec!["../out/x".into()];
    assert_eq!(output(&mut farm.run(spec)), b"object");
    let mut tree = farm.tree();
    tree.file("/w/a.h", farm.store.put(b"header"), false).unwrap();
    for act in [&["mount"][..], &["ptrace"], &["setuid"], &["read", "/etc/passwd"], &["make", "file", "/var/tmp/x", "x"]] {
        assert_eq!(farm.run(plain(act)).ending, Ending::Exited(3), "{act:?}");
    }
}

#[test]
fn a_plain_action_runs_on_the_better_rungs_alike() {
    for rung in [Rung::UserNamespace, Rung::RootNamespace, Rung::HostProc] {
        let Some(farm) = farm(rung) else { continue };
        let mut spec = farm.job(&farm.tree(), &[]);
        (spec.mode, spec.cwd) = (RootMode::HostUsr, "w".into());
        spec.argv = ["/bin/sh", "-c", "echo > x; echo > /tmp/y; echo > ../made/z; pwd"].map(str::to_owned).to_vec();
        spec.outputs = vec!["x".into()];
        spec.make_dirs = vec!["../made".into()];
        let outcome = farm.run(spec);
        assert_eq!((outcome.ending, &outcome.stdout[..]), (Ending::Exited(0), &b"/kiln/w\n"[..]), "{rung:?} {outcome:?}");
        assert_eq!(outcome.outputs.len(), 1, "{rung:?}");
    }
}

#[test]
fn a_helper_that_is_none_is_reported() {
    for argv in [vec![], vec!["/absent/helper".into()], vec!["/bin/true".into()]] {
        let farm = Farm::try_with(|config| config.helper_argv = argv.clone());
        assert!(matches!(farm.err(), Some(SandboxError::Helper(_))), "{argv:?}");
    }
}

#[test]
fn cgroups_bound_processes_where_they_can_be_used() {
    let hierarchy = std::path::Path::new("/sys/fs/cgroup/pids");
    if !is_root() || !hierarchy.is_dir() {
        // Nothing to try it on: then the report must say so for what is configured.
        let farm = Farm::with(|config| config.cgroups = vec![hierarchy.to_owned()]);
        let absent = &farm.sandbox.report().absent;
        assert!(absent.iter().any(|text| text.starts_with("cgroup /sys/fs/cgroup/pids")), "{absent:?}");
        return;
    }
    let own = hierarchy.join(format!("kiln-tests-{}", std::process::id()));
    std::fs::create_dir(&own).unwrap();
    let farm = Farm::with(|config| config.cgroups = vec![own.clone()]);
    assert_eq!(farm.sandbox.report().absent, Vec::<String>::new());
    let mut spec = farm.job(&farm.tree(), &["fork-until-refused"]);
    spec.limits.processes = 20;
    let outcome = farm.run(spec);
    assert_eq!(outcome.ending, Ending::LimitMet(Limit::Processes), "{outcome:?}");
    assert_eq!(farm.run(farm.job(&farm.tree(), &["exit", "0"])).ending, Ending::Exited(0));
    drop(farm);
    // Nothing is left, or the directory could not be removed.
    std::fs::remove_dir(&own).unwrap();
}

#[test]
fn a_directory_that_is_no_cgroup_is_reported_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::with(|config| config.cgroups = vec![dir.path().to_owned(), "/absent".into()]);
    assert_eq!(farm.sandbox.report().absent.len(), 2, "{:?}", farm.sandbox.report());
    assert_eq!(farm.run(farm.job(&farm.tree(), &["exit", "0"])).ending, Ending::Exited(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A helper that is started by a shell command, in which `"$0"` is the helper.
fn in_shell(around: &[&str], command: &str) -> Vec<std::ffi::OsString> {
    let shell = ["sh", "-c", command].into_iter().map(std::ffi::OsString::from);
    around.iter().map(std::ffi::OsString::from).chain(shell).chain([super::support::helper()]).collect()
}

#[test]
fn a_masked_proc_costs_a_rung() {
    // What container engines do: then the kernel refuses a fresh /proc in a user namespace.
    let around: &[&str] = if is_root() { &["unshare", "-m"] } else { &["unshare", "-Urm"] };
    let argv = in_shell(around, "mount -t tmpfs none /proc/irq && exec \"$0\"");
    let farm = Farm::with(|config| config.helper_argv = argv);
    let report = farm.sandbox.report();
    assert_eq!(report.rung, if is_root() { Rung::RootNamespace } else { Rung::HostProc }, "{report:?}");
    assert!(report.why_not_better[0].contains("UserNamespace: mounting /proc"), "{report:?}");
    assert_eq!(report.how_to_improve.len(), 1, "{report:?}");
    assert_eq!(farm.run(farm.job(&farm.tree(), &["make", "file", "/w/x", "x"])).ending, Ending::Exited(0));
}

#[test]
fn without_user_namespaces_there_is_no_rung_for_an_ordinary_user() {
    let argv = in_shell(&["unshare", "-Ur"], "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\"");
    let farm = Farm::with(|config| config.helper_argv = argv);
    let report = farm.sandbox.report();
    assert_eq!((report.rung, report.why_not_better.len()), (Rung::None, 4), "{report:?}");
    assert!(report.how_to_improve.iter().any(|text| text.contains("max_user_namespaces")), "{report:?}");
}

#[test]
fn root_without_the_right_to_mount_uses_what_is_left() {
    if !is_root() {
        // Only root can be less than root; an ordinary user's rung is tried above.
        return;
    }
    let argv = || in_shell(&["setpriv", "--inh-caps", "-sys_admin", "--bounding-set", "-sys_admin"], "exec \"$0\"");
    let farm_below = |mode: u32| {
        Farm::with(|config| {
            let above = config.roots.parent().unwrap();
            std::fs::set_permissions(above, std::fs::Permissions::from_mode(mode)).unwrap();
            config.helper_argv = argv();
        })
    };
    // The job user may make namespaces, but cannot reach a pool below a directory that only root may enter.
    let farm = farm_below(0o700);
    assert_eq!(farm.sandbox.report().rung, Rung::Chroot, "{:?}", farm.sandbox.report());
    assert_eq!(farm.run(farm.job(&farm.tree(), &["make", "file", "/w/x", "x"])).ending, Ending::Exited(0));
    let farm = farm_below(0o711);
    assert_eq!(farm.sandbox.report().rung, Rung::UserNamespace, "{:?}", farm.sandbox.report());
    assert_eq!(farm.run(farm.job(&farm.tree(), &["make", "file", "/w/x", "x"])).ending, Ending::Exited(0));
}
