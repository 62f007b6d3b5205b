//! Shows the inputs of one compile: `cargo run --release -p kiln-scan --example closure -- [OPTIONS] gcc -Iinc -c a.c`.
//!
//! Options: `--files` prints every file and why it is there, `--absent` every failed candidate, `--check` compares with the
//! compiler's own list, `--repeat N` times the scan, `--batch FILE` does all that for many compiles (a line each:
//! working directory, tab, arguments separated by tabs) and prints one line for each and a sum.
#![expect(clippy::disallowed_methods, reason = "an example does the I/O that the crate itself must not do")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use kiln_scan::{Closure, Scanner, Unprovable};
use support::{CommandLine, Compilers, DiskView, identity, listed};

#[derive(Default)]
struct Options {
    files: bool,
    absent: bool,
    check: bool,
    repeat: u32,
    batch: Option<String>,
}

#[derive(Default)]
struct Sum {
    units: u32,
    listed: usize,
    scanned: usize,
    probed: usize,
    worst: f64,
    missed: usize,
    unprovable: u32,
    first: Duration,
    warm: Duration,
    alone: Duration,
}

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    let mut options = Options { repeat: 1, ..Options::default() };
    while let Some(option) = args.next_if(|a| a.starts_with("--")) {
        match option.as_str() {
            "--files" => options.files = true,
            "--absent" => options.absent = true,
            "--check" => options.check = true,
            "--repeat" => options.repeat = args.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            "--batch" => options.batch = args.next(),
            other => panic!("unknown option {other}"),
        }
    }
    let units: Vec<(String, Vec<String>)> = match &options.batch {
        None => {
            let cwd = std::env::current_dir().expect("a working directory").to_string_lossy().into_owned();
            vec![(cwd, args.collect())]
        }
        Some(file) => std::fs::read_to_string(file)
            .expect("a readable batch file")
            .lines()
            .map(|line| {
                let mut parts = line.split('\t').map(str::to_owned);
                (parts.next().unwrap_or_default(), parts.collect())
            })
            .collect(),
    };
    run(&options, &units);
}

/// Processor time of this thread so far: a busy machine does not count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn run(options: &Options, units: &[(String, Vec<String>)]) {
    let (view, mut compilers, mut scanner) = (DiskView::default(), Compilers::default(), Scanner::new());
    let mut sum = Sum::default();
    for (cwd, args) in units {
        let line = CommandLine::parse(args);
        let request = compilers.request(&view, &line, cwd);
        let start = cpu();
        let result = scanner.scan(&view, &request);
        sum.first += cpu() - start;
        let start = cpu();
        for _ in 0..options.repeat {
            let _ = std::hint::black_box(scanner.scan(&view, &request));
        }
        let warm = (cpu() - start) / options.repeat;
        sum.warm += warm;
        sum.units += 1;
        report(options, cwd, args, &result, warm, &mut sum);
    }
    // All units again, one after the other: what a build sees when every header is known.
    let requests: Vec<_> = units.iter().map(|(cwd, args)| compilers.request(&view, &CommandLine::parse(args), cwd)).collect();
    let start = cpu();
    for request in &requests {
        let _ = std::hint::black_box(scanner.scan(&view, request));
    }
    sum.alone = cpu() - start;
    totals(&view, &sum);
}

fn report(options: &Options, cwd: &str, args: &[String], result: &Result<Closure, Unprovable>, warm: Duration, sum: &mut Sum) {
    let source = &CommandLine::parse(args).source;
    let closure = match result {
        Ok(closure) => closure,
        Err(reason) => {
            sum.unprovable += 1;
            println!("{source}: {}: {reason}", reason.code());
            return;
        }
    };
    if options.files {
        for (i, file) in closure.files.iter().enumerate() {
            let from = file.from.map_or_else(String::new, |n| format!(" {}:{}", closure.files[n as usize].path, file.line));
            println!("{i} {} {:?}{from}", file.path, file.reason);
        }
    }
    if options.absent {
        for absent in closure.absent() {
            println!("absent {} in {}", absent.name, absent.dir);
        }
    }
    let ours: BTreeSet<_> = closure.files.iter().filter_map(|f| identity(cwd, &f.path)).collect();
    let mut note = String::new();
    if options.check {
        let Some(theirs) = listed(args, cwd) else {
            println!("{source}: the compiler fails");
            return;
        };
        let missed: Vec<_> = theirs.iter().filter(|p| identity(cwd, p).is_some_and(|id| !ours.contains(&id))).collect();
        let count = theirs.iter().filter_map(|p| identity(cwd, p)).collect::<BTreeSet<_>>().len();
        let factor = ours.len() as f64 / count.max(1) as f64;
        sum.listed += count;
        sum.missed += missed.len();
        sum.worst = sum.worst.max(factor);
        note = format!(", compiler lists {count}, factor {factor:.2}, missed {missed:?}");
    }
    sum.scanned += ours.len();
    sum.probed += closure.absent().count();
    println!("{source}: {} files, {:.3} ms{note}", ours.len(), warm.as_secs_f64() * 1e3);
}

fn totals(view: &DiskView, sum: &Sum) {
    let per = |d: Duration| d.as_secs_f64() * 1e3 / f64::from(sum.units.max(1));
    let (bytes, time) = view.lexed();
    let (held, files) = view.held();
    println!(
        "{} units, {} unprovable, {} files scanned, {} listed, factor {:.3} (worst {:.2}), missed {}",
        sum.units,
        sum.unprovable,
        sum.scanned,
        sum.listed,
        sum.scanned as f64 / sum.listed.max(1) as f64,
        sum.worst,
        sum.missed
    );
    println!(
        "per unit: first {:.3} ms, repeated {:.3} ms, in a row {:.3} ms, {} absent candidates",
        per(sum.first),
        per(sum.warm),
        per(sum.alone),
        sum.probed / sum.units.max(1) as usize
    );
    println!(
        "{files} files, {:.1} MB read at {:.0} MB/s, directives take {:.1} MB",
        bytes as f64 / 1e6,
        bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9),
        held as f64 / 1e6
    );
}
