//! Shows what a driver consists of: `cargo run -p kiln-toolchain --example show -- /usr/bin/gcc`.

use kiln_toolchain::{DigestCache, Entry, LookupEnv, Toolchain, query_builtins, resolve_native};
use std::time::Instant;

fn main() {
    let vars: Vec<(String, String)> = std::env::vars().collect();
    let env = LookupEnv::from_pairs(vars.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut cache = DigestCache::new();
    for driver in std::env::args().skip(1) {
        let started = Instant::now();
        match Toolchain::discover(std::path::Path::new(&driver), &env, &mut cache) {
            Err(error) => println!("{error}"),
            Ok(tc) => {
                let took = started.elapsed();
                for entry in &tc.entries {
                    match entry {
                        Entry::File { path, digest, executable } => {
                            println!("{} {path} {digest:?}", if *executable { 'x' } else { '-' })
                        }
                        Entry::Symlink { path, target } => println!("l {path} -> {target}"),
                        Entry::Directory { path } => println!("d {path}"),
                    }
                }
                println!("{driver}: {:?} cxx={} {} {} {}", tc.family, tc.cxx, tc.version, tc.target, tc.host_arch);
                println!(
                    "id {} PATH={} size {} MB, {} entries in {took:?}",
                    tc.id,
                    tc.search_path,
                    tc.size() >> 20,
                    tc.entries.len()
                );
                let started = Instant::now();
                let current = (0..1000).all(|_| tc.is_current());
                println!("is_current {current}: {:?} each", started.elapsed() / 1000);
                let started = Instant::now();
                let builtins = query_builtins(&tc, "c++", &[], &[], std::path::Path::new("/"));
                println!(
                    "{:?} in {:?}",
                    builtins.map(|b| (b.quote_dirs, b.include_dirs, b.missing_dirs, b.macros.len(), b.preincluded, b.operators)),
                    started.elapsed()
                );
                for args in [&["-march=native", "-g"][..], &["-O2", "-mtune=native", "-mavx2", "-march=native"]] {
                    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
                    println!("{:?}", resolve_native(&tc, &args, "c").map(|native| (native.args.len(), native.specs)));
                }
            }
        }
    }
}
