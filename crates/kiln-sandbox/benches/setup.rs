//! What a job costs beyond its own work: laying out a root that differs in three files from the last one, set-up, tear-down.
//! Prints CPU and wall time a job. With `--test` it runs a few jobs only, to show that it still works.

#[path = "../tests/sandbox/support/mod.rs"]
mod support;

use kiln_cas::{Digest, TreeBuilder};
use kiln_sandbox::{JobSpec, RootMode};
use std::time::{Duration, Instant};
use support::Farm;

/// As many as a large C++ unit reads.
const INPUTS: usize = 500;
/// As many as gcc is made of.
const TOOLCHAIN: usize = 43;

fn tree(farm: &Farm, round: usize) -> Digest {
    let mut tree: TreeBuilder = farm.tree();
    for index in 0..INPUTS {
        // Three files change each round; the others are in some thirty directories.
        let text = if index % 200 == 7 { format!("{index} {round}") } else { format!("{index}") };
        tree.file(&format!("/home/u/project/lib{}/include/{index}.h", index % 30), farm.store.put(text.as_bytes()), false).unwrap();
    }
    for index in 0..TOOLCHAIN {
        let digest = farm.store.put(format!("tool {index}").as_bytes());
        tree.file(&format!("/usr/lib/gcc/x86_64-linux-gnu/12/{index}"), digest, true).unwrap();
    }
    farm.store.put_tree(&tree.build())
}

fn cpu(who: libc::c_int) -> Duration {
    // SAFETY: `rusage` is plain numbers, for which zero is valid, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> = text.lines().next().unwrap().split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect();
    // All but idle and waiting, in hundredths of a second.
    (fields.iter().sum::<f64>() - fields[3] - fields[4]) / 100.0
}

fn per_job(label: &str, jobs: usize, mode: RootMode, change: bool) {
    let farm = Farm::new();
    let roots: Vec<Digest> = (0..if change { jobs + 1 } else { 1 }).map(|round| tree(&farm, round)).collect();
    let plain = mode == RootMode::HostUsr;
    let job = |root: &Digest| JobSpec {
        root: farm.pool.lay_out(&farm.store, root).unwrap(),
        mode,
        argv: vec![if plain { "../bin/act" } else { "/bin/act" }.into(), "exit".into(), "0".into()],
        env: vec![],
        cwd: if plain { "w" } else { "/w" }.into(),
        outputs: vec!["out.o".into()],
        output_trees: vec![],
        make_dirs: vec![],
        limits: support::limits(),
        terminal: None,
        stdin: None,
    };
    // The first root is laid out in full.
    farm.run(job(&roots[0]));
    let (own, machine, wall) = (cpu(libc::RUSAGE_SELF), busy(), Instant::now());
    let mut lay_out = Duration::ZERO;
    for round in 1..=jobs {
        let before = Instant::now();
        let spec = job(&roots[if change { round } else { 0 }]);
        lay_out += before.elapsed();
        farm.run(spec);
    }
    let (own, machine, wall) = (cpu(libc::RUSAGE_SELF) - own, busy() - machine, wall.elapsed());
    let before = cpu(libc::RUSAGE_CHILDREN);
    drop(farm);
    let helper = cpu(libc::RUSAGE_CHILDREN) - before;
    let milli = |time: Duration| time.as_secs_f64() * 1000.0 / jobs as f64;
    println!(
        "{label:34} cpu {:.2} ms (worker {:.2}, helper and job {:.2}), whole machine {:.2} ms, wall {:.2} ms of which layout {:.2}",
        milli(own + helper),
        milli(own),
        milli(helper),
        machine * 1000.0 / jobs as f64,
        milli(wall),
        milli(lay_out)
    );
}

fn full_layout(rounds: usize) {
    let farm = Farm::new();
    let root = tree(&farm, 0);
    let (own, wall) = (cpu(libc::RUSAGE_SELF), Instant::now());
    let roots: Vec<_> = (0..rounds).map(|_| farm.pool.lay_out(&farm.store, &root).unwrap()).collect();
    let (own, wall) = ((cpu(libc::RUSAGE_SELF) - own) / rounds as u32, wall.elapsed() / rounds as u32);
    println!("full layout of {} files            cpu {own:.2?}, wall {wall:.2?}", INPUTS + TOOLCHAIN);
    drop(roots);
}

fn main() {
    let jobs = if std::env::args().any(|arg| arg == "--test") { 3 } else { 300 };
    per_job("same root again", jobs, RootMode::Chroot, false);
    per_job("three of 543 files differ", jobs, RootMode::Chroot, true);
    per_job("the worker's files, three differ", jobs, RootMode::HostUsr, true);
    full_layout(jobs.min(20));
}
