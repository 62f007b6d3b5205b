//! Commands of several sources: what only the driver of the whole command can say, and the link that is left of one.
//!
//! The objects are put where the user's own driver would have put them, under names like its own, and go when the process
//! that links has ended; what the linker says of them, or writes into a map, differs from a plain run no more than two plain
//! runs differ.

use kiln_cmdline::{Invocation, Link, LinkWord};
use kiln_frame::{INLINE_TOTAL_MAX, Reply, Rest, RunLocally};
use std::ffi::OsStr;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::daemon::Daemon;
use crate::reply::{Contents, UnitResult};
use crate::unit::{Answer, Caller, Unfinished, run_plainly};

/// Where compilers look for a directory of temporary files, in their order.
const TEMPORARY: [&[u8]; 3] = [b"TMPDIR=", b"TMP=", b"TEMP="];

/// The directories in which the compiler would try to put temporary files, the first one first.
pub(crate) fn temporary_dirs(env: &[Vec<u8>]) -> Vec<PathBuf> {
    let mut named = [None; TEMPORARY.len()];
    for variable in env.iter().filter(|variable| variable.starts_with(b"T")) {
        for (name, value) in TEMPORARY.iter().zip(&mut named) {
            *value = value.or(variable.strip_prefix(*name));
        }
    }
    named.into_iter().flatten().map(|value| PathBuf::from(OsStr::from_bytes(value))).collect()
}

/// The first of them that can be used.
fn temporary_dir(dirs: &[PathBuf]) -> &Path {
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let usable = |path: &&PathBuf| path.is_absolute() && path.is_dir() && may_write(path);
    dirs.iter().find(usable).map_or(Path::new("/tmp"), PathBuf::as_path)
}

/// Whether a line comes from the driver itself: `gcc: warning: ...`. It would say so once for the whole command. The inner
/// programs' own names are not among these; a wrong yes costs a compile here.
pub(crate) fn driver_speaks(stderr: &[u8]) -> bool {
    const INNER: [&[u8]; 8] = [b"cc1", b"cc1plus", b"cc1obj", b"cc1objplus", b"lto1", b"as", b"objcopy", b"lto-wrapper"];
    const KINDS: [&[u8]; 4] = [b"warning: ", b"error: ", b"fatal error: ", b"note: "];
    stderr.split(|byte| *byte == b'\n').any(|line| {
        let Some(at) = line.windows(2).position(|pair| pair == b": ") else { return false };
        let (name, rest) = (&line[..at], &line[at + 2..]);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-_.".contains(byte);
        !name.is_empty() && name.iter().all(plain) && !INNER.contains(&name) && KINDS.iter().any(|kind| rest.starts_with(kind))
    })
}

/// Objects that stand where a driver's would.
#[derive(Default)]
struct Objects(Vec<PathBuf>);

impl Objects {
    /// Puts down an object of its own name.
    fn put(&mut self, dir: &Path, prefix: &str, contents: Contents) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(prefix).suffix(".o").rand_bytes(6).tempfile_in(dir)?;
        match contents {
            Contents::Bytes(bytes) => file.write_all(&bytes)?,
            Contents::File(mut from, len) => {
                from.rewind()?;
                if io::copy(&mut from.take(len), &mut file)? != len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let (_, path) = file.keep().map_err(|error| error.error)?;
        self.0.push(path);
        Ok(())
    }

    fn remove(&self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!("{}: {error}", path.display());
            }
        }
    }
}

/// What is left of a command whose compiles have succeeded, for the wrapper to run.
pub(crate) async fn link(
    daemon: &Arc<Daemon>,
    link: &Link,
    parts: Vec<(&Invocation, UnitResult)>,
    warning: Option<String>,
    caller: &Caller,
) -> Result<Answer, Unfinished> {
    let plainly = |reason: &str| Unfinished::Plainly { reason: reason.to_owned() };
    let Some(pid) = caller.pid else { return Err(plainly("no-process")) };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for (_, result) in &parts {
        stdout.extend_from_slice(&result.stdout);
        stderr.extend_from_slice(&result.stderr);
    }
    if stdout.len() + stderr.len() > INLINE_TOTAL_MAX {
        return Err(plainly("too-much-to-say"));
    }
    let made = tokio::task::block_in_place(|| put_down(parts, caller));
    let objects = made.map_err(|error| {
        tracing::info!("objects of a link: {error}");
        plainly("temporary-files")
    })?;
    let word = |word: &LinkWord| match word {
        LinkWord::Plain(word) => word.clone().into_bytes(),
        LinkWord::Object(unit) => objects.0[*unit].as_os_str().as_bytes().to_vec(),
    };
    let args = link.words.iter().map(word).collect();
    let slot = run_plainly(daemon, "link", true, caller.under_slot.as_deref(), Some(pid)).await;
    // Watched apart from the slot, which a wrapper below another may not need.
    let objects = Arc::new(objects);
    let held = Arc::clone(&objects);
    if daemon.holders.hold_then(pid, (), move || held.remove()).is_none() {
        objects.remove();
        return Err(plainly("no-process"));
    }
    Ok(Answer::plain(Reply::RunLocally(RunLocally { warning, rest: Some(Rest { args, stdout, stderr }), ..slot })))
}

fn put_down(parts: Vec<(&Invocation, UnitResult)>, caller: &Caller) -> io::Result<Objects> {
    let is_clang =
        caller.compiler.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.windows(5).any(|part| part == b"clang"));
    let (dir, mut objects) = (temporary_dir(&caller.temporary), Objects::default());
    for (unit, result) in parts {
        let main = &unit.main_output().path;
        let prefix = if is_clang { format!("{}-", main.trim_end_matches(".o")) } else { "cc".to_owned() };
        let put = match result.files.into_iter().find(|file| file.path == *main) {
            Some(file) => objects.put(dir, &prefix, file.contents),
            None => Err(io::Error::new(io::ErrorKind::NotFound, main.clone())),
        };
        if let Err(error) = put {
            objects.remove();
            return Err(error);
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_own_words_are_told_from_the_compilers() {
        for line in ["gcc: warning: x", "clang-19: error: y", "clang: warning: argument unused", "x86_64-linux-gnu-g++: note: z"] {
            assert!(driver_speaks(format!("a.c:1:2: error: e\n{line}\n").as_bytes()), "{line}");
        }
        for line in ["a.c:1:2: warning: x", "cc1: warning: all", "<command-line>: warning: y", "In file included", "", "x: y"] {
            assert!(!driver_speaks(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn temporary_files_go_where_the_compiler_puts_them() {
        let dir = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &Path| format!("{name}={}", value.display()).into_bytes();
        let none = dir.path().join("none");
        let dirs = temporary_dirs(&[b"T=1".to_vec(), set("TEMP", &none), set("TMP", dir.path()), set("TMPDIR", &none)]);
        assert_eq!(dirs, [none.as_path(), dir.path(), none.as_path()]);
        assert_eq!(temporary_dir(&dirs), dir.path());
        assert_eq!(temporary_dir(&temporary_dirs(&[set("TMPDIR", Path::new("relative"))])), Path::new("/tmp"));
    }
}
