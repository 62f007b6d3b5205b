//! Nonsense, and sense in any order: reading never panics, ends soon, and agrees with the quick look.

#![expect(clippy::disallowed_methods, reason = "the tests do the I/O that the crate itself must not do")]

mod support;

use std::time::{Duration, Instant};

use kiln_cmdline::{
    Effect, Family, Invocation, Opt, Reason, Refusal, Request, Takes, options, parse, quick_refusal, shared_options,
};
use support::Random;

/// A fixed seed; another one by `KILN_SEED`, for runs by hand.
fn seed() -> u64 {
    std::env::var("KILN_SEED").map_or(7, |text| text.parse().expect("KILN_SEED is a number"))
}

fn read(family: Family, args: &[Vec<u8>], file: Option<&[u8]>) -> Result<Invocation, Refusal> {
    let read_file = |_: &str| file.map(<[u8]>::to_vec);
    parse(&Request { family, cxx_driver: false, args, env: &[], cwd: "/d", read_file: &read_file })
}

fn random_option(random: &mut Random, rows: &[&Opt]) -> Vec<Vec<u8>> {
    const VALUES: &[&str] = &["", "x", "a.c", "out/x.o", "-c", "-E", "1", "native", "/dev/null", "=s", "a,b", "-", "é"];
    let row = random.pick(rows);
    let value = *random.pick(VALUES);
    let mut name = row.name.to_owned();
    if random.below(8) == 0 && name.len() > 2 {
        name.insert_str(2, "no-");
    }
    match row.takes {
        Takes::Nothing => vec![name.into_bytes()],
        Takes::Joined => vec![format!("{name}{value}").into_bytes()],
        Takes::Separate => vec![name.into_bytes(), value.into()],
        Takes::Either if random.below(2) == 0 => vec![format!("{name}{value}").into_bytes()],
        Takes::Either => vec![name.into_bytes(), value.into()],
    }
}

fn check_consistent(family: Family, args: &[Vec<u8>]) {
    let line = || args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ");
    match read(family, args, None) {
        Ok(invocation) => {
            assert_eq!(quick_refusal(args), None, "{family:?} {}", line());
            assert!(invocation.outputs.iter().any(|output| output.required), "{}", line());
            assert_eq!(invocation.main_output().path, invocation.outputs[0].path);
            assert_eq!(invocation.args.len(), args.len());
            let mut paths: Vec<&str> = invocation.outputs.iter().map(|output| output.path.as_str()).collect();
            paths.sort_unstable();
            paths.dedup();
            assert_eq!(paths.len(), invocation.outputs.len(), "{}", line());
            // What was read once reads the same again from the expanded words.
            let again: Vec<Vec<u8>> = invocation.expanded.iter().map(|arg| arg.clone().into_bytes()).collect();
            let second = read(family, &again, None).expect("expanded words read as well");
            assert_eq!((second.outputs, second.macros), (invocation.outputs, invocation.macros));
        }
        Err(refusal) => assert!(!refusal.reason.as_str().is_empty()),
    }
}

#[test]
fn options_in_any_order() {
    let mut random = Random::new(seed());
    let mut accepted = 0;
    for family in [Family::Gcc, Family::Clang] {
        let all: Vec<&Opt> = shared_options().iter().chain(options(family)).collect();
        let calm: Vec<&Opt> = all.iter().copied().filter(|row| !matches!(row.effect, Effect::Refuse(_))).collect();
        for round in 0..20_000 {
            let rows = if round % 2 == 0 { &all } else { &calm };
            let mut args: Vec<Vec<u8>> = vec![b"-c".to_vec(), b"a.c".to_vec()];
            for _ in 0..random.below(8) {
                args.extend(random_option(&mut random, rows));
            }
            if random.below(20) == 0 {
                args.remove(random.below(args.len()));
            }
            accepted += usize::from(read(family, &args, None).is_ok());
            check_consistent(family, &args);
        }
    }
    assert!(accepted > 2_000, "only {accepted} of 40,000 lines were read");
}

#[test]
fn noise() {
    const PIECES: &[&[u8]] = &[
        b"-",
        b"--",
        b"-c",
        b"-o",
        b"@",
        b"@f",
        b"-W",
        b"-Wp,",
        b"-Wa,",
        b"-Wl,",
        b",",
        b"=",
        b"no-",
        b"f",
        b"m",
        b"g",
        b"-X",
        b"\xff",
        "é".as_bytes(),
        "日".as_bytes(),
        b"\n",
        b" ",
        b"\0",
        b"a.c",
        b".c",
        b"/",
        b"..",
        b"'",
        b"\"",
        b"\\",
        b"-Xclang",
        b"-mllvm",
        b"-x",
        b"c",
        b"-fno-",
        b"-g",
        b"-d",
        b"-MD",
        b"-MF",
        b"-save-temps",
    ];
    let mut random = Random::new(seed());
    for round in 0..40_000 {
        let family = if round % 2 == 0 { Family::Gcc } else { Family::Clang };
        let mut args = Vec::new();
        for _ in 0..random.below(6) {
            let mut arg = Vec::new();
            for _ in 0..random.below(5) {
                arg.extend_from_slice(random.pick::<&[u8]>(PIECES));
            }
            args.push(arg);
        }
        let mut file = Vec::new();
        for _ in 0..random.below(12) {
            file.extend_from_slice(random.pick::<&[u8]>(PIECES));
        }
        let _ = read(family, &args, Some(&file));
        let _ = quick_refusal(&args);
        check_consistent(family, &args);
    }
}

/// Far above what any of these takes even on a busy machine; what is guarded against is quadratic time.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn two_megabytes_of_arguments() {
    let mut args: Vec<Vec<u8>> = vec![b"-c".to_vec(), b"a.c".to_vec()];
    let mut bytes = 0;
    while bytes < 2 << 20 {
        let arg = format!("-DMACRO_{}=value", args.len()).into_bytes();
        bytes += arg.len() + 1;
        args.push(arg);
    }
    let start = Instant::now();
    assert_eq!(read(Family::Gcc, &args, None).expect_err("gcc hands on 128 KiB").reason, Reason::TooLong);
    let invocation = read(Family::Clang, &args, None).expect("many macros");
    assert_eq!(invocation.macros.len(), args.len() - 2);
    assert!(start.elapsed() < SOON);
    let one = vec![b"-c".to_vec(), b"a.c".to_vec(), [b"-f".as_slice(), &vec![b'x'; 2 << 20]].concat()];
    assert_eq!(read(Family::Clang, &one, None).expect_err("long").reason, Reason::UnknownOption);
    assert!(start.elapsed() < SOON);
}

#[test]
fn ten_thousand_files() {
    let mut args = vec![b"-c".to_vec()];
    args.extend((0..10_000).map(|n| format!("dir/source_{n}.c").into_bytes()));
    let start = Instant::now();
    assert_eq!(read(Family::Gcc, &args, None).expect_err("many sources").reason, Reason::MultipleSources);
    assert!(start.elapsed() < SOON);
    assert_eq!(quick_refusal(&args), None);
}

#[test]
fn too_long_a_line_is_refused() {
    let args = vec![b"-c".to_vec(), b"a.c".to_vec(), vec![b'x'; 17 << 20]];
    assert_eq!(read(Family::Gcc, &args, None).expect_err("huge").reason, Reason::TooLong);
    let big = b"-DX ".repeat(5 << 20);
    let args = vec![b"-c".to_vec(), b"a.c".to_vec(), b"@big".to_vec()];
    assert_eq!(read(Family::Gcc, &args, Some(&big)).expect_err("huge file").reason, Reason::ResponseFile);
}
