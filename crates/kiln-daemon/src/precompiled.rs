//! Precompiled headers and where they come from.
//!
//! A compiler that reads one in place of a header does not look at the header: what the header says now may be another thing,
//! and what the unit goes on to include with it. So a precompiled header counts only if this daemon, or one before it, had it
//! made, and if the command that made it would be the same action now: then it says what its header says.

use kiln_cas::{Digest, Hasher};
use kiln_cmdline::Family;
use kiln_frame::{Compile, Decoder, Request};
use kiln_scan::{Closure, ContentId, File, FileId, Reason};
use rustc_hash::{FxHashMap, FxHashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::action::Analysed;
use crate::analyse::{Analyst, Refused, absolute};
use crate::files::Epoch;
use crate::reply::{Contents, UnitResult};
use crate::root::{Added, Root};

/// Most precompiled headers remembered, in memory and on disk: a target of a build has one, and a command some 20 KiB, so 5 MiB.
const KNOWN_MAX: usize = 256;

/// Largest file read back: a request is one frame.
const FILE_MAX: u64 = kiln_frame::FRAME_BODY_MAX as u64 + 1024;

/// How one was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    request: Compile,
    action: Digest,
}

impl Made {
    fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = format!("{}\n", self.action).into_bytes();
        Request::Compile(Box::new(self.request.clone())).encode(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Made> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let action = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
        let mut decoder = Decoder::new();
        decoder.push(&bytes[end + 1..], Vec::new()).ok()?;
        match Request::from_frame(&decoder.next_frame().ok()??).ok()? {
            Request::Compile(request) => Some(Made { request: *request, action }),
            _ => None,
        }
    }
}

/// All that were made here, by the digest of their content.
#[derive(Debug)]
pub(crate) struct Precompiled {
    dir: PathBuf,
    known: Mutex<FxHashMap<Digest, Arc<Made>>>,
}

impl Precompiled {
    /// Those whose commands are kept in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Precompiled {
        Precompiled { dir, known: Mutex::default() }
    }

    /// Notes that `request`, whose action was `action`, made `content`.
    pub(crate) fn note(&self, content: Digest, request: Compile, action: Digest) {
        let made = Made { request, action };
        if let Err(error) = self.write(&content, &made) {
            tracing::info!("the origin of a precompiled header is not kept: {error}");
        }
        self.remember(content, Arc::new(made));
    }

    fn remember(&self, content: Digest, made: Arc<Made>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(content, made);
    }

    fn find(&self, content: &Digest) -> Option<Arc<Made>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(content).cloned();
        known.or_else(|| {
            let path = self.dir.join(content.hex());
            let small = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_MAX);
            let bytes = small.then(|| std::fs::read(&path).ok()).flatten()?;
            let made = Arc::new(Made::decode(&bytes)?);
            self.remember(*content, Arc::clone(&made));
            Some(made)
        })
    }

    fn write(&self, content: &Digest, made: &Made) -> std::io::Result<()> {
        let Some(bytes) = made.encode() else { return Ok(()) };
        std::fs::create_dir_all(&self.dir)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.persist(self.dir.join(content.hex())).map_err(|error| error.error)?;
        forget_oldest(&self.dir)
    }
}

fn forget_oldest(dir: &Path) -> std::io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(KNOWN_MAX)) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// The digest of the precompiled header that a unit made.
pub(crate) fn content_of(result: &UnitResult, path: &str) -> Option<Digest> {
    let file = result.files.iter().find(|file| file.path == path)?;
    match &file.contents {
        Contents::Bytes(bytes) => Some(Digest::of(bytes)),
        Contents::File(file, len) => {
            let mut rest = file.try_clone().ok()?.take(*len);
            std::io::Seek::rewind(rest.get_mut()).ok()?;
            let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 << 10]);
            loop {
                match rest.read(&mut buffer).ok()? {
                    0 => return Some(hasher.finish()),
                    count => hasher.update(&buffer[..count]),
                }
            }
        }
    }
}

/// Enters the precompiled header at `path` and all that the compiler looks at to see whether it fits; how it was made.
pub(crate) fn enter(analyst: &Analyst<'_>, path: &str, epoch: Epoch, root: &mut Root<'_>) -> Result<Analysed, Refused> {
    let refuse = |why: &str| Refused::new("precompiled-header", format!("{path}: {why}"));
    let Added::File(file) = root.add(path)? else { return Err(refuse("it is not there")) };
    let content = root.digest_of(file).ok_or_else(|| refuse("it is not there"))?;
    let made = analyst.precompiled.find(&content).ok_or_else(|| refuse("it was not made through kiln"))?;
    let now = analyst.once_more(&made.request, epoch)?;
    if now.action_digest != made.action {
        return Err(refuse("its header has changed since it was made"));
    }
    if now.toolchain.family == Family::Clang {
        root.add_closure(&now.closure, &format!("/{}", now.command.working_directory))?;
        keep_times(&now.unit, root);
    }
    Ok(now)
}

/// clang writes the times of the files into a precompiled header and compares, unless it is told not to.
pub(crate) fn keep_times(unit: &kiln_cmdline::Invocation, root: &mut Root<'_>) {
    if !unit.expanded.iter().any(|argument| argument == "-fno-pch-timestamp") {
        root.keep_times();
    }
}

/// Enters those that the compiler may find beside headers, and adds how they were made.
pub(crate) fn enter_found(
    analyst: &Analyst<'_>,
    closure: &Closure,
    cwd: &str,
    epoch: Epoch,
    root: &mut Root<'_>,
    made: &mut Vec<Analysed>,
) -> Result<(), Refused> {
    for file in closure.files.iter().filter(|file| file.reason == Reason::Precompiled) {
        made.push(enter(analyst, &absolute(cwd, &file.path), epoch, root)?);
    }
    Ok(())
}

/// Whether all that stands in precompiled headers was read for the unit. Along other directories it would find other headers than
/// those it was made of, and what is defined in these decides what the compiler reads next.
///
/// A source that says nothing to the preprocessor (`is_silent`) need not be read: CMake makes them of one that holds a comment, and
/// names the headers by `-include`.
pub(crate) fn check_read(made: &[Analysed], closure: &Closure, is_silent: impl Fn(ContentId) -> bool) -> Result<(), Refused> {
    if made.is_empty() {
        return Ok(());
    }
    let read: FxHashSet<FileId> = closure.files.iter().map(|file| file.file).collect();
    let silent = |file: &File| file.reason == Reason::Source && file.content.is_some_and(&is_silent);
    match made.iter().flat_map(|made| &made.closure.files).find(|file| !read.contains(&file.file) && !silent(file)) {
        None => Ok(()),
        Some(other) => Err(Refused::new("precompiled-header", format!("it was made of {}", other.path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_found_by_the_next_daemon_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let request = Compile {
            compiler: b"/usr/bin/gcc".to_vec(),
            args: vec![b"a.h".to_vec()],
            cwd: b"/w".to_vec(),
            env: vec![b"A=b".to_vec()],
            terminal: None,
            under_slot: None,
            depth: 0,
            stdin: None,
        };
        let content = |number: usize| Digest::of(&number.to_le_bytes());
        let (first, action) = (Precompiled::new(dir.path().join("p")), Digest::of(b"action"));
        assert!(first.find(&content(0)).is_none());
        for number in 0..KNOWN_MAX + 3 {
            first.note(content(number), request.clone(), action);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("p")).unwrap().count(), KNOWN_MAX);
        let next = Precompiled::new(dir.path().join("p"));
        let made = next.find(&content(KNOWN_MAX + 2)).unwrap();
        assert_eq!((&made.request, made.action), (&request, action));
        std::fs::write(dir.path().join("p").join(content(1000).hex()), b"junk\njunk").unwrap();
        assert!(next.find(&content(1000)).is_none());
    }
}
