//! The files of a clang driver: itself, the gcc installations it looks for, its resource directory. Knows no gcc driver.

use crate::ToolchainError;
use crate::gcc::{find_in_path, prefix_of};
use crate::identify::{Driver, line_after, physical, search_dirs};
use crate::loader::Loader;
use crate::toolchain::Identity;
use crate::walk::Walker;
use kiln_cmdline::Family;

/// Files by which clang tells distributions apart (its `Distro.cpp`).
const DISTRO_FILES: [&str; 10] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/lsb-release",
    "/etc/redhat-release",
    "/etc/debian_version",
    "/etc/SuSE-release",
    "/etc/exherbo-release",
    "/etc/alpine-release",
    "/etc/arch-release",
    "/etc/gentoo-release",
];

/// Directories below a prefix in which clang looks for gcc installations, one for each triple (its `Gnu.cpp`).
const GCC_DIRS: [&str; 8] =
    ["lib/gcc", "lib/gcc-cross", "lib64/gcc", "lib64/gcc-cross", "lib32/gcc", "lib32/gcc-cross", "libx32/gcc", "libx32/gcc-cross"];

/// Where ncurses looks for terminals, apart from the large collection in `/usr/share/terminfo`, of which few are ever used.
const TERMINAL_DIRS: [&str; 2] = ["/etc/terminfo", "/lib/terminfo"];

/// Programs that clang executes in a compile only with `-fno-integrated-as`.
const PROGRAMS: [&str; 2] = ["as", "objcopy"];

/// Enters the driver and its files.
pub(crate) fn enter(driver: &Driver<'_>, walker: &mut Walker<'_>) -> Result<Identity, ToolchainError> {
    let verbose = driver.ask(&["-v", "-###", "-x", "c", "/dev/null"])?;
    let verbose = String::from_utf8_lossy(&verbose.stderr).into_owned();
    let version = verbose.lines().find_map(|line| line.split_once("clang version ")).map(|(_, rest)| rest.trim());
    let version = version.and_then(|rest| rest.split([' ', '(']).next()).unwrap_or_default().to_owned();
    let target = line_after(&verbose, "Target: ").unwrap_or_default().to_owned();
    let installed = line_after(&verbose, "InstalledDir: ").unwrap_or_default().to_owned();
    if !version.starts_with(|c: char| c.is_ascii_digit()) || target.is_empty() || !installed.starts_with('/') {
        return Err(driver.garbage("-v", "its answer names no clang version, target and directory"));
    }
    let Some(cc1) = verbose.lines().find(|line| line.contains("\"-cc1\"")).and_then(|line| line.split('"').nth(1)) else {
        return Err(driver.garbage("-###", "its answer shows no compile"));
    };
    // The driver compiles by calling itself; a wrapper's answer names the program behind it.
    if physical(cc1).as_deref() != Some(driver.physical.as_ref()) {
        return Err(driver.not_a_compiler(format!("it starts another program, {cc1}")));
    }
    if let Some(config) = line_after(&verbose, "Configuration file: ") {
        return Err(driver.unmodelled(format!("it reads the configuration file {config}")));
    }

    let mut loader = Loader::new(driver.path, walker)?;
    loader.enter_program(walker, driver.name)?;
    loader.enter_program(walker, cc1)?;
    let dirs = driver.ask(&["-print-search-dirs"])?;
    let program_dirs = search_dirs(&String::from_utf8_lossy(&dirs.stdout), "programs:");
    let mut path = Vec::new();
    for program in PROGRAMS {
        enter_program(driver, walker, &mut loader, program, &program_dirs, &target, &mut path)?;
    }
    loader.finish(walker)?;
    enter_terminals(walker)?;
    watch_configuration(driver, walker, &installed, &target)?;
    enter_gcc_installations(walker, &verbose, &installed)?;
    enter_resources(driver, walker)?;
    for file in DISTRO_FILES {
        walker.enter(file)?;
    }
    let cxx = verbose.lines().any(|line| line.contains("\"-lstdc++\"") || line.contains("\"-lc++\""))
        || driver.name.rsplit('/').next().is_some_and(|name| name.contains("++"));
    Ok(Identity { family: Family::Clang, cxx, version, target, prefix: prefix_of(&driver.physical), path })
}

/// Enters what clang, where it is linked with ncurses, asks whether a terminal has colours. Always the same, whatever terminal
/// the user has, so that all share one toolchain.
fn enter_terminals(walker: &mut Walker<'_>) -> Result<(), ToolchainError> {
    let looks = walker.paths().any(|path| ["/libtinfo.so", "/libncurses"].iter().any(|name| path.contains(name)));
    if !looks {
        return Ok(());
    }
    for dir in TERMINAL_DIRS {
        walker.enter_tree(dir, 2)?;
    }
    Ok(())
}

fn enter_program(
    driver: &Driver<'_>,
    walker: &mut Walker<'_>,
    loader: &mut Loader<'_>,
    name: &str,
    dirs: &[String],
    target: &str,
    path: &mut Vec<String>,
) -> Result<(), ToolchainError> {
    let answer = driver.ask_line(&format!("-print-prog-name={name}"))?;
    // First under the target's name everywhere, then under its own.
    for name in [format!("{target}-{name}"), name.to_owned()] {
        for dir in dirs {
            let candidate = format!("{dir}/{name}");
            if candidate == answer {
                loader.enter_program(walker, &answer)?;
                return Ok(());
            }
            walker.look(&candidate)?;
        }
        if let Some((dir, found)) = find_in_path(driver, walker, &name)? {
            if !path.contains(&dir) {
                path.push(dir);
            }
            loader.enter_program(walker, &found)?;
            return Ok(());
        }
    }
    Ok(())
}

/// Watches the places where a configuration file would be read if it appeared.
fn watch_configuration(driver: &Driver<'_>, walker: &mut Walker<'_>, installed: &str, target: &str) -> Result<(), ToolchainError> {
    let own = driver.physical.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let named = driver.name.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let base = driver.name.rsplit('/').next().unwrap_or_default();
    let mut names = vec![format!("{base}.cfg"), format!("{target}.cfg")];
    for mode in ["clang", "clang++", "clang-cpp", "flang"] {
        names.push(format!("{mode}.cfg"));
        names.push(format!("{target}-{mode}.cfg"));
    }
    // `x86_64-linux-gnu-clang-14`: every prefix of the name up to a dash may name a file.
    for (at, _) in base.match_indices('-') {
        names.push(format!("{}.cfg", &base[..at]));
    }
    for dir in [installed, own, named, "/etc/clang"] {
        for name in &names {
            walker.look(&format!("{dir}/{name}"))?;
        }
    }
    Ok(())
}

/// Enters what clang looks at in the gcc installations it found, and watches that no other appears.
fn enter_gcc_installations(walker: &mut Walker<'_>, verbose: &str, installed: &str) -> Result<(), ToolchainError> {
    for line in verbose.lines() {
        let Some(dir) = line.strip_prefix("Found candidate GCC installation: ") else { continue };
        let dir = dir.trim();
        walker.enter(&format!("{dir}/crtbegin.o"))?;
        // Where a C++ library of its own would come before the system's.
        walker.look(&format!("{dir}/include/c++"))?;
        // Multilib directories: `32`, `x32`, `64`; each by its own start file.
        for name in walker.list(dir)? {
            if !walker.look(&format!("{dir}/{name}/crtbegin.o"))?.is_absent() {
                walker.enter(&format!("{dir}/{name}/crtbegin.o"))?;
            }
        }
    }
    let up = format!("{installed}/..");
    for prefix in [up.as_str(), "/usr"] {
        for gcc in GCC_DIRS {
            let dir = format!("{prefix}/{gcc}");
            for triple in walker.list(&dir)? {
                walker.list(&format!("{dir}/{triple}"))?;
            }
        }
    }
    walker.list("/opt/rh")?;
    walker.enter_tree("/etc/env.d/gcc", 1)
}

/// Enters the resource directory as a place, and the lists in it that sanitizers read by themselves.
fn enter_resources(driver: &Driver<'_>, walker: &mut Walker<'_>) -> Result<(), ToolchainError> {
    let resources = driver.ask_line("-print-resource-dir")?;
    walker.enter(&format!("{resources}/include"))?;
    walker.enter_tree(&format!("{resources}/share"), 1)
}
