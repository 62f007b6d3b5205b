//! Finding the real compiler behind the links, and what exactly it is given.

use std::fs;
use std::os::unix::fs::symlink;

use kiln_frame::NOT_A_COMPILER;
use kiln_frame::Reply;
use kiln_frame::Request;
use kiln_frame::RunLocally;

use crate::home::Daemon;
use crate::home::Home;
use crate::home::complained;
use crate::home::said;
use crate::home::send;

/// A compiler that says how it was called.
const SAYS: &str = "#!/bin/sh\necho \"$0|$PATH|$KILN_DEPTH|$*\"\n";

/// As `SAYS`, for one that is told by its directory alone.
fn says(home: &Home, dir: &str) -> String {
    home.script(&format!("{dir}/gcc"), SAYS).to_str().unwrap().to_owned()
}

#[test]
fn a_link_runs_the_next_compiler_by_its_absolute_path() {
    let home = Home::new();
    let real = says(&home, "real");
    let rest = home.path(&["real", "/usr/bin", "/bin"]).into_string().unwrap();
    assert_eq!(said(&home.run("gcc", &["--version", "a b"])), format!("{real}|{rest}|1|--version a b\n"));
}

#[test]
fn links_in_several_directories_and_by_other_names_lead_nowhere_twice() {
    let home = Home::new();
    let real = says(&home, "real");
    home.link("masq2", "gcc");
    fs::hard_link(home.kiln(), home.dir.join("bin/gcc")).unwrap();
    symlink(home.dir.join("masq/gcc"), home.dir.join("masq2/cc")).unwrap();
    let path = home.path(&["masq2", "/nonexistent", "masq", "bin", "real", "masq2", "/bin"]);
    let output = home.command(home.dir.join("masq2/gcc")).env("PATH", path).arg("--version").output().unwrap();
    let rest = home.path(&["/nonexistent", "real", "/bin"]).into_string().unwrap();
    assert_eq!(said(&output), format!("{real}|{rest}|1|--version\n"));
}

#[test]
fn the_launcher_takes_names_and_paths() {
    let home = Home::new();
    let real = says(&home, "real");
    let other = says(&home, "work/other");
    let run = |args: &[&str]| {
        let said = said(&home.command(home.kiln()).args(args).arg("--version").output().unwrap());
        said.split('|').next().unwrap().to_owned()
    };
    assert_eq!(run(&["gcc"]), real);
    assert_eq!(run(&[&other]), other);
    assert_eq!(run(&["other/gcc"]), other);
    assert_eq!(run(&["./other/gcc"]), other);
    assert_eq!(run(&["kiln", "gcc"]), real);
    // A path that leads back here: the next one of that name.
    assert_eq!(run(&[home.dir.join("masq/gcc").to_str().unwrap()]), real);
}

#[test]
fn relative_and_empty_directories_in_path_work() {
    let home = Home::new();
    let here = says(&home, "work");
    let sub = says(&home, "work/sub");
    for (path, real) in [(":/bin", &here), ("sub:/bin", &sub), ("./sub:/bin", &sub), (".:/bin", &here)] {
        let path = format!("{}:{path}", home.dir.join("masq").display());
        let output = home.command(home.dir.join("masq/gcc")).env("PATH", &path).arg("--version").output().unwrap();
        assert_eq!(said(&output).split('|').next(), Some(real.as_str()), "{path}");
    }
}

#[test]
fn what_cannot_be_executed_is_passed_over() {
    let home = Home::new();
    let real = says(&home, "real");
    fs::create_dir_all(home.dir.join("a/gcc")).unwrap();
    fs::create_dir_all(home.dir.join("b")).unwrap();
    fs::write(home.dir.join("b/gcc"), SAYS).unwrap();
    let path = home.path(&["masq", "a", "b", "real", "/bin"]);
    let output = home.command(home.dir.join("masq/gcc")).env("PATH", path).arg("--version").output().unwrap();
    assert_eq!(said(&output).split('|').next(), Some(real.as_str()));
}

#[test]
fn links_of_other_wrappers_are_passed_over_unless_there_is_nothing_else() {
    let home = Home::new();
    home.script("tools/ccache", SAYS);
    fs::create_dir_all(home.dir.join("cc")).unwrap();
    symlink("../tools/ccache", home.dir.join("cc/gcc")).unwrap();
    let run = |path: &[&str]| {
        let output = home.command(home.dir.join("masq/gcc")).env("PATH", home.path(path)).arg("--version").output().unwrap();
        said(&output).split('|').next().unwrap().to_owned()
    };
    assert_eq!(run(&["masq", "cc"]), home.dir.join("cc/gcc").to_str().unwrap());
    let real = says(&home, "real");
    assert_eq!(run(&["masq", "cc", "real"]), real);
}

#[test]
fn what_stands_in_front_of_the_link_is_not_behind_it() {
    let home = Home::new();
    // Notes its calls and goes on to the next one of its name, as counters, filters and hooks in front of a compiler do.
    home.script("front/gcc", "#!/bin/sh\nPATH=${PATH#*:} exec gcc \"$@\" front\n");
    let real = says(&home, "real");
    let run = |program: &str, path: &[&str]| {
        let output = home.command(home.dir.join(program)).env("PATH", home.path(path)).arg("--version").output().unwrap();
        said(&output)
    };
    let said_by = |said: &str| said.split('|').next().unwrap().to_owned();
    let all = run("front/gcc", &["front", "masq", "real", "/bin"]);
    assert_eq!((said_by(&all), all.ends_with("|--version front\n")), (real.clone(), true), "{all}");
    // A hook that leaves PATH as it is and calls the link by its path.
    home.script("hook/gcc", &format!("#!/bin/sh\nexec {} \"$@\"\n", home.dir.join("masq/gcc").display()));
    assert_eq!(said_by(&run("hook/gcc", &["hook", "masq", "real", "/bin"])), real);
    // Nothing behind the link, or a link that is not in PATH: what there is.
    assert_eq!(said_by(&run("masq/gcc", &["real", "masq"])), real);
    assert_eq!(said_by(&run("masq/gcc", &["real", "/bin"])), real);
    // The launcher takes the name as the shell would.
    let mut launcher = home.command(home.kiln());
    launcher.env("PATH", home.path(&["real", "masq", "hook", "/bin"])).args(["gcc", "--version"]);
    assert_eq!(said_by(&said(&launcher.output().unwrap())), real);
}

#[test]
fn a_real_ccache_in_front_reaches_the_real_compiler() {
    let home = Home::new();
    fs::write(home.work("a.c"), "int f(void) { return 1; }\n").unwrap();
    let path = home.path(&["/usr/lib/ccache", "masq", "/usr/bin", "/bin"]);
    let mut command = home.command("/usr/lib/ccache/gcc");
    command.env("PATH", path).env("CCACHE_DIR", home.dir.join("ccache")).env("KILN_DISABLE", "1");
    said(&command.args(["-c", "a.c", "-o", "a.o"]).output().unwrap());
    assert_eq!(home.files(), ["a.c", "a.o"]);
}

#[test]
fn a_script_that_calls_kiln_again_ends_at_a_real_compiler() {
    let home = Home::new();
    home.script("loop/gcc", &format!("#!/bin/sh\nexec {} gcc \"$@\"\n", home.kiln().display()));
    let path = home.path(&["masq", "loop", "/usr/bin", "/bin"]);
    let output = home.command(home.dir.join("masq/gcc")).env("PATH", path).arg("-dumpversion").output().unwrap();
    let plain = std::process::Command::new("/usr/bin/gcc").arg("-dumpversion").output().unwrap();
    assert_eq!(said(&output), said(&plain));
}

#[test]
fn a_loop_without_a_real_compiler_ends() {
    let home = Home::new();
    home.script("loop/gcc", &format!("#!/bin/sh\nexec {} gcc \"$@\"\n", home.kiln().display()));
    let output = home.command(home.dir.join("masq/gcc")).env("PATH", home.path(&["masq", "loop"])).arg("-v").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(complained(&output), "kiln: gcc: leads back to kiln, 8 times over\n");
}

#[test]
fn no_compiler_is_said_so_in_one_line() {
    let home = Home::new();
    let output = home.command(home.dir.join("masq/gcc")).env("PATH", home.path(&["masq"])).arg("-v").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(complained(&output), "kiln: gcc: no such command behind kiln in PATH\n");
    let output = home.command(home.kiln()).args(["./none", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(complained(&output).starts_with("kiln: cannot run "), "{}", complained(&output));
}

#[test]
fn a_script_without_an_interpreter_runs_as_a_shell_would_run_it() {
    let home = Home::new();
    home.script("real/gcc", "echo bare \"$1\"\n");
    assert_eq!(said(&home.run("gcc", &["--version"])), "bare --version\n");
}

#[test]
fn the_compiler_inherits_descriptors_signals_and_environment_as_they_were() {
    let home = Home::new();
    let shows =
        "#!/bin/sh\n(cd /proc/self/fd && echo *)\ngrep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status\nenv | grep -v '^_=' | sort\n";
    let real = home.script("real/gcc", shows);
    // With stdin closed, a descriptor more, and a signal ignored; run plainly and through kiln.
    let script = "trap '' USR1; exec 7</dev/null; exec \"$@\" --version <&-";
    let run = |compiler: &std::path::Path| {
        let mut command = home.command("/bin/sh");
        said(&command.env("ODD", "a\nb").args(["-c", script, "sh"]).arg(compiler).output().unwrap())
    };
    let masq = format!("{}:", home.dir.join("masq").display());
    let plain = run(&real).replace(&masq, "");
    let through = run(&home.dir.join("masq/gcc")).replace("KILN_DEPTH=1\n", "");
    assert_eq!(through, plain);
}

#[test]
fn tools_that_are_no_compilers_run_under_their_own_name() {
    let home = Home::new();
    home.script("real/tool", "#!/bin/sh\necho tool \"$@\"\n");
    assert_eq!(said(&home.command(home.dir.join("masq/tool")).env("KILN_DISABLE", "1").arg("-c").output().unwrap()), "tool -c\n");
}

#[test]
fn help_and_version_need_nothing() {
    let home = Home::new();
    let run = |arg: &str| said(&home.command(home.kiln()).env_clear().arg(arg).output().unwrap());
    assert_eq!(run("--version"), format!("kiln {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run("--help").contains("kiln run"));
    let output = home.command(home.kiln()).arg("--frob").output().unwrap();
    assert_eq!((output.status.code(), complained(&output)), (Some(2), "kiln: unknown option --frob; see kiln --help\n".into()));
}

#[test]
fn other_commands_become_kilnd() {
    let home = Home::new();
    let output = home.command(home.kiln()).env("PATH", "/bin").arg("stats").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    home.script("libexec/kilnd", "#!/bin/sh\necho libexec \"$@\"\n");
    let run = || said(&home.command(home.kiln()).args(["stats", "--json"]).output().unwrap());
    assert_eq!(run(), "libexec cli stats --json\n");
    home.script("bin/kilnd", "#!/bin/sh\necho beside \"$@\"\n");
    assert_eq!(run(), "beside cli stats --json\n");
}

#[test]
fn the_program_is_static() {
    let elf = fs::read(Home::new().kiln()).unwrap();
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    // Offsets of a 64-bit ELF header: e_phoff at 32, e_phentsize at 54, e_phnum at 56; a segment begins with its type.
    let table = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    let kinds = (0..half(56)).map(|number| half(table + number * half(54)));
    let (load, interpreter) = (1, 3);
    let kinds: Vec<usize> = kinds.collect();
    assert!(kinds.contains(&load) && !kinds.contains(&interpreter), "{kinds:?}");
}

/// A daemon that knows no compiler, and lends each command a slot.
fn knows_nothing(home: &Home) -> Daemon {
    home.serve(|_, _, connection| {
        let (reason, token) = (NOT_A_COMPILER.to_owned(), Some(b"token".to_vec()));
        send(connection, &Reply::RunLocally(RunLocally { reason, token, warning: None, rest: None }), &[]);
    })
}

/// The compilers that it was asked of, each with the slot above it.
fn asked(daemon: &Daemon) -> Vec<(String, Option<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let one = |request| match request {
        Request::Compile(compile) => (text(compile.compiler), compile.under_slot.map(text)),
        other => panic!("no compile: {other:?}"),
    };
    daemon.requests().into_iter().map(one).collect()
}

#[test]
fn what_a_script_calls_goes_through_kiln_as_well() {
    let home = Home::new();
    home.link("masq", "c99");
    let script = home.script("real/c99", "#!/bin/sh\nexec gcc -std=c99 \"$@\"\n").to_str().unwrap().to_owned();
    let real = says(&home, "real");
    let daemon = knows_nothing(&home);
    let said = said(&home.run("c99", &["-c", "a.c"]));
    assert!(said.starts_with(&format!("{real}|")) && said.ends_with("|2|-std=c99 -c a.c\n"), "{said}");
    assert_eq!(asked(&daemon), [(script, None), (real, Some("token".to_owned()))]);
}

#[test]
fn a_script_of_the_compilers_name_is_not_what_it_calls() {
    let home = Home::new();
    // Called by itself it would go on for ever.
    let text = "#!/bin/sh\n[ ${#TIMES} -lt 9 ] || exit 9\nTIMES=x$TIMES exec gcc -DONCE \"$@\"\n";
    let script = home.script("first/gcc", text).to_str().unwrap().to_owned();
    let real = says(&home, "real");
    let daemon = knows_nothing(&home);
    let path = home.path(&["masq", "first", "real", "/usr/bin", "/bin"]);
    let said = said(&home.command(home.dir.join("masq/gcc")).env("PATH", path).args(["-c", "a.c"]).output().unwrap());
    assert!(said.starts_with(&format!("{real}|")) && said.ends_with("|2|-DONCE -c a.c\n"), "{said}");
    assert_eq!(asked(&daemon), [(script, None), (real, Some("token".to_owned()))]);
}
