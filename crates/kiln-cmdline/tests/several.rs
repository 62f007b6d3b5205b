//! Commands of several sources: what each unit's command is, what the link is, and what is not split.

mod support;

use kiln_cmdline::{Family, LinkWord, Reading, Reason, Request, parse_all};
use support::{BOTH, words};

fn read(family: Family, line: &str) -> Result<Reading, (Reason, String)> {
    let args: Vec<Vec<u8>> = words(line).into_iter().map(String::into_bytes).collect();
    let read_file = |path: &str| (path == "rsp").then(|| b"-O2 b.c".to_vec());
    let request = Request { family, cxx_driver: false, args: &args, env: &[], cwd: "/d", read_file: &read_file };
    parse_all(&request).map_err(|refusal| (refusal.reason, refusal.detail))
}

/// The commands of the units, and that of the link with `<n>` for the objects.
#[track_caller]
fn check(family: Family, line: &str, units: &[&str], link: Option<&str>) {
    let reading = read(family, line).unwrap_or_else(|why| panic!("{family:?} {line}: {why:?}"));
    let got: Vec<String> = reading.units.iter().map(|unit| unit.args.join(" ")).collect();
    assert_eq!(got, units, "{family:?} {line}");
    let got = reading.link.map(|link| {
        let words = link.words.iter().map(|word| match word {
            LinkWord::Plain(word) => word.clone(),
            LinkWord::Object(unit) => format!("<{unit}>"),
        });
        words.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(got.as_deref(), link, "{family:?} {line}");
}

#[track_caller]
fn check_refused(family: Family, line: &str, reason: Reason, detail: &str) {
    assert_eq!(read(family, line), Err((reason, detail.to_owned())), "{family:?} {line}");
}

#[test]
fn each_source_has_a_command_of_its_own() {
    for family in BOTH {
        check(family, "-O2 -c a.c b.c -MD", &["-O2 -c a.c -MD", "-O2 -c b.c -MD"], None);
        check(family, "-S x/a.c y/b.c", &["-S x/a.c", "-S y/b.c"], None);
        check(family, "-c a.c @rsp -g", &["-c a.c -O2 -g", "-c -O2 b.c -g"], None);
        check(family, "-c -x c a.txt -x c++ b.txt", &["-c -x c a.txt", "-c -x c++ b.txt"], None);
        check(family, "-xc a.txt -xnone -c b.c -x c -", &["-xc a.txt -c", "-xnone -c b.c", "-c -x c -"], None);
        check(family, "-c a.c", &["-c a.c"], None);
    }
    check(Family::Clang, "-c -- a.c b.c", &["-c -- a.c", "-c -- b.c"], None);
    let outputs = read(Family::Gcc, "-c a.c b.c -MD").expect("read").units[1].outputs.clone();
    assert_eq!(outputs.iter().map(|output| output.path.as_str()).collect::<Vec<_>>(), ["b.o", "b.d"]);
}

#[test]
fn a_link_takes_the_objects_where_the_sources_stood() {
    check(
        Family::Gcc,
        "-O2 a.c lib.a b.c -o prog -lm",
        &["-c -O2 a.c -lm", "-c -O2 b.c -lm"],
        Some("-O2 <0> lib.a <1> -o prog -lm"),
    );
    check(
        Family::Clang,
        "-static -O2 a.c b.o c.c -Wl,-s -o prog -L lib",
        &["-c -O2 a.c", "-c -O2 c.c"],
        Some("-Qunused-arguments -static -O2 <0> b.o <1> -Wl,-s -o prog -L lib"),
    );
}

#[test]
fn what_would_tell_is_not_split() {
    for family in BOTH {
        check_refused(family, "-c a.c b.c -o x.o", Reason::MultipleSources, "-o");
        check_refused(family, "-c a.c d/a.c", Reason::OutputClash, "a.o");
        check_refused(family, "-c a.c b.c -MD -MF x.d", Reason::OutputClash, "x.d");
        check_refused(family, "-c a.c b.c c.o", Reason::LinkerInput, "c.o");
        check_refused(family, "-c a.c b.h", Reason::MultipleSources, "b.h");
        check_refused(family, "a.c -o prog", Reason::Link, "neither -c nor -S");
        check_refused(family, "a.c b.o -o prog", Reason::Link, "neither -c nor -S");
        check_refused(family, "-x c a.c b.c -o prog", Reason::Link, "-x");
        check_refused(family, "-MD a.c b.c -o prog", Reason::Link, "a.d");
        check_refused(family, "--coverage a.c b.c -o prog", Reason::Link, "a.gcno");
        check_refused(family, "-fprofile-generate a.c b.c -o prog", Reason::Link, "-fprofile-generate");
        check_refused(family, "-g -gsplit-dwarf a.c b.c -o prog", Reason::Link, "-gsplit-dwarf");
        check_refused(family, "-save-temps a.c b.c -o prog", Reason::Link, "a.i");
        check_refused(family, "a.c b.c c.f90 -o prog", Reason::Link, "c.f90");
        check_refused(family, "conftest.c b.c -o conftest", Reason::Probe, "conftest.c");
        check_refused(family, "-E a.c b.c", Reason::PreprocessOnly, "-E");
        check_refused(family, "a.c b.c --no-such-option", Reason::UnknownOption, "--no-such-option");
        let many: String = (0..61).map(|number| format!(" {number}.c")).collect();
        check_refused(family, &format!("-c{many}"), Reason::MultipleSources, "too many");
        check_refused(family, &many, Reason::Link, "too many sources");
    }
    check_refused(Family::Clang, "-c a.c b.c -frecord-gcc-switches", Reason::MultipleSources, "-frecord-gcc-switches");
    check_refused(Family::Clang, "a.c b.c -grecord-command-line -g", Reason::Link, "-grecord-command-line");
}
