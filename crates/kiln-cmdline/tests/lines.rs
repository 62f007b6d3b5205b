//! Command lines and what is read from them.

mod support;

use kiln_cmdline::{Family, ForcedInclude, Language, MacroOp, OutputKind, Reason, Role, SearchKind};
use support::{BOTH, TempDir, accepted, check_refused, parse_bytes, read_in, words};

/// The outputs as `Role:path`, in order.
#[track_caller]
fn check_outputs(family: Family, line: &str, expect: &[(Role, &str)]) {
    let invocation = accepted(family, line);
    let got: Vec<(Role, &str)> = invocation.outputs.iter().map(|output| (output.role, output.path.as_str())).collect();
    assert_eq!(got, expect, "{family:?} {line}");
}

#[track_caller]
fn check_macros(family: Family, line: &str, expect: &[&str]) {
    let invocation = accepted(family, line);
    let got: Vec<String> = invocation
        .macros
        .iter()
        .map(|op| match op {
            MacroOp::Define(text) => format!("+{text}"),
            MacroOp::Undefine(text) => format!("-{text}"),
        })
        .collect();
    assert_eq!(got, expect, "{family:?} {line}");
}

#[track_caller]
fn check_search(family: Family, line: &str, expect: &[(SearchKind, &str, bool)]) {
    let invocation = accepted(family, line);
    let got: Vec<_> = invocation.search.iter().map(|dir| (dir.kind, dir.path.as_str(), dir.in_sysroot)).collect();
    assert_eq!(got, expect, "{family:?} {line}");
}

#[track_caller]
fn check_probe(family: Family, line: &str, expect: &str) {
    assert_eq!(accepted(family, line).probe_args, words(expect), "{family:?} {line}");
}

#[test]
fn plain_compiles() {
    for family in BOTH {
        check_outputs(family, "-c a.c", &[(Role::Object, "a.o")]);
        check_outputs(family, "-c dir/a.b.c -o x/y.o", &[(Role::Object, "x/y.o")]);
        check_outputs(family, "-S a.c", &[(Role::Assembly, "a.s")]);
        check_outputs(family, "-MD -c a.c", &[(Role::Object, "a.o"), (Role::DepFile, "a.d")]);
        check_outputs(family, "-c a.c -MMD -MF d -o o", &[(Role::Object, "o"), (Role::DepFile, "d")]);
        let invocation = accepted(family, "-c -S a.c -O2 -g");
        assert_eq!((invocation.output_kind, invocation.debug), (OutputKind::Assembly, true));
        assert!(!accepted(family, "-c a.c -g -g0").debug);
        assert!(accepted(family, "-c a.c -g0 -ggdb3").debug);
        assert!(accepted(family, "-c a.c --coverage").coverage);
        assert!(accepted(family, "-c a.c -march=native").native);
        assert!(accepted(family, "-c a.c -mcpu=native+nofp").native);
        assert!(!accepted(family, "-c a.c -march=x86-64-v3").native);
        assert!(accepted(family, "-c a.c -Wmissing-include-dirs").warn_missing_include_dirs);
        assert!(!accepted(family, "-c a.c -Wmissing-include-dirs -Wno-missing-include-dirs").warn_missing_include_dirs);
    }
}

#[test]
fn languages() {
    let by_suffix = [
        ("a.c", Language::C, Language::Cxx),
        ("a.i", Language::CPreprocessed, Language::CxxPreprocessed),
        ("a.ii", Language::CxxPreprocessed, Language::CxxPreprocessed),
        ("a.C", Language::Cxx, Language::Cxx),
        ("a.cc", Language::Cxx, Language::Cxx),
        ("a.cp", Language::Cxx, Language::Cxx),
        ("a.cpp", Language::Cxx, Language::Cxx),
        ("a.CPP", Language::Cxx, Language::Cxx),
        ("a.cxx", Language::Cxx, Language::Cxx),
        ("a.c++", Language::Cxx, Language::Cxx),
        ("a.m", Language::ObjC, Language::ObjC),
        ("a.mi", Language::ObjCPreprocessed, Language::ObjCPreprocessed),
        ("a.mm", Language::ObjCxx, Language::ObjCxx),
        ("a.M", Language::ObjCxx, Language::ObjCxx),
        ("a.mii", Language::ObjCxxPreprocessed, Language::ObjCxxPreprocessed),
        ("a.s", Language::Assembler, Language::Assembler),
        ("a.S", Language::AssemblerWithCpp, Language::AssemblerWithCpp),
    ];
    for family in BOTH {
        for (source, c, cxx) in by_suffix {
            let args = words(&format!("-c {source}"));
            let nowhere = std::path::Path::new("/nowhere");
            assert_eq!(read_in(family, false, &args, &[], nowhere).expect(source).language, c, "{source}");
            assert_eq!(read_in(family, true, &args, &[], nowhere).expect(source).language, cxx, "{source}");
        }
        assert_eq!(accepted(family, "-x c++ -c a.c").language, Language::Cxx);
        assert_eq!(accepted(family, "-xassembler-with-cpp -c a.c").language, Language::AssemblerWithCpp);
        assert_eq!(accepted(family, "-x c++ -x none -c a.c").language, Language::C);
        assert_eq!(accepted(family, "-c a.c -x c++").language, Language::C);
        assert_eq!(accepted(family, "-x c -c a.o -o b.o").language, Language::C);
        check_refused(family, "-x objective-c-header -c a.h -o a.gch", Reason::PrecompiledHeader);
        check_refused(family, "-x c++-module -c a.cc", Reason::Modules);
        check_refused(family, "-x cuda -c a.cu", Reason::UnsupportedLanguage);
        check_refused(family, "-x go -c a.go", Reason::UnsupportedLanguage);
    }
    assert_eq!(accepted(Family::Gcc, "-c a.sx").language, Language::AssemblerWithCpp);
    check_refused(Family::Clang, "-c a.sx", Reason::LinkerInput);
    assert_eq!(accepted(Family::Clang, "-c a.CXX").language, Language::Cxx);
    check_refused(Family::Gcc, "-c a.CXX", Reason::LinkerInput);
}

#[test]
fn macros_in_order() {
    for family in BOTH {
        check_macros(family, "-DA -UB -D C=1 -U D -DE(x)=x -c a.c", &["+A", "-B", "+C=1", "-D", "+E(x)=x"]);
        // What is handed through comes behind what the driver adds.
        check_macros(family, "-Wp,-DA,-UB -DC -c a.c -Xpreprocessor -DD=1", &["+C", "+A", "-B", "+D=1"]);
        check_macros(family, "-D'A=b c' -D'Q=\"x\"' -c a.c", &["+A=b c", "+Q=\"x\""]);
    }
    check_macros(Family::Gcc, "--define-macro=A --undefine-macro B -c a.c", &["+A", "-B"]);
    check_macros(Family::Clang, "-c a.c -Xclang -DA", &["+A"]);
}

#[test]
fn search_path() {
    use SearchKind::{After, Assembler, Normal, Quote, System};
    for family in BOTH {
        check_search(
            family,
            "-c a.c -Ia -I b -iquote q -isystem s -idirafter z -isystem=sys -I=inc",
            &[
                (Normal, "a", false),
                (Normal, "b", false),
                (Quote, "q", false),
                (System, "s", false),
                (After, "z", false),
                (System, "sys", true),
                (Normal, "inc", true),
            ],
        );
        check_search(family, "-c a.c -Wa,-I,x -Wa,-Iy", &[(Assembler, "x", false), (Assembler, "y", false)]);
        let invocation = accepted(family, "-c a.s -Wa,-I,x -isystem s -I b -iquote q");
        let dirs: Vec<_> = invocation.assembler_dirs().map(|dir| dir.path.as_str()).collect();
        assert_eq!(dirs, ["b", "x", "q", "s"]);
        check_search(family, "-c a.c -iprefix p/ -iwithprefixbefore b", &[(Normal, "p/b", false)]);
        let invocation = accepted(family, "-c a.c --sysroot=/s -isysroot /i -nostdinc -nostdinc++");
        assert_eq!(invocation.sysroot.as_deref(), Some("/s"));
        assert_eq!(invocation.isysroot.as_deref(), Some("/i"));
        assert!(invocation.nostdinc && invocation.nostdincxx);
    }
    check_search(Family::Gcc, "-c a.c -iprefix p/ -iwithprefix b", &[(System, "p/b", false)]);
    check_search(Family::Clang, "-c a.c -iprefix p/ -iwithprefix b", &[(After, "p/b", false)]);
    check_search(Family::Gcc, "-c a.c -I$SYSROOT/x", &[(Normal, "/x", true)]);
    check_search(Family::Clang, "-c a.c -iwithsysroot /x", &[(System, "/x", true)]);
    let clang = accepted(Family::Clang, "-c a.c -nobuiltininc -nostdlibinc -resource-dir r -B b --gcc-toolchain=/g");
    assert!(clang.nobuiltininc && clang.nostdlibinc);
    assert_eq!(clang.input_dirs, ["r", "b", "/g"]);
}

#[test]
fn forced_includes() {
    for family in BOTH {
        let invocation = accepted(family, "-include b.h -imacros m.h -include c.h -c a.c");
        let names: Vec<_> = invocation.forced_includes.iter().map(|f| (f.name.as_str(), f.macros_only)).collect();
        assert_eq!(names, [("m.h", true), ("b.h", false), ("c.h", false)]);
    }
    let gcc = accepted(Family::Gcc, "--include=b.h -c a.c");
    assert_eq!(gcc.forced_includes, [ForcedInclude { name: "b.h".into(), macros_only: false, inner: false }]);
}

#[test]
fn dependencies() {
    for family in BOTH {
        assert_eq!(accepted(family, "-c a.c").dep, None);
        assert_eq!(accepted(family, "-c a.c -MF x").dep, None);
        assert_eq!(accepted(family, "-c a.s -MD").dep, None);
        let dep = accepted(family, "-c a.c -MD -MT t -MQ q$ -MP -MMD").dep.expect("dependencies");
        assert_eq!((dep.file.as_deref(), dep.system_headers, dep.phony), (Some("a.d"), false, true));
        let targets: Vec<_> = dep.targets.iter().map(|target| (target.text.as_str(), target.quoted)).collect();
        assert_eq!(targets, [("t", false), ("q$", true)]);
        assert_eq!(accepted(family, "-c a.c -MD -MF -").dep.expect("dependencies").file, None);
        let inner = accepted(family, "-c a.c -Wp,-MMD,x/.a.d -o x/a.o").dep.expect("dependencies");
        assert_eq!((inner.file.as_deref(), inner.system_headers), (Some("x/.a.d"), false));
    }
    assert!(accepted(Family::Gcc, "-c a.c -MMD -Wp,-MD,x").dep.expect("dependencies").system_headers);
    assert!(!accepted(Family::Clang, "-c a.c -MMD -Wp,-MD,x").dep.expect("dependencies").system_headers);
}

#[test]
fn files_read() {
    let gcc = accepted(Family::Gcc, "-c d/a.c -o o/x.o -fprofile-use=prof -fauto-profile");
    assert_eq!(
        gcc.input_files,
        ["fbdata.afdo", "prof", "prof/#nowhere#o#x.gcda", "/nowhere/o/x.gcda"],
        "gcc's profiles are named after the output"
    );
    let clang = accepted(Family::Clang, "-c a.c -fprofile-use -fsanitize-ignorelist=l.txt -fbasic-block-sections=list=b");
    assert_eq!(clang.input_files, ["l.txt", "b", "default.profdata"]);
    let clang = accepted(Family::Clang, "-c a.c -fprofile-use=p/ -fno-sanitize-ignorelist -fbasic-block-sections=all");
    assert_eq!(clang.input_files, ["p/", "p/default.profdata"]);
}

#[test]
fn what_the_preprocessor_is_asked_with() {
    for family in BOTH {
        check_probe(
            family,
            "-c a.c -o x.o -DX -UY -Ii -include f.h -MD -MF d -Wall -Wno-error -g3 -O2 -std=gnu11 -fPIC -pthread -march=native \
             --sysroot /s -nostdinc -pipe -lm -Wl,-z,now -fdiagnostics-color --coverage -fno-exceptions -B b -save-temps",
            "-g3 -O2 -std=gnu11 -fPIC -pthread -march=native --sysroot /s -nostdinc -fno-exceptions -B b",
        );
    }
    check_probe(Family::Gcc, "-c a.c -Wp,-fno-working-directory,-DX -Wp,-undef -mthumb", "-mthumb -Wp,-undef");
    check_probe(
        Family::Clang,
        "-c a.c -target x86_64-linux-gnu -Xclang -target-feature -Xclang +avx2 -mllvm -inline-threshold=1",
        "-target x86_64-linux-gnu -Xclang -target-feature -Xclang +avx2",
    );
}

#[test]
fn environment() {
    let nowhere = std::path::Path::new("/nowhere");
    let args = words("-c a.c");
    let read_env = |env: &[(&str, &str)]| read_in(Family::Gcc, false, &args, env, nowhere);
    let pairs = |list: &[(&str, &str)]| list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>();
    let plain = read_env(&[("PATH", "/bin"), ("HOME", "/root"), ("TERM", "xterm")]).expect("plain");
    assert_eq!(plain.env, pairs(&[("PWD", "/nowhere")]));
    assert_eq!(plain.terminal_env, pairs(&[("TERM", "xterm")]));
    let env = [
        ("TZ", "UTC"),
        ("PWD", "/link"),
        ("LC_ALL", "C"),
        ("CPATH", "x"),
        ("CPLUS_INCLUDE_PATH", "y"),
        ("C_INCLUDE_PATH", "z"),
        ("SOURCE_DATE_EPOCH", "1"),
        ("GCC_COLORS", "c"),
        ("LD_PRELOAD", ""),
    ];
    let full = read_env(&env).expect("full");
    assert_eq!(
        full.env,
        pairs(&[
            ("CPATH", "x"),
            ("C_INCLUDE_PATH", "z"),
            ("LC_ALL", "C"),
            ("PWD", "/link"),
            ("SOURCE_DATE_EPOCH", "1"),
            ("TZ", "UTC"),
        ])
    );
    assert_eq!(read_env(&[("PWD", "relative")]).expect("relative").env, pairs(&[("PWD", "/nowhere")]));
    let colored = read_in(Family::Gcc, false, &words("-c a.c -fdiagnostics-color=always"), &env, nowhere).expect("colour");
    assert!(colored.env.contains(&("GCC_COLORS".to_owned(), "c".to_owned())));
    for name in [
        "GCC_COMPARE_DEBUG",
        "GCC_EXEC_PREFIX",
        "COMPILER_PATH",
        "CCC_OVERRIDE_OPTIONS",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DEPENDENCIES_OUTPUT",
        "SUNPRO_DEPENDENCIES",
        "COLLECT_GCC",
        "LLVM_WHATEVER",
        "CLANG_NEW",
        "D_INCLUDE_PATH",
    ] {
        let refusal = read_env(&[(name, "x")]).expect_err(name);
        assert_eq!((refusal.reason, refusal.detail.as_str()), (Reason::Environment, name));
    }
}

#[test]
fn response_files() {
    let dir = TempDir::new("response");
    dir.write("one", "-DA='x y' @sub/two");
    dir.write("sub/two", "-O2 \"-DB=1\" -c a.c\n");
    dir.write("loop", "@loop");
    for family in BOTH {
        let args = words("@one -o x.o");
        let invocation = read_in(family, false, &args, &[], dir.path()).expect("read");
        assert_eq!(invocation.args, args);
        assert_eq!(invocation.expanded, ["-DA=x y", "-O2", "-DB=1", "-c", "a.c", "-o", "x.o"]);
        assert_eq!(invocation.response_files, ["one", "sub/two"]);
        for bad in ["@loop", "@missing", "@sub"] {
            let refusal = read_in(family, false, &words(&format!("-c a.c {bad}")), &[], dir.path()).expect_err(bad);
            assert_eq!(refusal.reason, Reason::ResponseFile, "{bad}");
        }
    }
}

#[test]
fn a_wide_tree_of_response_files_ends() {
    let dir = TempDir::new("wide");
    dir.write("a", &"@b ".repeat(100));
    dir.write("b", &"@c ".repeat(100));
    dir.write("c", "-DX");
    let refusal = read_in(Family::Gcc, false, &words("-c a.c @a"), &[], dir.path()).expect_err("too many");
    assert_eq!(refusal.reason, Reason::ResponseFile);
}

#[test]
fn odd_names() {
    for family in BOTH {
        let name = "new\nline tab\t'quote\".c";
        let invocation = parse_bytes(&[b"-c", name.as_bytes()], &[]).expect("a newline is a character");
        assert_eq!(invocation.source, name);
        assert_eq!(accepted(family, "-c dir.c/a.c").outputs[0].path, "a.o");
        assert_eq!(accepted(family, "-c ./-a.c").outputs[0].path, "-a.o");
        assert_eq!(accepted(family, "-c a.c -o -x.o").outputs[0].path, "-x.o");
        assert_eq!(accepted(family, "-c a.c -o é.o").outputs[0].path, "é.o");
    }
    assert_eq!(accepted(Family::Clang, "-c -o x.o -- -a.c").source, "-a.c");
}

/// Lines as builds write them.
#[test]
fn lines_of_real_builds() {
    const KERNEL: &str = "-Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include -I./arch/x86/include/generated -I./include \
        -I./arch/x86/include/uapi -include ./include/linux/compiler-version.h -include ./include/linux/kconfig.h -D__KERNEL__ \
        -fmacro-prefix-map=./= -Wall -Wundef -Werror=strict-prototypes -Wno-trigraphs -fno-strict-aliasing -fno-common \
        -fshort-wchar -fno-PIE -Werror=implicit-function-declaration -Wno-format-security -std=gnu11 -mno-sse -mno-mmx -mno-sse2 \
        -mno-3dnow -mno-avx -fcf-protection=none -m64 -falign-jumps=1 -falign-loops=1 -mno-80387 -mno-fp-ret-in-387 \
        -mpreferred-stack-boundary=3 -mskip-rax-setup -mtune=generic -mno-red-zone -mcmodel=kernel -Wno-sign-compare \
        -fno-asynchronous-unwind-tables -mindirect-branch=thunk-extern -mindirect-branch-register -mindirect-branch-cs-prefix \
        -mfunction-return=thunk-extern -fno-jump-tables -mharden-sls=all -fpatchable-function-entry=16,16 \
        -fno-delete-null-pointer-checks -Wno-frame-address -O2 -fno-allow-store-data-races -fstack-protector-strong \
        -fno-stack-clash-protection -fomit-frame-pointer -ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr -pg \
        -mrecord-mcount -mfentry -DCC_USING_FENTRY -fno-inline-functions-called-once -Wvla -Wno-pointer-sign -Wcast-function-type \
        -fno-strict-overflow -fno-stack-check -fconserve-stack -Werror=date-time -Wno-stringop-truncation -Wframe-larger-than=2048 \
        -fno-builtin-wcslen -fsanitize=kernel-address -fasan-shadow-offset=0xdffffc0000000000 --param asan-globals=1 \
        --param asan-stack=1 -fsanitize-coverage=trace-pc -gdwarf-5 -gz=zlib -fmin-function-alignment=16 -fstrict-flex-arrays=3 \
        -DKBUILD_MODFILE='\"kernel/fork\"' -DKBUILD_BASENAME='\"fork\"' -c -o kernel/fork.o kernel/fork.c";
    check_outputs(Family::Gcc, KERNEL, &[(Role::Object, "kernel/fork.o"), (Role::DepFile, "kernel/.fork.o.d")]);
    let gcc = [
        "-DHAVE_CONFIG_H -I. -I.. -D_FORTIFY_SOURCE=2 -g -O2 -MT lib_la-x.lo -MD -MP -MF .deps/lib_la-x.Tpo -c x.c -fPIC -DPIC \
         -o .libs/lib_la-x.o",
        "-Dfoo_EXPORTS -I/src/include -isystem /usr/include/qt5 -O3 -DNDEBUG -std=gnu++17 -fPIC -fvisibility=hidden \
         -fvisibility-inlines-hidden -Wall -Wextra -Wpedantic -MD -MT CMakeFiles/foo.dir/a.cc.o -MF CMakeFiles/foo.dir/a.cc.o.d \
         -o CMakeFiles/foo.dir/a.cc.o -c /src/a.cc",
        "-Isub/p -I. -fdiagnostics-color=always -D_FILE_OFFSET_BITS=64 -Wall -Winvalid-pch -O0 -g -pthread -MD -MQ p/a.c.o \
         -MF p/a.c.o.d -o p/a.c.o -c ../a.c",
        "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 --specs=nano.specs -ffunction-sections -fdata-sections -Og \
         -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wa,-mimplicit-it=thumb -c main.cpp -o main.o",
        "-Wdate-time -D_FORTIFY_SOURCE=3 -g -O2 -ffile-prefix-map=/build/x=. -flto=auto -ffat-lto-objects \
         -fstack-protector-strong -Wformat -Werror=format-security -fcf-protection -Wa,--noexecstack -c x.c",
        "-march=rv64imac -mabi=lp64 -mcmodel=medany -mstrict-align -msave-restore -c x.c",
        "-mips32r2 -EL -mno-abicalls -fno-pic -G 0 -c x.c",
    ];
    for line in &gcc[..6] {
        accepted(Family::Gcc, line);
    }
    let clang = [
        "-MMD -MF obj/a.o.d -DUSE_AURA=1 -DCR_CLANG_REVISION='\"llvmorg-19\"' -I../.. -Igen -fno-delete-null-pointer-checks \
         -fno-ident -fno-strict-aliasing -fstack-protector -funwind-tables -fPIC -pthread -fcolor-diagnostics \
         -fmerge-all-constants -fno-sized-deallocation -fcrash-diagnostics-dir=../../tools/crash -mllvm -instcombine-lower-dbg-declare=0 \
         -mllvm -split-threshold-for-reg-with-hint=0 -ffp-contract=off -fcomplete-member-pointers -m64 -msse3 \
         -ffile-compilation-dir=. -no-canonical-prefixes -Wno-unknown-warning-option -gdwarf-4 -g0 -O2 -fdata-sections \
         -ffunction-sections -fno-unique-section-names -fno-math-errno -fno-omit-frame-pointer -fvisibility=hidden \
         -Xclang -fdebug-compilation-dir -Xclang . -Wheader-hygiene -std=c++20 -Wno-trigraphs -gsimple-template-names \
         -fno-exceptions -fno-rtti -nostdinc++ -isystem../../libcxx/include -fvisibility-inlines-hidden -c ../../a.cc -o obj/a.o",
        "-Wp,-MMD,k/.a.o.d -nostdinc -I./include -include ./include/linux/kconfig.h -D__KERNEL__ --target=x86_64-linux-gnu \
         -fintegrated-as -Werror=unknown-warning-option -Werror=ignored-optimization-argument -std=gnu11 -fshort-wchar -mno-sse \
         -fcf-protection=branch -fno-jump-tables -m64 -falign-loops=1 -mno-80387 -mstack-alignment=8 -mskip-rax-setup \
         -mcmodel=kernel -mretpoline-external-thunk -mindirect-branch-cs-prefix -mfunction-return=thunk-extern \
         -fno-stack-clash-protection -Wno-gnu -fsanitize=kcfi -fsanitize-coverage=trace-pc -mllvm -asan-mapping-offset=0xdffffc00 \
         -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang -ftrivial-auto-var-init=zero \
         -fpatchable-function-entry=11,11 -c -o k/a.o k/a.c",
        "-fsanitize=address,undefined -fsanitize-recover=all -fno-sanitize=vptr -fsanitize-ignorelist=/src/ignore.txt -g \
         -fprofile-instr-generate -fcoverage-mapping -stdlib=libc++ -fexperimental-library -c a.cc -MD -o a.o",
    ];
    for line in &clang[1..] {
        accepted(Family::Clang, line);
    }
}

#[test]
fn precompiled_headers() {
    for family in BOTH {
        check_outputs(family, "-x c++-header -c d/a.cc -o x.pch", &[(Role::Precompiled, "x.pch")]);
        let invocation = accepted(family, "-x c++-header -include p.hxx -o p.hxx.gch -c p.hxx.cxx -MD -MF p.d");
        assert_eq!((invocation.language, invocation.output_kind), (Language::Cxx, OutputKind::Precompiled));
        assert_eq!(invocation.outputs[1].path, "p.d");
        check_refused(family, "-x c-header -S a.h -o x", Reason::PrecompiledHeader);
        check_refused(family, "-x c-header a.h -o x -save-temps", Reason::PrecompiledHeader);
        check_refused(family, "-x c-header a.h -o x -fstack-usage", Reason::PrecompiledHeader);
    }
    check_outputs(Family::Gcc, "d/a.h", &[(Role::Precompiled, "d/a.h.gch")]);
    check_outputs(Family::Gcc, "-c a.hpp -MD", &[(Role::Precompiled, "a.hpp.gch"), (Role::DepFile, "a.d")]);
    check_refused(Family::Clang, "-c a.h", Reason::PrecompiledHeader);
    let line = "-Xclang -emit-pch -Xclang -include -Xclang p.hxx -x c++-header -o p.pch -c p.cxx -Xclang -fno-pch-timestamp";
    let invocation = accepted(Family::Clang, line);
    assert_eq!(invocation.forced_includes, [ForcedInclude { name: "p.hxx".into(), macros_only: false, inner: true }]);
    assert_eq!(invocation.probe_args, words("-Xclang -fno-pch-timestamp"));
    for line in ["-c a.c -include-pch p.pch", "-c a.c -Xclang -include-pch -Xclang p.pch"] {
        let invocation = accepted(Family::Clang, line);
        assert_eq!((invocation.precompiled, invocation.probe_args), (vec!["p.pch".to_owned()], vec![]));
    }
    check_refused(Family::Clang, "-c a.c -Xclang -emit-pch", Reason::PrecompiledHeader);
}
