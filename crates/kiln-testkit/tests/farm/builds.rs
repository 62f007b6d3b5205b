//! Builds through a farm that is well: products, counters, messages.

use crate::support::{BUILD_MAX, Bench, count};
use kiln_testkit::{Layout, Network, run};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[test]
fn a_build_is_the_plain_build_and_remote() {
    let bench = Bench::start(Layout::default());
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build_with(7, "fail"));
    let stats = bench.farm.stats();
    let units = bench.project.units();
    assert!(count(&stats, "remote") * 10 > units * 9, "{stats}");
    assert_eq!(count(&stats, "scanned"), units, "{stats}");
    for zero in ["fallback", "failed", "errors", "unprovable", "scan_miss", "hits"] {
        assert_eq!(count(&stats, zero), 0, "{zero}: {stats}");
    }

    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build_with(7, "fail"));
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "hits"), units, "{stats}");
    assert_eq!(count(&stats, "remote") + count(&stats, "local") + count(&stats, "fallback"), 0, "{stats}");
    says_what_the_compiler_says(&bench);
    a_file_that_no_scan_finds_is_read_here(&bench);
    verify_compiles_both_ways_however_kiln_is_called(&bench);
    what_a_script_calls_is_compiled_on_the_farm(&bench);
}

/// `c99` is a script that calls gcc, and holds this machine's slot until that asks for its compile.
fn what_a_script_calls_is_compiled_on_the_farm(bench: &Bench) {
    let dir = bench.project.dir();
    fs::write(dir.join("c99.c"), "#include <stddef.h>\nsize_t f(void) { return __STDC_VERSION__; }\n").expect("a source");
    let args = ["c99", "-O1", "-c", "c99.c", "-o", "c99.o"];
    let _ = run(Command::new(args[0]).args(&args[1..]).current_dir(dir), BUILD_MAX).ok();
    let object = fs::read(dir.join("c99.o")).expect("an object");
    fs::remove_file(dir.join("c99.o")).expect("removed");
    bench.farm.zero();
    let _ = run(bench.farm.kiln().args(["run", "--"]).args(args).current_dir(dir), BUILD_MAX).ok();
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "remote"), 1, "{stats}");
    assert!(fs::read(dir.join("c99.o")).is_ok_and(|found| found == object), "another object");
}

/// In front of a name, in front of a path as CMake's launcher, by a link whose path was kept when the build was configured.
fn verify_compiles_both_ways_however_kiln_is_called(bench: &Bench) {
    let dir = bench.project.dir();
    fs::write(dir.join("both.c"), "#include <stddef.h>\nsize_t both;\n").expect("a source");
    let links = dir.join("links");
    let _ = run(bench.farm.kiln().arg("links").arg(&links), BUILD_MAX).ok();
    let (kiln, link) = (kiln_testkit::binary("kiln"), links.join("gcc"));
    for compiler in [format!("{} gcc", kiln.display()), format!("{} /usr/bin/gcc", kiln.display()), link.display().to_string()] {
        let script = format!("{compiler} -c both.c -o both.o");
        let ran = run(bench.farm.kiln().args(["verify", "--", "sh", "-c", &script]).current_dir(dir), BUILD_MAX).ok();
        let text = ran.text();
        assert!(text.contains("1 unit compiled both ways: 1 equal, 0 differ; inputs of 1 unit: "), "{compiler}: {text}");
        assert!(text.contains(" 0 missed") && !text.contains("run plainly"), "{compiler}: {text}");
    }
    // A precompiled header is another one each time; what uses it is verified all the same.
    fs::write(dir.join("first.h"), "#include <stdio.h>\n#include <stdlib.h>\n").expect("a header");
    fs::write(dir.join("both.c"), "#include \"first.h\"\nsize_t both;\n").expect("a source");
    let script = "gcc -x c-header -c first.h -o first.h.gch && gcc -c both.c -o both.o";
    let ran = run(bench.farm.kiln().args(["verify", "--", "sh", "-c", script]).current_dir(dir), BUILD_MAX).ok();
    let text = ran.text();
    assert!(text.contains("2 units compiled both ways") && text.contains(" 0 differ"), "{text}");
    assert!(!text.contains("run plainly"), "what uses a precompiled header went another way: {text}");
}

/// Errors and warnings, their streams and codes, are the compiler's own.
fn says_what_the_compiler_says(bench: &Bench) {
    let dir = bench.project.dir();
    fs::write(dir.join("wrong.c"), "int f(void) { return missing; }\nint g(void) { return 1 }\n").expect("a source");
    fs::write(dir.join("warn.c"), "#include <stdio.h>\nint f(int a) { int b; if (a = 1) printf(\"%s\", a); return b; }\n")
        .expect("a source");
    for (source, compiler, code) in [("wrong.c", "gcc", 1), ("warn.c", "gcc", 0)] {
        let args = ["-Wall", "-Wextra", "-O2", "-c", source, "-o", "said.o"];
        let plain = run(Command::new(compiler).args(args).current_dir(dir).env("LC_ALL", "C"), BUILD_MAX);
        let object = fs::read(dir.join("said.o")).ok();
        let _ = fs::remove_file(dir.join("said.o"));
        bench.farm.zero();
        let executed = bench.farm.executed();
        let mut kiln = bench.farm.kiln();
        let farm = run(kiln.arg(compiler).args(args).current_dir(dir), BUILD_MAX);
        assert_eq!(plain.code, Some(code));
        assert_eq!(farm.code, plain.code, "{}", farm.text());
        assert_eq!(String::from_utf8_lossy(&farm.stderr), String::from_utf8_lossy(&plain.stderr));
        assert_eq!(farm.stdout, plain.stdout);
        assert!(fs::read(dir.join("said.o")).ok() == object, "another object");
        let stats = bench.farm.stats();
        assert_eq!(bench.farm.executed() - executed, 1, "compiled once");
        assert_eq!(count(&stats, "failed"), u64::from(code != 0), "{stats}");
        assert_eq!(count(&stats, "local") + count(&stats, "fallback"), 0, "compiled again: {stats}");
        let _ = fs::remove_file(dir.join("said.o"));
    }
}

/// What only the assembler can know to be a directive names a file. The worker fails for want of it; nothing is seen of that.
fn a_file_that_no_scan_finds_is_read_here(bench: &Bench) {
    let dir = bench.project.dir();
    fs::write(dir.join("data.bin"), "bytes").expect("a file");
    fs::write(dir.join("odd.c"), "__asm__(\".data\\n.\\x69ncbin \\\"data.bin\\\"\\n.text\");\n").expect("a source");
    let args = ["-c", "odd.c", "-o", "odd.o"];
    let _ = run(Command::new("gcc").args(args).current_dir(dir), BUILD_MAX).ok();
    let object = fs::read(dir.join("odd.o")).expect("an object");
    fs::remove_file(dir.join("odd.o")).expect("removed");
    bench.farm.zero();
    let ran = run(bench.farm.kiln().arg("gcc").args(args).current_dir(dir), BUILD_MAX).ok();
    assert_eq!(ran.text().trim(), "");
    assert!(fs::read(dir.join("odd.o")).expect("an object") == object, "another object");
    let stats = bench.farm.stats();
    assert_eq!((count(&stats, "scan_miss"), count(&stats, "remote"), count(&stats, "failed")), (1, 0, 0), "{stats}");
    for name in ["odd.c", "odd.o", "data.bin"] {
        fs::remove_file(dir.join(name)).expect("removed");
    }
}

#[test]
fn a_build_over_tcp_on_workers_of_an_ordinary_user() {
    let bench = Bench::start(Layout { network: Network::Tcp, strangers: true, ..Layout::default() });
    let own = rustix::process::getuid();
    for worker in bench.farm.workers() {
        let process = fs::metadata(format!("/proc/{}", bench.farm.pid(&worker))).expect("a process");
        assert!(process.uid() != 0 && (!own.is_root() || process.uid() != own.as_raw()), "{worker} is user {}", process.uid());
    }
    bench.farm.zero();
    let _ = bench.finish_equal(bench.start_build());
    let stats = bench.farm.stats();
    assert_eq!(count(&stats, "remote"), bench.project.units(), "{stats}");

    // A wrong token is refused, and what it is for runs here.
    let wrong = bench.farm.dir().join("wrong.token");
    fs::write(&wrong, "user user 0000000000000000000000000000000000000000000000000000000000000000\n").expect("a token");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&wrong, mode).expect("a mode");
    let kiln = || {
        let mut kiln = bench.farm.kiln();
        kiln.env("KILN_AUTH_TOKEN_FILE", &wrong).env("KILN_DIR", bench.farm.dir().join("stranger"));
        kiln.env("KILN_FALLBACK", "silent").current_dir(bench.project.dir());
        kiln
    };
    let _ = run(kiln().args(["gcc", "-Iinclude", "-c", "src/c0.c", "-o", "c0.o"]), BUILD_MAX).ok();
    let stats = run(kiln().args(["stats", "--json"]), BUILD_MAX).ok();
    let stats = serde_json::from_slice(&stats.stdout).expect("JSON");
    assert_eq!((count(&stats, "remote"), count(&stats, "fallback")), (0, 1), "{stats}");
    let _ = run(kiln().args(["daemon", "stop"]), BUILD_MAX).ok();
}
