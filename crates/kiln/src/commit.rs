//! Puts a finished compile in place as the compiler itself would have: every file, then its words. Knows how compilers
//! write; knows nothing of where the result comes from.
//!
//! How they write (tried with gcc 12 and clang 14, each on files of every kind):
//! - assembler and objcopy, so gcc's objects and `.dwo`: a file or link that leads to something not empty is removed and
//!   made anew, whoever may write it; anything empty is written in place;
//! - clang's main output: renamed over whatever stands there, links too, unless it may not be written;
//! - every other file (`.d`, `.s` of gcc, `.su`, `.gcno`, ...): opened and truncated, through links, keeping mode and links.
//!
//! Where nobody could tell the difference, a file is written aside and renamed, so that a full disk or a dying process
//! leaves nothing half done.

use std::ffi::CStr;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use kiln_frame::Data;
use kiln_frame::Done;
use kiln_frame::OutputFile;
use kiln_frame::sys;
use kiln_frame::sys::SignalsHeld;

use crate::mode::base;

/// Bytes of a stream handed on at a time.
const STREAM_BYTES: u64 = 64 << 10;

/// How the compiler writes a file that may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As the assembler.
    Unlink,
    /// As clang's main output.
    Rename,
    /// Everything else.
    Truncate,
}

/// What the commit must know of the command.
pub(crate) struct Target {
    is_clang: bool,
    /// The command stops at assembly text.
    is_text: bool,
    /// Largest file this process may write, bytes.
    file_size_max: u64,
}

impl Target {
    /// Reads it from the real compiler's path and the arguments.
    pub(crate) fn of(compiler: &[u8], args: &[&CStr], file_size_max: u64) -> Target {
        Target {
            is_clang: base(compiler).windows(5).any(|part| part == b"clang"),
            is_text: args.iter().any(|arg| matches!(arg.to_bytes(), b"-S" | b"--assemble")),
            file_size_max,
        }
    }

    fn manner(&self, file: &OutputFile) -> Manner {
        match (self.is_clang, file.is_main) {
            (true, true) => Manner::Rename,
            (false, true) if !self.is_text && !file.path.ends_with(b".gch") => Manner::Unlink,
            (false, false) if file.path.ends_with(b".dwo") => Manner::Unlink,
            _ => Manner::Truncate,
        }
    }
}

/// One output on its way.
struct Step<'a> {
    path: &'a Path,
    file: &'a OutputFile,
    /// The complete file under its temporary name; `None`: written in place.
    aside: Option<PathBuf>,
}

/// Writes all outputs in order and then stderr and stdout.
///
/// # Errors
/// A file or stream cannot be written, a descriptor is not what it claims, or only the compiler itself can speak as it would.
/// Nothing is left aside; files written in place may be incomplete, so the command must be run after all.
pub(crate) fn commit(done: &Done, fds: &[OwnedFd], target: &Target) -> io::Result<()> {
    if done.outputs.iter().any(|file| file.data.len() > target.file_size_max) {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    if !can_speak(done, target) {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    put_files(done, fds, target)?;
    // The order in which gcc's own programs speak: cc1 on stderr, then the assembler's listing on stdout.
    for (data, stream) in [(&done.stderr, io::stderr().as_fd()), (&done.stdout, io::stdout().as_fd())] {
        // What a compiler does when it cannot speak is its own: gcc goes on, clang gives up.
        replay(data, fds, stream)?;
    }
    Ok(())
}

/// Whether words that were written elsewhere come out here as if the compiler had written them here.
fn can_speak(done: &Done, target: &Target) -> bool {
    // A compiler takes the number of a closed stream for its first file.
    if !sys::is_open(1) || !sys::is_open(2) {
        return false;
    }
    // clang counts its warnings after it has written to standard output; where both streams are one, that shows.
    let both = !done.stdout.is_empty() && !done.stderr.is_empty();
    !(target.is_clang && both) || sys::file_id(c"/proc/self/fd/1") != sys::file_id(c"/proc/self/fd/2")
}

fn put_files(done: &Done, fds: &[OwnedFd], target: &Target) -> io::Result<()> {
    let held = SignalsHeld::hold();
    for path in &done.removed {
        remove_ordinary(as_path(path));
    }
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(done.outputs.len());
    let mut result = Ok(());
    for (at, file) in done.outputs.iter().enumerate() {
        match prepare(file, target.manner(file), at, fds) {
            Ok(step) => steps.push(step),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    // From here on a result takes its place whole; until here, a signal ends this process with nothing changed.
    let mut placed = 0;
    if result.is_ok() && held.is_pending() {
        result = Err(io::Error::from(io::ErrorKind::Interrupted));
    }
    while result.is_ok() && placed < steps.len() {
        result = finish(&steps[placed], fds, &held);
        placed += usize::from(result.is_ok());
    }
    if result.is_err() {
        for (at, step) in steps.iter().enumerate() {
            if let Some(aside) = &step.aside {
                let _ = fs::remove_file(if at < placed { step.path } else { aside });
            }
        }
    }
    result
}

/// Decides how `file` is written and, if that is aside, writes it there.
fn prepare<'a>(file: &'a OutputFile, manner: Manner, number: usize, fds: &[OwnedFd]) -> io::Result<Step<'a>> {
    let path = as_path(&file.path);
    let there = match fs::symlink_metadata(path) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let in_place = Ok(Step { path, file, aside: None });
    if let Some(meta) = &there
        && !may_replace(path, meta, manner)?
    {
        return in_place;
    }
    let aside = aside_name(path, number);
    let created = match create(&aside, file.executable) {
        Ok(created) => created,
        // No right to make files here, but maybe to this one.
        Err(_) if there.is_some() => return in_place,
        Err(error) => return Err(error),
    };
    let written = (|| {
        let unlike = match &there {
            Some(meta) if manner == Manner::Truncate || meta.len() == 0 && manner == Manner::Unlink => {
                !is_like(meta, &created.metadata()?)
            }
            _ => false,
        };
        if !unlike {
            write_data(&file.data, fds, &created)?;
        }
        sys::close(created)?;
        Ok(!unlike)
    })();
    match written {
        Ok(true) => Ok(Step { path, file, aside: Some(aside) }),
        Ok(false) => {
            fs::remove_file(&aside)?;
            in_place
        }
        Err(error) => {
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}

/// Whether a new file may take the place of the one that stands at `path`, by the compiler's own manner.
///
/// # Errors
/// The compiler would fail here.
fn may_replace(path: &Path, meta: &Metadata, manner: Manner) -> io::Result<bool> {
    let kind = meta.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    // The assembler seeks in what it writes.
    if kind.is_fifo() && manner == Manner::Unlink {
        return Err(io::Error::from(io::ErrorKind::NotSeekable));
    }
    if !kind.is_file() && !kind.is_symlink() {
        return Ok(false);
    }
    let behind = if kind.is_symlink() { fs::metadata(path).ok() } else { Some(meta.clone()) };
    let may_write = || if sys::may_overwrite(path) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) };
    match (manner, behind) {
        (Manner::Rename, None) => Ok(true),
        (Manner::Rename, Some(behind)) => {
            may_write()?;
            if behind.is_dir() { Err(io::Error::from(io::ErrorKind::IsADirectory)) } else { Ok(behind.is_file()) }
        }
        (Manner::Unlink, Some(behind)) if behind.len() > 0 => Ok(true),
        (Manner::Unlink | Manner::Truncate, _) => {
            if kind.is_file() {
                may_write()?;
            }
            Ok(kind.is_file() && meta.nlink() == 1)
        }
    }
}

/// Whether `made` differs from `there` in nothing but its inode number and content.
fn is_like(there: &Metadata, made: &Metadata) -> bool {
    (there.mode(), there.uid(), there.gid()) == (made.mode(), made.uid(), made.gid())
}

/// Puts one prepared output in place.
fn finish(step: &Step<'_>, fds: &[OwnedFd], held: &SignalsHeld) -> io::Result<()> {
    if let Some(aside) = &step.aside {
        match fs::rename(aside, step.path) {
            Ok(()) => return Ok(()),
            // A mounted file, or one of another user in a sticky directory: the compiler writes in place.
            Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::PermissionDenied) => {
                fs::remove_file(aside)?;
            }
            Err(error) => return Err(error),
        }
    }
    let open = || File::options().write(true).create(true).truncate(true).mode(mode(step.file.executable)).open(step.path);
    // Opening a pipe waits for its reader, and that wait must be possible to end.
    let is_pipe = fs::metadata(step.path).is_ok_and(|meta| meta.file_type().is_fifo());
    let file = if is_pipe { held.let_go(open) } else { open() }?;
    if is_pipe {
        held.let_go(|| write_data(&step.file.data, fds, &file))?;
    } else {
        write_data(&step.file.data, fds, &file)?;
    }
    sys::close(file)
}

fn write_data(data: &Data, fds: &[OwnedFd], mut to: &File) -> io::Result<()> {
    match data {
        Data::Inline(bytes) => to.write_all(bytes),
        Data::Fd { index, offset, len } => sys::copy_range(source(fds, *index)?, *offset, *len, to),
    }
}

fn source(fds: &[OwnedFd], index: u16) -> io::Result<BorrowedFd<'_>> {
    fds.get(usize::from(index)).map(AsFd::as_fd).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Hands a stream's bytes on.
fn replay(data: &Data, fds: &[OwnedFd], stream: BorrowedFd<'_>) -> io::Result<()> {
    let (index, mut at, mut left) = match data {
        Data::Inline(bytes) => return sys::write_patiently(stream, bytes),
        Data::Fd { index, offset, len } => (*index, *offset, *len),
    };
    let mut buffer = vec![0; STREAM_BYTES.min(left) as usize];
    while left > 0 {
        let count = sys::read_at(source(fds, index)?, &mut buffer, at)?.min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        sys::write_patiently(stream, &buffer[..count])?;
        at += count as u64;
        left -= count as u64;
    }
    Ok(())
}

/// Removes what compilers remove after an error: files and links to files, nothing else.
fn remove_ordinary(path: &Path) {
    if fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        let _ = fs::remove_file(path);
    }
}

/// A name in the same directory that nobody else uses.
fn aside_name(path: &Path, number: usize) -> PathBuf {
    path.with_file_name(format!(".kiln-{}-{number}.tmp", std::process::id()))
}

fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode(executable));
    match options.open(path) {
        // Left by a process of the same number that was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        other => other,
    }
}

/// The mode a compiler asks for; the umask takes from it.
fn mode(executable: bool) -> u32 {
    if executable { 0o777 } else { 0o666 }
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
