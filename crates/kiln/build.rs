//! Links the program `kiln`, and nothing else of the workspace, statically.
//!
//! A static program starts in half the time of a dynamic one: no loader, no libraries to map, no relocations to share.
//! `-C target-feature=+crt-static` cannot do it here: given for the whole target it breaks procedural macros, and cargo
//! has no such setting for one package. What the flag changes at the link is little, so it is done by hand, for the one
//! binary, on every plain `cargo build`: a directory that the linker searches first holds the static form of each library
//! that the standard library asks for. `libgcc_s` exists only as a shared one; its static twin `libgcc_eh` is named beside.
//!
//! Where the C library has no static form (glibc-static is a package of its own on some systems), the program is linked
//! as any other, and cargo says so.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// What the standard library and the `libc` crate link with on this target.
const LIBRARIES: [&str; 7] = ["libc.a", "libdl.a", "libgcc_eh.a", "libm.a", "libpthread.a", "librt.a", "libutil.a"];

/// An archive without members, as `ar` writes it.
const EMPTY_ARCHIVE: &str = "!<arch>\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|actual| actual == value);
    let wants = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let already = env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|list| list.split(',').any(|item| item == "crt-static"));
    if !wants || already {
        return;
    }
    let found: Vec<PathBuf> = LIBRARIES.iter().filter_map(|library| static_library(library)).collect();
    if env::var("HOST") != env::var("TARGET") || found.len() < LIBRARIES.len() {
        println!("cargo::warning=no static C library for this target: kiln is linked dynamically and starts more slowly");
        return;
    }
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("static");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("OUT_DIR can be written");
    fs::write(dir.join("libgcc_s.a"), EMPTY_ARCHIVE).expect("OUT_DIR can be written");
    for (library, path) in LIBRARIES.iter().zip(found) {
        symlink(path, dir.join(library)).expect("OUT_DIR can be written");
    }
    println!("cargo::rustc-link-arg-bins=-L{}", dir.display());
    for arg in ["-static", "-no-pie", "-Wl,--start-group", "-lgcc_eh", "-lgcc", "-lc", "-Wl,--end-group"] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
}

/// Where the C compiler has `library`: it prints the bare name where it has none.
fn static_library(library: &str) -> Option<PathBuf> {
    let answer = Command::new("cc").arg(format!("-print-file-name={library}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}
