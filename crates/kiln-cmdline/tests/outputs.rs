//! The model of output names against the real compilers: what a compile wrote is what the model said, by name.

#![expect(clippy::disallowed_methods, reason = "the tests do the I/O that the crate itself must not do")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::{ALL, CLANG_14, CLANG_19, CLANGXX_19, CROSS_GCC, Compiler, GCC, GXX, Random, TempDir, files_below, words};

const SOURCE: &str = "#include \"h.h\"\nint f(int x) { if (x) return g(x) + 1; return 2; }\n";

fn workspace(name: &str) -> TempDir {
    let dir = TempDir::new(name);
    for source in ["a.c", "a.cc", "sub/b.x.c", "noext", ".c", ".hid.c", "sp ace.c", "dollar$.c", "odd.weird"] {
        dir.write(source, SOURCE);
    }
    for header in ["h.h", "sub/h.h"] {
        dir.write(header, "static int g(int x) { return x; }\n");
    }
    dir.write("p.i", "int f(int x) { return x; }\n");
    dir.write("p.ii", "int f(int x) { return x; }\n");
    dir.write("e.s", ".globl x\nx:\n");
    dir.write("f.S", "#include \"asm.h\"\n.globl x\nx:\n");
    dir.write("asm.h", "# nothing\n");
    dir.write("bad.c", "int f(int x) { return y; }\n");
    dir.write("out/keep", "");
    dir
}

/// Runs one command in a fresh directory. `exact`: every modelled output must have been written.
#[track_caller]
fn check(compiler: Compiler, line: &str, exact: bool) {
    let dir = workspace("outputs");
    let args = words(line);
    let invocation = compiler.read(&args, dir.path()).unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
    let before = files_below(dir.path());
    let run = compiler.run(&args, dir.path());
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{} {line}: {errors}", compiler.program);
    let written: BTreeSet<String> = files_below(dir.path()).difference(&before).cloned().collect();
    let modelled: BTreeSet<String> = invocation.outputs.iter().map(|output| plain(&output.path, dir.path())).collect();
    let required: BTreeSet<String> = invocation.outputs.iter().filter(|o| o.required).map(|o| plain(&o.path, dir.path())).collect();
    let unexpected: Vec<_> = written.difference(&modelled).collect();
    assert!(unexpected.is_empty(), "{} {line}: wrote {unexpected:?}, modelled {modelled:?}", compiler.program);
    let missing: Vec<_> = required.difference(&written).collect();
    assert!(missing.is_empty(), "{} {line}: required but not written: {missing:?}", compiler.program);
    if exact {
        assert_eq!(modelled, written, "{} {line}", compiler.program);
    }
}

/// A path relative to the directory, without `./`.
fn plain(path: &str, dir: &Path) -> String {
    let path = path.strip_prefix(dir.to_str().expect("UTF-8")).map_or(path, |rest| rest.trim_start_matches('/'));
    path.trim_start_matches("./").to_owned()
}

/// Lines every compiler takes.
const EVERYWHERE: &[&str] = &[
    "-c a.c",
    "-S a.c",
    "-c -S a.c",
    "-S -c a.c -o k",
    "-c a.c -o x.o",
    "-c a.c -ox.o",
    "-c a.c -o out/x.o",
    "-c a.c -o out/x",
    "-c a.c -o ./out/x.lo",
    "-c sub/b.x.c",
    "-c sub/b.x.c -MD",
    "-c sub/b.x.c -MMD -o out/y.z.o",
    "-c a.c -o first.o -o second.o",
    "-x c -c noext",
    "-x c -c odd.weird -MD",
    "-x c++ -c a.c -x none",
    "-c .hid.c -MD",
    "-x c -c .c -MD",
    "-x c -S .c -MD -o out/x.s",
    "-c a.c -MD -o out/.hid",
    "-c a.c -MD -o out/.hid.o",
    "-c a.c -MD -o out/trailing.",
    "-c a.c -MD -MF dep.mk",
    "-c a.c -MD -MFdep.mk -MP -MT t -MQ 'q q'",
    "-c a.c -MD -MF out/one.d -MF out/two.d",
    "-c a.c -MMD -MF /dev/null",
    "-c a.c -MD -MF -",
    "-c a.c -Wp,-MD,out/.a.o.d -o out/a.o",
    "-c a.c -Wp,-MMD,out/.a.o.d -o out/a.o",
    "-c a.c -Wp,-MD,out/.a.o.d -MMD -o out/a.o",
    "-c 'sp ace.c' -MD",
    "-c dollar$.c -MD -o 'out/do$llar#x:y.o'",
    "-c e.s -o out/e.o -MD",
    "-c f.S -o out/e.o -MD",
    "-c p.i -MD",
    "-c a.c --coverage",
    "-c a.c --coverage -o out/x.y.o -MD",
    "-S a.c --coverage -o out/x.y.s",
    "-c a.c -fprofile-arcs -ftest-coverage -o out/.hid.o",
    "-c a.c -fprofile-arcs -o out/x.o",
    "-c a.c -ftest-coverage",
    "-c a.c -fstack-usage",
    "-c a.c -fstack-usage -o out/x.y",
    "-c sub/b.x.c -g -gsplit-dwarf",
    "-c sub/b.x.c -g -gsplit-dwarf -o out/x.y.lo",
    "-c a.c -g -gsplit-dwarf -gno-split-dwarf -o out/x.o",
    "-c a.c -g -gsplit-dwarf -MD --coverage -fstack-usage -o out/all.o",
    "-c sub/b.x.c -save-temps=obj",
    "-c sub/b.x.c -save-temps=obj -o out/x.y.o",
    "-c sub/b.x.c -save-temps=cwd -o out/x.y.o",
    "-c a.cc -save-temps=cwd",
    "-S sub/b.x.c -save-temps=obj -o out/x.s",
    "-c f.S -save-temps=cwd",
    "-c a.c -flto -O2 -o out/x.o",
    "-x c -c -",
    "-x c-header -c h.h -o out/h.h.gch -MD",
    "-x c++-header -include sub/h.h p.ii -o out/pre -MMD -MF out/p.d",
    "-x c++ -c - -MD -g -o out/x.o",
    "-x c -S - -MMD --coverage",
    "-c a.c -O2 -fprofile-generate",
];

/// Lines of which some compiler writes less than modelled, never more.
const AT_MOST: &[&str] = &[
    "-c a.c -flto -fstack-usage --coverage -g -gsplit-dwarf",
    "-c a.c -save-temps",
    "-c a.c -save-temps -flto",
    "-c e.s -g -gsplit-dwarf -fstack-usage --coverage -o out/e.o",
    "-c f.S -g -gsplit-dwarf -fstack-usage --coverage -o out/e.o",
    "-c p.i --coverage -save-temps=cwd -o out/p.o",
    "-S a.c -g -gsplit-dwarf -fstack-usage --coverage -o out/x.y.s",
    "-S a.c -save-temps -g -gsplit-dwarf",
    "-c a.c -g -gsplit-dwarf -g0 -o out/x.o",
    "-c a.c -gsplit-dwarf",
    "-c a.c -save-temps=cwd --coverage -fstack-usage -g -gsplit-dwarf -MD -o out/x.y.o",
    "-c .hid.c --coverage -save-temps=obj -o out/.hid",
    "-x c -c noext -save-temps=obj --coverage -MD",
];

const GCC_ONLY: &[&str] = &[
    "h.h",
    "-c sub/h.h -MD",
    "-c a.c -aux-info protos.X",
    "-c a.c -aux-info out/p -o out/x.o",
    "-c a.c -fcallgraph-info",
    "-c a.c -fcallgraph-info=su,da -o out/x.y.o",
    "-c a.c -O2 -fsave-optimization-record",
    "-c sub/b.x.c -O2 -fsave-optimization-record -o out/x.y.o",
    "-x c -c noext -O2 -fsave-optimization-record -o out/z",
    "-c a.c -Wa,-adhln=list.lst",
    "-c a.c -Wa,-a=out/list.lst,-I,sub,--noexecstack -o out/x.o",
    "-c a.c -Xassembler -al=one.lst -Xassembler --noexecstack",
    "-c a.c -Wa,--MD,as.d",
    "-c e.s -Wa,--MD,out/as.d -o out/e.o",
    "-c a.c -Wp,-MD,one.d,-MT,target -Wp,-DX=1",
    "-c a.c -MD -Xpreprocessor -MT -Xpreprocessor t",
    "-c a.c -Xpreprocessor -MMD -Xpreprocessor out/two.d",
    "-c a.c -MMD -MF f.d -Wp,-MF,g.d",
    "--compile a.c --output=out/x.o --include-directory sub",
];

const CLANG_ONLY: &[&str] = &[
    "-c -- a.c",
    "-c a.c -emit-llvm",
    "-S a.c -emit-llvm",
    "-c a.c -emit-llvm -o out/x.bc -MD",
    "-c a.c -ftime-trace",
    "-c sub/b.x.c -ftime-trace -o out/x.y.o",
    "-c a.c -O2 -fsave-optimization-record=",
    "-c sub/b.x.c -O2 -fsave-optimization-record",
    "-c sub/b.x.c -O2 -fsave-optimization-record -o out/x.y.o",
    "-c a.c -O2 -foptimization-record-file=out/rec.yaml",
    "-c a.c --serialize-diagnostics out/d.dia",
    "-c a.c -serialize-diagnostics d.dia -MD",
    "-c a.c -g -gsplit-dwarf=single",
    "-c a.c -g -gsplit-dwarf=split -o out/x.o",
    "-c a.c -flto=thin -fthin-link-bitcode=out/thin.bc -o out/x.o",
    "-c a.c -MJ out/cdb.json -o out/x.o",
    "-c a.c -Xclang -disable-O0-optnone -mllvm -inline-threshold=100",
    "-c a.c -fcoverage-mapping -fprofile-instr-generate",
];

#[test]
fn every_compiler_writes_what_was_modelled() {
    for compiler in ALL {
        for line in EVERYWHERE {
            check(*compiler, line, true);
        }
    }
}

#[test]
fn no_compiler_writes_more_than_was_modelled() {
    for compiler in ALL {
        for line in AT_MOST {
            check(*compiler, line, false);
        }
    }
}

#[test]
fn what_gcc_alone_writes() {
    for compiler in [GCC, GXX, CROSS_GCC] {
        for line in GCC_ONLY {
            if compiler.cxx && line.contains("-aux-info") {
                // Prototypes are written for C alone.
                check(compiler, line, false);
            } else {
                check(compiler, line, true);
            }
        }
    }
}

#[test]
fn what_clang_alone_writes() {
    for compiler in [CLANG_14, CLANG_19, CLANGXX_19] {
        for line in CLANG_ONLY {
            check(compiler, line, true);
        }
    }
    for line in ["-c a.c -ftime-trace=trace.json", "-c a.c -ftime-trace=out -o x.o"] {
        check(CLANG_19, line, false);
    }
}

/// A fixed seed; another one by `KILN_SEED`, for runs by hand.
fn seed() -> u64 {
    std::env::var("KILN_SEED").map_or(20_240_607, |text| text.parse().expect("KILN_SEED is a number"))
}

/// Options that each ask for a side file or move one, combined at random.
#[test]
fn combinations_write_no_more_than_was_modelled() {
    const COMMON: &[&str] = &[
        "-MD",
        "-MMD",
        "-MF dd.mk",
        "-MP",
        "-MT t",
        "--coverage",
        "-ftest-coverage",
        "-fstack-usage",
        "-fno-stack-usage",
        "-g",
        "-g0",
        "-gsplit-dwarf",
        "-gno-split-dwarf",
        "-save-temps",
        "-save-temps=obj",
        "-save-temps=cwd",
        "-flto",
        "-O2",
        "-Wp,-MD,wp.d",
        "-fsave-optimization-record",
        "-fno-save-optimization-record",
        "-fprofile-generate",
        "-DX=1",
    ];
    const GCC_MORE: &[&str] = &["-fcallgraph-info", "-aux-info aux.X", "-Wa,-a=l.lst", "-Wa,--MD,as.d", "-Wp,-MMD,wp2.d"];
    const CLANG_MORE: &[&str] =
        &["-ftime-trace", "-emit-llvm", "-gsplit-dwarf=single", "--serialize-diagnostics x.dia", "-MJ cdb.json"];
    const SOURCES: &[&str] = &["a.c", "a.cc", "sub/b.x.c", "-x c noext", "f.S", "e.s", "p.i", ".hid.c", "-x c++ odd.weird"];
    const NAMES: &[&str] = &["", "", "-o x.o", "-o out/x.y.o", "-o out/x", "-o out/.hid", "-o ./z."];
    const COMBINATIONS: usize = 80;
    let mut random = Random::new(seed());
    let mut ran = 0;
    for compiler in [GCC, CLANG_14, CLANG_19] {
        let more = if compiler.family == kiln_cmdline::Family::Gcc { GCC_MORE } else { CLANG_MORE };
        for _ in 0..COMBINATIONS {
            let mut line = random.pick(&["-c", "-c", "-c", "-S"]).to_string();
            for _ in 0..random.below(6) {
                line += " ";
                let from = if random.below(3) == 0 { more } else { COMMON };
                line += *random.pick(from);
            }
            line = format!("{line} {} {}", random.pick(NAMES), random.pick(SOURCES));
            let dir = workspace("random");
            let args = words(&line);
            let Ok(invocation) = compiler.read(&args, dir.path()) else { continue };
            let before = files_below(dir.path());
            let run = compiler.run(&args, dir.path());
            ran += usize::from(run.status.success());
            let modelled: BTreeSet<String> = invocation.outputs.iter().map(|o| plain(&o.path, dir.path())).collect();
            for file in files_below(dir.path()).difference(&before) {
                assert!(modelled.contains(file), "{} {line}: wrote {file}, modelled {modelled:?}", compiler.program);
            }
            for output in invocation.outputs.iter().filter(|o| o.required && run.status.success()) {
                assert!(dir.path().join(&output.path).exists(), "{} {line}: no {}", compiler.program, output.path);
            }
        }
    }
    assert!(ran > COMBINATIONS, "only {ran} of {} combinations compiled", 3 * COMBINATIONS);
}

/// What stood under an output's name before a compile that fails: kept or removed as the model says.
#[test]
fn a_failing_compile_leaves_what_was_modelled() {
    use kiln_cmdline::OnFailure;
    for compiler in ALL {
        for (line, assembled) in [
            ("-c bad.c -MD --coverage -o out/x.o", false),
            ("-S bad.c -MD --coverage -fstack-usage", false),
            ("-c badasm.s -o out/x.o", true),
            ("-c badinline.c -MD -o out/x.o", true),
        ] {
            let dir = workspace("failing");
            dir.write("badasm.s", ".nonsense here\n");
            dir.write("badinline.c", "__asm__(\".nonsense here\");\n");
            let args = words(line);
            let invocation = compiler.read(&args, dir.path()).expect(line);
            for output in &invocation.outputs {
                dir.write(&output.path, "old");
            }
            let run = compiler.run(&args, dir.path());
            assert!(!run.status.success(), "{} {line} was to fail", compiler.program);
            for output in &invocation.outputs {
                let expect = match output.on_failure {
                    OnFailure::Keep => true,
                    OnFailure::Remove => false,
                    OnFailure::RemoveIfAssembled | OnFailure::RemoveIfCompiled => !assembled,
                    // No line here lacks a header or keeps intermediate files.
                    OnFailure::RemoveIfHeaderMissing | OnFailure::RemoveIfNext => true,
                };
                let there = dir.path().join(&output.path).exists();
                assert_eq!(there, expect, "{} {line}: {}", compiler.program, output.path);
            }
        }
    }
}
