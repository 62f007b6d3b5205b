//! A short run of the fuzz targets: their seeds, and each seed changed a little in many ways, the same on every run. The fuzzer itself
//! runs by hand, see CONTRIBUTING.md.

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "there it is a library")]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// Changed copies of the seeds tried with each target: 4 s of processor in all.
const CHANGED: usize = 1200;

/// xorshift64*: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % bound.max(1)
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// A few bytes of `bytes` replaced, removed, repeated, or taken from another seed.
fn changed(random: &mut Random, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).expect("a byte"),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let from = random.below(other.len());
                let piece = other[from..(from + random.below(20)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

#[test]
fn targets_survive_their_seeds_and_what_is_like_them() {
    for (name, _) in targets::ENTRIES {
        let seeds = seeds(name);
        let mut random = Random(7);
        for seed in &seeds {
            targets::run(name, seed);
        }
        for _ in 0..CHANGED {
            let seed = seeds[random.below(seeds.len())].clone();
            let other = &seeds[random.below(seeds.len())];
            let bytes = changed(&mut random, seed, other);
            // What fails is shown, that it can become a seed.
            let shown = bytes.escape_ascii().to_string();
            if std::panic::catch_unwind(|| targets::run(name, &bytes)).is_err() {
                panic!("the target {name} failed on \"{shown}\"");
            }
        }
    }
}

#[test]
fn every_target_can_be_run() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/Cargo.toml")).expect("a manifest");
    for (name, _) in targets::ENTRIES {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is no target of fuzz/Cargo.toml");
    }
}
