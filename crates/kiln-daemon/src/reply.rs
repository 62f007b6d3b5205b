//! Turns a verified result into what the wrapper commits: bytes inline or as sealed descriptors, object last.

use bytes::Bytes;
use kiln_cmdline::{Invocation, OnFailure, Output};
use kiln_frame::{Data, Done, Ending, INLINE_MAX, INLINE_TOTAL_MAX, OutputFile};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

/// Bytes of one output.
#[derive(Debug)]
pub(crate) enum Contents {
    /// In memory.
    Bytes(Bytes),
    /// A file of the store, which nobody writes to.
    File(File, u64),
}

/// One output of a finished unit.
#[derive(Debug)]
pub(crate) struct ResultFile {
    pub(crate) path: String,
    pub(crate) executable: bool,
    pub(crate) contents: Contents,
}

/// A finished unit, verified.
#[derive(Debug, Default)]
pub(crate) struct UnitResult {
    pub(crate) exit_code: i32,
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
    pub(crate) files: Vec<ResultFile>,
}

/// What is sent with a final reply.
pub(crate) struct Delivery {
    pub(crate) done: Done,
    pub(crate) fds: Vec<OwnedFd>,
}

/// What clang, which speaks English alone, says of an included file that it does not find.
const MISSING_MARK: &[u8] = b"' file not found";

/// gcc's driver and clang both pass on what the assembler says in this form.
const ASSEMBLER_MARK: &[u8] = b"Assembler messages:";

/// Packs the results of a command's units, in the driver's order.
///
/// # Errors
/// When memory for a large output cannot be had.
pub(crate) fn deliver(parts: Vec<(&Invocation, UnitResult)>, warning: Option<String>) -> io::Result<Delivery> {
    let mut packer = Packer { fds: Vec::new(), inline: 0 };
    // The first failure is the driver's own code; an exit status has eight bits.
    let exit_code = parts.iter().map(|(_, result)| result.exit_code).find(|code| *code != 0).unwrap_or(0);
    let stdout = packer.pack(Contents::Bytes(joined(&parts, |result| &result.stdout)))?;
    let stderr = packer.pack(Contents::Bytes(joined(&parts, |result| &result.stderr)))?;
    let (mut outputs, mut removes) = (Vec::new(), Vec::new());
    for (unit, result) in parts {
        removes.extend(removed(unit, &result));
        let main = unit.main_output().path.as_str();
        let mut files = result.files;
        // Side files first: whoever sees the object sees all of its result.
        files.sort_by_key(|file| file.path == main);
        for file in files {
            let (is_main, data) = (file.path == main, packer.pack(file.contents)?);
            outputs.push(OutputFile { path: file.path.into_bytes(), executable: file.executable, is_main, data });
        }
    }
    let ending = Ending::Exit((exit_code & 0xff) as u8);
    Ok(Delivery { done: Done { ending, stdout, stderr, outputs, removed: removes, warning }, fds: packer.fds })
}

/// A stream of all parts, one after the other.
fn joined(parts: &[(&Invocation, UnitResult)], stream: impl Fn(&UnitResult) -> &Bytes) -> Bytes {
    match parts {
        [(_, result)] => stream(result).clone(),
        _ => parts.iter().flat_map(|(_, result)| stream(result).to_vec()).collect(),
    }
}

/// Older files that the compiler would have removed: mostly one that failed.
fn removed(unit: &Invocation, result: &UnitResult) -> Vec<Vec<u8>> {
    let failed = result.exit_code != 0;
    let says = |mark: &[u8]| result.stderr.windows(mark.len()).any(|window| window == mark);
    let written = |path: &str| result.files.iter().any(|file| file.path == path);
    let in_turn =
        unit.outputs[1..].iter().chain([unit.main_output()]).filter(|output| output.on_failure == OnFailure::RemoveIfNext);
    let next = in_turn.map(|output| output.path.as_str()).find(|path| !written(path));
    let goes = |output: &&Output| match output.on_failure {
        OnFailure::Keep => false,
        OnFailure::Remove => failed,
        OnFailure::RemoveIfAssembled => failed && (says(ASSEMBLER_MARK) || !compiler_speaks(&result.stderr)),
        OnFailure::RemoveIfHeaderMissing => failed && says(MISSING_MARK),
        OnFailure::RemoveIfNext => failed && next == Some(output.path.as_str()),
        OnFailure::RemoveIfCompiled => !failed || says(ASSEMBLER_MARK),
    };
    let outputs = unit.outputs.iter().filter(|output| goes(output) && !written(&output.path));
    outputs.map(|output| output.path.clone().into_bytes()).collect()
}

/// Whether the compiler proper complains: by its own name, or of a line and column (`a.c:1:2: `). Where it does not, it was
/// the assembler that failed, in words of any language.
fn compiler_speaks(stderr: &[u8]) -> bool {
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    stderr.split(|byte| *byte == b'\n').any(|line| {
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        line.starts_with(b"cc1") || parts.windows(2).any(|pair| is_number(pair[0]) && is_number(pair[1]))
    })
}

struct Packer {
    fds: Vec<OwnedFd>,
    inline: usize,
}

impl Packer {
    fn pack(&mut self, contents: Contents) -> io::Result<Data> {
        let (fd, len) = match contents {
            Contents::Bytes(bytes) if bytes.len() <= INLINE_MAX && self.inline + bytes.len() <= INLINE_TOTAL_MAX => {
                self.inline += bytes.len();
                return Ok(Data::Inline(bytes.into()));
            }
            Contents::Bytes(bytes) => (sealed(&bytes)?, bytes.len() as u64),
            Contents::File(file, len) => (OwnedFd::from(file), len),
        };
        let index = u16::try_from(self.fds.len()).map_err(io::Error::other)?;
        self.fds.push(fd);
        Ok(Data::Fd { index, offset: 0, len })
    }
}

/// A memory file that cannot change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("kiln-output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::compiler_speaks;

    #[test]
    fn the_compiler_is_told_from_the_assembler() {
        for text in ["a.c:1:2: error: x\n", "cc1: Warnung: y", "In file\nh.h:10:3: Fehler: z\n"] {
            assert!(compiler_speaks(text.as_bytes()), "{text}");
        }
        for text in ["", "{standard input}: Assembler messages:\n{standard input}:3: Error: x", "as: unrecognized option '--64'"] {
            assert!(!compiler_speaks(text.as_bytes()), "{text}");
        }
    }
}
