//! Command lines that are refused, and the reason that is told; the quick look.

mod support;

use kiln_cmdline::{Family, Reason, quick_refusal};
use support::{BOTH, accepted, check_refused, parse_bytes, words};

const EVERYWHERE: &[(&str, Reason)] = &[
    ("", Reason::NoSource),
    ("a.c", Reason::Link),
    ("a.c -o a", Reason::Link),
    ("a.o b.o -o a", Reason::Link),
    ("-E a.c", Reason::PreprocessOnly),
    ("-E -c a.c", Reason::PreprocessOnly),
    ("-c a.c -M", Reason::DependenciesOnly),
    ("-MM a.c", Reason::DependenciesOnly),
    ("-fsyntax-only a.c", Reason::SyntaxOnly),
    ("-c", Reason::NoSource),
    ("-c a.c b.c", Reason::MultipleSources),
    ("-c a.c -", Reason::Stdin),
    ("-c -x c /dev/stdin", Reason::Stdin),
    ("-c -x c /dev/null -o x.o", Reason::Probe),
    ("-c a.c b.o", Reason::LinkerInput),
    ("-c a.cppm", Reason::Modules),
    ("-c a.f90", Reason::UnsupportedLanguage),
    ("-c a.c -o /dev/null", Reason::SpecialOutput),
    ("-c a.c -o -", Reason::SpecialOutput),
    ("-S a.c -o /dev/stdout", Reason::SpecialOutput),
    ("-c a.c -o /proc/self/fd/1", Reason::SpecialOutput),
    ("-c a.c -MD -MF /dev/stderr", Reason::SpecialOutput),
    ("-c a.c -o dir/", Reason::SpecialOutput),
    ("-c a.c -o ''", Reason::SpecialOutput),
    ("-c a.c -o a.c", Reason::OutputClash),
    ("-c a.c -MD -MF a.o", Reason::OutputClash),
    ("-S a.S", Reason::PreprocessOnly),
    ("-S a.s", Reason::PreprocessOnly),
    ("-c a.c -v", Reason::Verbose),
    ("-c a.c -###", Reason::Probe),
    ("--version", Reason::Probe),
    ("-print-prog-name=as", Reason::Probe),
    ("-c conftest.c", Reason::Probe),
    ("-c CMakeFiles/CMakeScratch/TryCompile-x/a.c", Reason::Probe),
    ("-c a.c -fplugin=x.so", Reason::Plugin),
    ("-c a.c -dumpdir x", Reason::SideNames),
    ("-c a.c -time", Reason::Timing),
    ("-c a.c -fmodules", Reason::Modules),
    ("-c a.c -finput-charset=latin1", Reason::Charset),
    ("-c a.c -save-temps=what", Reason::SaveTemps),
    ("-c a.c -fno-such-thing", Reason::UnknownOption),
    ("-c a.c -fwrite-my-secrets", Reason::UnknownOption),
    ("-c a.c --nonsense", Reason::UnknownOption),
    ("-c a.c -Wa/b", Reason::UnknownOption),
    ("-c -ca.c b.c", Reason::UnknownOption),
    ("-c a.c -o", Reason::MissingValue),
    ("-c a.c -I", Reason::MissingValue),
    ("-c a.c -MF", Reason::MissingValue),
    ("-c a.c -MG -MD", Reason::BadCombination),
    ("-c a.c -I-", Reason::BadCombination),
    ("-c a.c -iwithprefix x", Reason::BadCombination),
    ("-c a.c -dump", Reason::Dump),
    ("-c a.c -da", Reason::Dump),
    ("-c a.c -Wa,-o,x", Reason::SideNames),
    ("-c a.c -Wa,-ag=x", Reason::Timing),
    ("-c a.c -Wa,--nonsense", Reason::AssemblerOption),
    ("-c a.c -Wa,@x", Reason::AssemblerOption),
    ("-c a.c -Wa,other.s", Reason::AssemblerOption),
    ("-c a.c -Xassembler", Reason::MissingValue),
    ("-c a.c -Wp,-o,x", Reason::PreprocessorOption),
    ("-c a.c -Wp,x.c", Reason::PreprocessorOption),
    ("-c a.c -Wp,-fplugin=x", Reason::PreprocessorOption),
    ("-c a.c -Wp,-MD", Reason::PreprocessorOption),
    ("-c a.c -fdiagnostics-format=sarif-file", Reason::OtherOutput),
    ("-c @no-such-file", Reason::ResponseFile),
    ("-c a.c ''", Reason::BadCombination),
];

const GCC_ONLY: &[(&str, Reason)] = &[
    ("-c a.c -fdump-tree-all", Reason::Dump),
    ("-c a.c -fopt-info-vec=x", Reason::Dump),
    ("-c a.c -fcompare-debug", Reason::CompareDebug),
    ("-c a.c -wrapper x", Reason::Specs),
    ("-c -- a.c", Reason::UnknownOption),
    ("-c a.c -dumpbase x", Reason::SideNames),
    ("-c a.c -Xclang x", Reason::UnknownOption),
    ("-c a.c -remap", Reason::Overlay),
];

const CLANG_ONLY: &[(&str, Reason)] = &[
    ("-c a.c -specs=x", Reason::Specs),
    ("-c a.c --config x.cfg", Reason::Config),
    ("-c a.c --config=x.cfg", Reason::Config),
    ("-c a.c -Xclang -load -Xclang x.so", Reason::Plugin),
    ("-c a.c -Xclang -emit-pch", Reason::PrecompiledHeader),
    ("-c a.c -Xclang -what", Reason::BackendOption),
    ("-c a.c -Xclang -o -Xclang x", Reason::SideNames),
    ("-c a.c -Xclang b.c", Reason::BackendOption),
    ("-c a.c -mllvm -time-passes", Reason::BackendOption),
    ("-c a.c -mllvm -inline-threshold=/x", Reason::BackendOption),
    ("-c a.c -Xarch_x86_64 -O2", Reason::MultipleArch),
    ("-c a.c -arch x86_64", Reason::MultipleArch),
    ("--analyze a.c", Reason::Analyze),
    ("-c a.c -working-directory x", Reason::Overlay),
    ("-c a.c -emit-ast", Reason::OtherOutput),
    ("-c a.c -fopenmp-targets=nvptx64", Reason::Offload),
    ("-c a.c -Wp,-MD,a,b", Reason::PreprocessorOption),
    ("-c a.c -save-temps -ftime-trace", Reason::SaveTemps),
    ("-S a.c -g -gsplit-dwarf -fdebug-compilation-dir=x", Reason::BadCombination),
    ("-c a.c --rsp-quoting=windows", Reason::ResponseFile),
];

#[test]
fn refused() {
    for family in BOTH {
        for &(line, reason) in EVERYWHERE {
            check_refused(family, line, reason);
        }
    }
    for &(line, reason) in GCC_ONLY {
        check_refused(Family::Gcc, line, reason);
    }
    for &(line, reason) in CLANG_ONLY {
        check_refused(Family::Clang, line, reason);
    }
}

#[test]
fn negated_refusals_are_no_refusals() {
    accepted(Family::Gcc, "-c a.c -fno-modules-ts -fno-compare-debug");
    accepted(Family::Clang, "-c a.c -fno-modules -fno-implicit-modules");
}

#[test]
fn not_utf8() {
    assert_eq!(parse_bytes(&[b"-c", b"\xff.c"], &[]).expect_err("name").reason, Reason::NotUtf8);
    assert_eq!(parse_bytes(&[b"-c", b"a.c", b"-D\xfe"], &[]).expect_err("macro").reason, Reason::NotUtf8);
    assert_eq!(parse_bytes(&[b"-c", b"a.c"], &[(b"CPATH", b"\xff")]).expect_err("CPATH").reason, Reason::NotUtf8);
    assert!(parse_bytes(&[b"-c", b"a.c"], &[(b"JUNK\xff", b"\xff"), (b"JUNK", b"\xff")]).is_ok());
}

#[test]
fn quick_refusals() {
    let cases = [
        ("", Some(Reason::NoSource)),
        ("--version", Some(Reason::Probe)),
        ("-v", Some(Reason::NoSource)),
        ("a.c -o a", Some(Reason::Link)),
        ("-o prog a.o -lc", Some(Reason::Link)),
        ("-E a.c", Some(Reason::PreprocessOnly)),
        ("-E -dM -", Some(Reason::PreprocessOnly)),
        ("-c -x c - -o x.o", None),
        ("-x c - -o x", Some(Reason::Link)),
        ("-c conftest.c", Some(Reason::Probe)),
        ("-c -o x.o /b/CMakeFiles/CMakeTmp/t.c", Some(Reason::Probe)),
        ("-print-search-dirs", Some(Reason::Probe)),
        ("-M a.c", Some(Reason::DependenciesOnly)),
        ("-c -x c /dev/null -o x.o", Some(Reason::Probe)),
        ("a.h -o a.h.gch", None),
        ("-x c++-header a.cc -o a.gch", None),
        ("-c a.c -o /dev/null", None),
        ("-c a.c", None),
        ("-c -MT -E a.c", None),
        ("-c -include -M a.c", None),
        ("-c -o conftest.o a.c", None),
        ("-S a.c", None),
        ("@args", None),
        ("-E @args", Some(Reason::PreprocessOnly)),
    ];
    for (line, expect) in cases {
        let args: Vec<Vec<u8>> = words(line).into_iter().map(String::into_bytes).collect();
        let got = quick_refusal(&args);
        // A response file ends the quick look, whatever came before it.
        let expect = if line.contains('@') { None } else { expect };
        assert_eq!(got, expect, "{line}");
    }
}
