//! Finds the real command behind a masquerade link. Knows directories and files; knows no daemon.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_frame::DEPTH_MAX;
use kiln_frame::FileId;
use kiln_frame::sys;

use crate::mode::base;

/// Programs that stand in for compilers as `kiln` does. A link to one of them later in PATH is not the real compiler.
const OTHER_WRAPPERS: [&str; 7] = ["ccache", "sccache", "distcc", "icecc", "colorgcc", "buildcache", "kiln"];

/// Where PATH is unset: the C library's own default (`_CS_PATH`).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A command to run instead of this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its absolute path as PATH or the caller spells it, links not followed.
    pub(crate) path: Vec<u8>,
    /// PATH without the directories in which the name leads back here; `None` where there was none.
    pub(crate) new_path: Option<Vec<u8>>,
}

/// Where this search takes place.
pub(crate) struct Search<'a> {
    /// PATH, if set.
    pub(crate) path: Option<&'a [u8]>,
    /// Working directory.
    pub(crate) cwd: &'a Path,
    /// This program.
    pub(crate) own: Option<FileId>,
    /// Called by a link, or by a path that is one: then what stands in PATH before the first such link has had its turn (a
    /// counter, a filter, another wrapper), and only where there is nothing better behind is it what is meant.
    pub(crate) by_link: bool,
    /// Wrappers above this one: from [`DEPTH_MAX`] on, scripts are passed over, since one of them leads back here.
    pub(crate) depth: u32,
    /// Scripts above this process, as [`SCRIPT`](crate::environment::name::SCRIPT) names them: passed over as well.
    pub(crate) scripts: &'a [u8],
}

/// How a file in PATH may be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Not at all: missing, not executable.
    Nothing,
    /// This program.
    Own,
    /// Another wrapper, or a script where scripts lead back here: only if there is nothing better.
    LastResort,
    /// The real one.
    Real,
}

impl Search<'_> {
    /// Finds `name`: a path is taken as it is, unless it leads back here; then, as for a bare name, PATH is searched.
    ///
    /// # Errors
    /// A line that says what is missing.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Found, String> {
        let shown = String::from_utf8_lossy(name).into_owned();
        let as_given = name.contains(&b'/').then(|| self.absolute(b"", name));
        let leads_back = as_given.as_ref().is_some_and(|file| self.worth(file) == Worth::Own);
        let by_link = self.by_link || leads_back;
        let (mut front, mut behind) = ((Worth::Nothing, Vec::new()), (Worth::Nothing, Vec::new()));
        let (mut kept, mut removed) = (Vec::new(), false);
        let wanted = base(name);
        for dir in self.path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':') {
            let file = self.absolute(dir, wanted);
            let best = if by_link && !removed { &mut front } else { &mut behind };
            // Once the real one is found, the rest only matters for what leads back here.
            let worth = if best.0 == Worth::Real { self.own_or_nothing(&file) } else { self.worth(&file) };
            if worth == Worth::Own {
                removed = true;
                continue;
            }
            kept.push(dir);
            if worth > best.0 {
                *best = (worth, file);
            }
        }
        let new_path = removed.then(|| kept.join(&b':'));
        if let Some(path) = as_given.filter(|_| !leads_back) {
            return Ok(Found { path, new_path });
        }
        let best = if front.0 > behind.0 { front } else { behind };
        if best.0 > Worth::Own && (self.depth < DEPTH_MAX || best.0 == Worth::Real) {
            return Ok(Found { path: best.1, new_path });
        }
        if self.depth >= DEPTH_MAX {
            return Err(format!("{shown}: leads back to kiln, {DEPTH_MAX} times over"));
        }
        Err(format!("{shown}: no such command behind kiln in PATH"))
    }

    /// `dir/name` from the root; an empty `dir` is the working directory.
    fn absolute(&self, dir: &[u8], name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(dir.len() + name.len() + 1);
        let is_absolute = dir.first().or(name.first()) == Some(&b'/');
        if !is_absolute {
            path.extend_from_slice(self.cwd.as_os_str().as_bytes());
        }
        for part in [dir, name] {
            let part = part.strip_prefix(b"./").unwrap_or(part);
            if part.is_empty() || part == b"." {
                continue;
            }
            if path.last().is_some_and(|last| *last != b'/') && part[0] != b'/' {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        path
    }

    fn own_or_nothing(&self, file: &[u8]) -> Worth {
        let Ok(meta) = fs::metadata(OsStr::from_bytes(file)) else { return Worth::Nothing };
        if self.own == Some(FileId { dev: meta.dev(), ino: meta.ino() }) { Worth::Own } else { Worth::Nothing }
    }

    fn worth(&self, file: &[u8]) -> Worth {
        let path = Path::new(OsStr::from_bytes(file));
        let Ok(meta) = fs::metadata(path) else { return Worth::Nothing };
        if !meta.is_file() || !sys::may_execute(path) {
            return Worth::Nothing;
        }
        if self.own == Some(FileId { dev: meta.dev(), ino: meta.ino() }) {
            return Worth::Own;
        }
        let is_other = fs::read_link(path)
            .is_ok_and(|target| OTHER_WRAPPERS.iter().any(|other| base(target.as_os_str().as_bytes()) == other.as_bytes()));
        let is_above = !self.scripts.is_empty() && names_script(self.scripts, &meta);
        if is_other || is_above || (self.depth >= DEPTH_MAX && is_script(path)) { Worth::LastResort } else { Worth::Real }
    }
}

/// `scripts` and one more; `None` where `path` is no script.
pub(crate) fn with_script(scripts: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let path = Path::new(OsStr::from_bytes(path));
    let meta = fs::metadata(path).ok().filter(|_| is_script(path))?;
    Some([scripts, if scripts.is_empty() { b"" } else { b" " }, script_name(&meta).as_bytes()].concat())
}

fn names_script(scripts: &[u8], meta: &fs::Metadata) -> bool {
    let name = script_name(meta);
    scripts.split(|byte| *byte == b' ').any(|script| script == name.as_bytes())
}

fn script_name(meta: &fs::Metadata) -> String {
    format!("{}:{}", meta.dev(), meta.ino())
}

fn is_script(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic != *b"\x7fELF"
}
