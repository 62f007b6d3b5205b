//! The files of a gcc driver: its programs, specs, and what they load. Knows gcc's rules for finding them, no clang.

use crate::identify::{Driver, line_after, search_dirs};
use crate::loader::Loader;
use crate::toolchain::Identity;
use crate::walk::{Place, Walker};
use crate::{ToolchainError, locale};
use kiln_cmdline::Family;

/// Programs that a compile executes. `lto1`, `collect2` and `ld` are not among them: they run in links only, `-flto -c` included.
const PROGRAMS: [(&str, Need); 7] = [
    ("cc1", Need::One),
    ("cc1plus", Need::One),
    ("cc1obj", Need::Maybe),
    ("cc1objplus", Need::Maybe),
    ("as", Need::Must),
    // Extracts the `.dwo` of split debug information.
    ("objcopy", Need::Maybe),
    // Only looked for, but `-v` prints where it is.
    ("lto-wrapper", Need::Maybe),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    /// One of those that need one has to be there.
    One,
    Maybe,
}

/// Enters the driver and its files.
pub(crate) fn enter(driver: &Driver<'_>, walker: &mut Walker<'_>) -> Result<Identity, ToolchainError> {
    let verbose = driver.ask(&["-v"])?;
    let verbose = String::from_utf8_lossy(&verbose.stderr).into_owned();
    let version = line_after(&verbose, "gcc version ").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
    let target = line_after(&verbose, "Target: ").unwrap_or_default().to_owned();
    if !version.starts_with(|c: char| c.is_ascii_digit()) || target.is_empty() {
        return Err(driver.garbage("-v", "its answer names no gcc version and target"));
    }
    // A wrapper that starts the real driver under its own name is betrayed by it.
    match line_after(&verbose, "COLLECT_GCC=") {
        Some(name) if name == driver.name => {}
        other => return Err(driver.not_a_compiler(format!("it starts another driver, {}", other.unwrap_or("unnamed")))),
    }
    let dirs = driver.ask(&["-print-search-dirs"])?;
    let dirs = String::from_utf8_lossy(&dirs.stdout).into_owned();
    let program_dirs = search_dirs(&dirs, "programs:");
    if program_dirs.is_empty() {
        return Err(driver.garbage("-print-search-dirs", "its answer names no directory"));
    }

    let mut loader = Loader::new(driver.path, walker)?;
    loader.enter_program(walker, driver.name)?;
    let mut search = Search { driver, target: &target, program_dirs, path: Vec::new() };
    let mut compilers = 0;
    for (program, need) in PROGRAMS {
        let found = search.enter(walker, &mut loader, program)?;
        compilers += usize::from(found && need == Need::One);
        if !found && need == Need::Must {
            return Err(driver.unmodelled(format!("it has no {program}")));
        }
    }
    if compilers == 0 {
        return Err(driver.unmodelled("it has neither cc1 nor cc1plus"));
    }
    enter_specs(driver, walker, &verbose, &dirs)?;
    loader.finish(walker)?;
    let links = driver.ask(&["-###", "/dev/null"]).map(|answer| String::from_utf8_lossy(&answer.stderr).into_owned());
    let path = search.path;
    let cxx = links.is_ok_and(|text| text.contains("-lstdc++")) || driver.physical.contains("++");
    let prefix = prefix_of(&driver.physical);
    Ok(Identity { family: Family::Gcc, cxx, version, target, prefix, path })
}

/// `/opt/gcc-13` of `/opt/gcc-13/bin/gcc`.
pub(crate) fn prefix_of(program: &str) -> String {
    program.rsplitn(3, '/').nth(2).unwrap_or_default().to_owned()
}

struct Search<'a> {
    driver: &'a Driver<'a>,
    target: &'a str,
    program_dirs: Vec<String>,
    path: Vec<String>,
}

impl Search<'_> {
    /// Enters the program the driver would execute under this name, and watches every place that comes before it.
    fn enter(&mut self, walker: &mut Walker<'_>, loader: &mut Loader<'_>, name: &str) -> Result<bool, ToolchainError> {
        let answer = self.driver.ask_line(&format!("-print-prog-name={name}"))?;
        // Debian's gcc looks for `x86_64-linux-gnu-as` as well, in every directory first.
        let prefixed = format!("{}-{name}", self.target);
        for name in [prefixed.as_str(), name] {
            for dir in &self.program_dirs {
                let candidate = format!("{dir}/{name}");
                if candidate == answer {
                    return Ok(loader.enter_program(walker, &answer)?.is_some());
                }
                walker.look(&candidate)?;
            }
        }
        if answer.contains('/') {
            return Ok(loader.enter_program(walker, &answer)?.is_some());
        }
        // gcc's own programs are never taken from PATH: `cc1` there would be run, but no installation has it so.
        let Some((dir, path)) = find_in_path(self.driver, walker, name)? else { return Ok(false) };
        if !self.path.contains(&dir) {
            self.path.push(dir);
        }
        Ok(loader.enter_program(walker, &path)?.is_some())
    }
}

/// The first executable file of this name along `PATH`: its directory and itself.
pub(crate) fn find_in_path(
    driver: &Driver<'_>,
    walker: &mut Walker<'_>,
    name: &str,
) -> Result<Option<(String, String)>, ToolchainError> {
    for dir in driver.env.path.split(':') {
        if !dir.starts_with('/') {
            return Err(driver.unmodelled(format!("PATH holds {dir:?}, relative to the working directory, before {name}")));
        }
        let path = format!("{}/{name}", dir.trim_end_matches('/'));
        if let Some(physical) = walker.look(&path)?.file()
            && is_executable(&physical)
        {
            return Ok(Some((dir.to_owned(), path)));
        }
    }
    Ok(None)
}

fn is_executable(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Depth of [`DEVICE_SPECS`] below a directory of specs: files alone.
const DEVICE_SPECS_DEPTH: usize = 1;

/// Where gcc for controllers (AVR) has a specs file for each device; the driver's own specs make `-specs=` of `-mmcu=`.
const DEVICE_SPECS: &str = "device-specs";

/// Enters specs files that the driver reads by itself, and watches the places where one would be read if it appeared.
fn enter_specs(driver: &Driver<'_>, walker: &mut Walker<'_>, verbose: &str, dirs: &str) -> Result<(), ToolchainError> {
    for line in verbose.lines() {
        let Some(path) = line.strip_prefix("Reading specs from ") else { continue };
        // gcc itself refuses `%include` in such a file: it is all there is to read.
        if walker.enter(path.trim())?.file().is_none() {
            return Err(driver.unmodelled(format!("it reads specs from {path}")));
        }
    }
    for kind in ["install:", "libraries:", "programs:"] {
        let line = line_after(dirs, kind).unwrap_or_default();
        for dir in line.trim_start_matches('=').split(':').filter(|dir| dir.starts_with('/')) {
            let dir = dir.trim_end_matches('/');
            walker.look(&format!("{dir}/specs"))?;
            let devices = format!("{dir}/{DEVICE_SPECS}");
            if matches!(walker.look(&devices)?, Place::Directory(_)) {
                walker.enter_tree(&devices, DEVICE_SPECS_DEPTH)?;
            }
        }
    }
    Ok(())
}

/// Enters the locale's files; called last, when libc is known.
pub(crate) fn enter_locale(driver: &Driver<'_>, walker: &mut Walker<'_>, prefix: &str) -> Result<(), ToolchainError> {
    let converts = driver.env.args.iter().any(|arg| arg.trim_start_matches('-').contains("-charset="));
    let libc = walker.paths().find_map(|path| locale::libc_dir(std::iter::once(path)).map(str::to_owned));
    locale::enter(walker, driver.env, prefix, libc.as_deref(), converts)
}
