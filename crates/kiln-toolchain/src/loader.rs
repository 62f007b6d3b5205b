//! Enters a program with its loader and every shared library, found as the loader would find them. Executes nothing but the
//! loader itself, to ask for its directories.

use crate::ToolchainError;
use crate::elf::{self, Elf, ElfKind};
use crate::ldcache::LdCache;
use crate::run::{QUESTION_TIME_MAX, Question};
use crate::walk::{Place, Walker};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Subdirectories that loaders before glibc 2.37 look into first, for each processor.
const LEGACY_SUBDIRS: [&str; 4] = ["tls", "haswell", "xeon_phi", "avx512_1"];

/// Directories a loader searches that cannot be asked (`--list-diagnostics` is there since glibc 2.33).
const USUAL_DIRS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

const LD_CACHE: &str = "/etc/ld.so.cache";
const LD_PRELOAD: &str = "/etc/ld.so.preload";

/// Finds libraries; remembers what it learned of each loader.
pub(crate) struct Loader<'a> {
    driver: &'a Path,
    cache: LdCache,
    dirs: BTreeMap<String, Vec<String>>,
    done: BTreeSet<String>,
    /// Whether some library is found through the cache alone, so that it has to be in the tree.
    needs_cache: bool,
}

/// A loaded object: where it was found, as spelled, and the `DT_RPATH` directories its dependencies inherit.
struct Loaded {
    elf: Elf,
    origin: String,
    inherited: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(driver: &'a Path, walker: &mut Walker<'_>) -> Result<Loader<'a>, ToolchainError> {
        let cache = match walker.watch_file(LD_CACHE)? {
            Place::File(path) => {
                let bytes = std::fs::read(&path).map_err(|source| ToolchainError::Io { path: path.into(), source })?;
                LdCache::parse(&bytes)
            }
            _ => LdCache::default(),
        };
        Ok(Loader { driver, cache, dirs: BTreeMap::new(), done: BTreeSet::new(), needs_cache: false })
    }

    /// Enters the program at `path` with all it loads; its physical path, or nothing when it is absent.
    pub(crate) fn enter_program(&mut self, walker: &mut Walker<'_>, path: &str) -> Result<Option<String>, ToolchainError> {
        let Some(physical) = walker.enter(path)?.file() else { return Ok(None) };
        if !self.done.insert(physical.clone()) {
            return Ok(Some(physical));
        }
        let Some(elf) = read(&physical)? else {
            return Err(self.unmodelled(format!("{path} is not an ELF program")));
        };
        if let Some(interpreter) = elf.interpreter.clone() {
            if walker.enter(&interpreter)?.is_absent() {
                return Err(self.unmodelled(format!("{path} needs {interpreter}, which is absent")));
            }
            self.learn_dirs(&interpreter, walker)?;
            self.enter_libraries(walker, &physical, elf, &interpreter)?;
        }
        Ok(Some(physical))
    }

    /// Enters what every program of this machine loads: the preload list, and the cache when it decided anything.
    pub(crate) fn finish(&mut self, walker: &mut Walker<'_>) -> Result<(), ToolchainError> {
        if let Some(path) = walker.enter(LD_PRELOAD)?.file() {
            let text = std::fs::read_to_string(&path).map_err(|source| ToolchainError::Io { path: path.into(), source })?;
            for name in
                text.lines().map(|line| line.split('#').next().unwrap_or_default()).flat_map(|line| line.split([' ', '\t', ':']))
            {
                if name.starts_with('/') {
                    self.enter_preloaded(walker, name)?;
                } else if !name.is_empty() {
                    return Err(self.unmodelled(format!("{LD_PRELOAD} names {name} without a directory")));
                }
            }
        }
        if self.needs_cache {
            walker.enter(LD_CACHE)?;
        }
        Ok(())
    }

    fn enter_preloaded(&mut self, walker: &mut Walker<'_>, name: &str) -> Result<(), ToolchainError> {
        let Some(physical) = walker.enter(name)?.file() else { return Ok(()) };
        let Some(elf) = read(&physical)? else { return Ok(()) };
        for interpreter in self.dirs.keys().cloned().collect::<Vec<_>>() {
            self.enter_libraries(walker, name, elf.clone(), &interpreter)?;
        }
        Ok(())
    }

    fn enter_libraries(
        &mut self,
        walker: &mut Walker<'_>,
        program: &str,
        elf: Elf,
        interpreter: &str,
    ) -> Result<(), ToolchainError> {
        let kind = elf.kind;
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut queue = std::collections::VecDeque::new();
        queue.push_back(Loaded { elf, origin: parent(program), inherited: Vec::new() });
        while let Some(object) = queue.pop_front() {
            // The loader takes an object's own DT_RPATH first, then its users'; DT_RUNPATH puts all of them out of force.
            let own = expand(&object.elf.rpath, &object.origin, kind);
            let rpath: Vec<String> = match object.elf.runpath {
                Some(_) => Vec::new(),
                None => own.iter().chain(&object.inherited).cloned().collect(),
            };
            let runpath = expand(object.elf.runpath.as_deref().unwrap_or_default(), &object.origin, kind);
            for name in &object.elf.needed {
                if !names.insert(name.clone()) {
                    continue;
                }
                let dirs = rpath.iter().chain(&runpath);
                let found = self.find(walker, name, dirs, &object, interpreter)?;
                for path in found {
                    let Some(physical) = walker.enter(&path)?.file() else { continue };
                    if let Some(elf) = read(&physical)? {
                        queue.push_back(Loaded { elf, origin: parent(&path), inherited: rpath.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Every file the name can mean: the plain one last, before it those for particular processors.
    fn find<'d>(
        &mut self,
        walker: &mut Walker<'_>,
        name: &str,
        dirs: impl Iterator<Item = &'d String>,
        user: &Loaded,
        interpreter: &str,
    ) -> Result<Vec<String>, ToolchainError> {
        let kind = user.elf.kind;
        if name.contains('/') {
            return match name.starts_with('/') && fits(walker, name, kind)? {
                true => Ok(vec![name.to_owned()]),
                false => Err(self.unmodelled(format!("the library {name} is not found"))),
            };
        }
        if let Some(found) = in_dirs(walker, name, dirs, kind)? {
            return Ok(found);
        }
        if user.elf.no_default_dirs {
            return Err(self.unmodelled(format!("the library {name} is not found")));
        }
        let mut cached = Vec::new();
        for path in self.cache.files(name).to_vec() {
            if fits(walker, &path, kind)? {
                cached.push(path);
            }
        }
        let plain = in_dirs(walker, name, self.dirs.get(interpreter).into_iter().flatten(), kind)?;
        match (plain, cached.is_empty()) {
            (Some(plain), true) => Ok(plain),
            (Some(plain), false) if same_files(walker, &plain, &cached)? => Ok(plain),
            (None, true) if interpreter.ends_with(name) => Ok(Vec::new()),
            (None, true) => Err(self.unmodelled(format!("the library {name} is not found"))),
            (_, false) => {
                self.needs_cache = true;
                Ok(cached)
            }
        }
    }

    fn learn_dirs(&mut self, interpreter: &str, walker: &mut Walker<'_>) -> Result<(), ToolchainError> {
        if self.dirs.contains_key(interpreter) {
            return Ok(());
        }
        let dirs = match interpreter.rsplit('/').next().and_then(|name| name.strip_prefix("ld-musl-")) {
            Some(rest) => musl_dirs(walker, rest.trim_end_matches(".so.1"))?,
            None => glibc_dirs(Path::new(interpreter)),
        };
        self.dirs.insert(interpreter.to_owned(), dirs);
        Ok(())
    }

    fn unmodelled(&self, why: String) -> ToolchainError {
        ToolchainError::Unmodelled { driver: self.driver.to_owned(), why }
    }
}

fn read(path: &str) -> Result<Option<Elf>, ToolchainError> {
    elf::read(Path::new(path)).map_err(|source| ToolchainError::Io { path: path.into(), source })
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir }).to_owned()
}

/// Replaces `$ORIGIN` and its kin; directories that are not absolute then depend on the working directory and are left out.
fn expand(dirs: &[String], origin: &str, kind: ElfKind) -> Vec<String> {
    let lib = if kind.is_64 { "lib64" } else { "lib" };
    dirs.iter()
        .flat_map(|dir| {
            let with = |lib: &str| {
                let mut dir = dir.clone();
                for (name, value) in [("ORIGIN", origin), ("LIB", lib), ("PLATFORM", kind.arch())] {
                    dir = dir.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
                }
                dir
            };
            // Debian's loader takes $LIB for lib/x86_64-linux-gnu; both forms are tried, what is absent is only watched.
            match dir.contains("LIB") {
                true => vec![with(lib), with(&format!("lib/{}-linux-gnu", kind.arch()))],
                false => vec![with(lib)],
            }
        })
        .filter(|dir| dir.starts_with('/'))
        .collect()
}

/// Whether there is a library of this kind; the loader passes over others.
fn fits(walker: &mut Walker<'_>, path: &str, kind: ElfKind) -> Result<bool, ToolchainError> {
    let Some(physical) = walker.look(path)?.file() else { return Ok(false) };
    Ok(read(&physical)?.is_some_and(|elf| elf.kind == kind))
}

/// The first directory's file that fits, with its variants for particular processors before it.
fn in_dirs<'d>(
    walker: &mut Walker<'_>,
    name: &str,
    dirs: impl Iterator<Item = &'d String>,
    kind: ElfKind,
) -> Result<Option<Vec<String>>, ToolchainError> {
    let mut found = Vec::new();
    for dir in dirs {
        let dir = dir.trim_end_matches('/');
        for subdir in capability_dirs(walker, dir, kind)? {
            let path = format!("{subdir}/{name}");
            if fits(walker, &path, kind)? {
                found.push(path);
            }
        }
        let path = format!("{dir}/{name}");
        if fits(walker, &path, kind)? {
            found.push(path);
            return Ok(Some(found));
        }
    }
    Ok(if found.is_empty() { None } else { Some(found) })
}

/// Subdirectories that exist and that some processor's loader looks into before `dir` itself.
fn capability_dirs(walker: &mut Walker<'_>, dir: &str, kind: ElfKind) -> Result<Vec<String>, ToolchainError> {
    let mut found = Vec::new();
    for name in walker.list(&format!("{dir}/glibc-hwcaps"))? {
        found.push(format!("{dir}/glibc-hwcaps/{name}"));
    }
    for name in LEGACY_SUBDIRS.into_iter().chain([kind.arch()]) {
        let subdir = format!("{dir}/{name}");
        if !walker.look(&subdir)?.is_absent() {
            found.push(format!("{subdir}/{}", kind.arch()));
            found.push(subdir);
        }
    }
    Ok(found)
}

fn same_files(walker: &mut Walker<'_>, one: &[String], two: &[String]) -> Result<bool, ToolchainError> {
    let mut physical = |paths: &[String]| -> Result<BTreeSet<Option<String>>, ToolchainError> {
        paths.iter().map(|path| walker.look(path).map(Place::file)).collect()
    };
    Ok(physical(one)? == physical(two)?)
}

fn glibc_dirs(interpreter: &Path) -> Vec<String> {
    let args = ["--list-diagnostics".to_owned()];
    let question =
        Question { driver: interpreter, args: &args, env: &[], cwd: Path::new("/"), input: &[], time_max: QUESTION_TIME_MAX };
    let text = question.ask_well().map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).unwrap_or_default();
    let dirs: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("path.system_dirs["))
        .filter_map(|line| line.split('"').nth(1))
        .map(|dir| dir.trim_end_matches('/').to_owned())
        .collect();
    if dirs.is_empty() { USUAL_DIRS.map(str::to_owned).to_vec() } else { dirs }
}

fn musl_dirs(walker: &mut Walker<'_>, arch: &str) -> Result<Vec<String>, ToolchainError> {
    match walker.enter(&format!("/etc/ld-musl-{arch}.path"))?.file() {
        None => Ok(["/lib", "/usr/local/lib", "/usr/lib"].map(str::to_owned).to_vec()),
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|source| ToolchainError::Io { path: path.into(), source })?;
            Ok(text.split([':', '\n']).filter(|dir| dir.starts_with('/')).map(str::to_owned).collect())
        }
    }
}

#[cfg(test)]
mod tests;
