//! Tells a compiler's driver from scripts, wrappers and everything else, first by looking, then by asking. Lists no files.

use crate::run::{Answer, QUESTION_TIME_MAX, Question};
use crate::{LookupEnv, ToolchainError, elf};
use memchr::memmem;
use std::io::Read;
use std::path::{Path, PathBuf};

/// When gcc's driver links, as its own specs say it: in every such driver, and in no program that it calls. It is a table's text;
/// of a shorter one, such as `COLLECT_GCC_OPTIONS`, optimisers make instructions, and gcc 11's driver does not hold it.
const GCC_MARK: &[u8] = b"%{!c:%{!M:%{!MM:%{!E:%{!S:";

/// How clang's driver calls itself again: in every such driver, and in some wrappers.
const CLANG_MARK: &[u8] = b"-cc1";

/// Wrappers that answer like the compiler behind them: by the name of the program a link leads to.
const WRAPPERS: [&str; 8] = ["ccache", "sccache", "distcc", "icecc", "kiln", "yadcc", "fastbuild", "buildcache"];

/// Largest driver searched: 1 GiB, four times a static clang with debug information.
const DRIVER_SIZE_MAX: u64 = 1 << 30;

/// A program that may be a driver, judged by its bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Gcc,
    Clang,
}

/// A driver with its own binary and how to ask it.
pub(crate) struct Driver<'a> {
    pub(crate) path: &'a Path,
    /// The driver's path as text.
    pub(crate) name: &'a str,
    /// The file behind all links.
    pub(crate) physical: String,
    pub(crate) env: &'a LookupEnv,
    pub(crate) host_arch: &'static str,
    pub(crate) mark: Mark,
}

impl<'a> Driver<'a> {
    /// Looks at the program without running it.
    pub(crate) fn look(path: &'a Path, env: &'a LookupEnv) -> Result<Driver<'a>, ToolchainError> {
        let name = path.to_str().ok_or_else(|| ToolchainError::NotUtf8(path.to_owned()))?;
        let not = |why: String| ToolchainError::NotACompiler { driver: path.to_owned(), why };
        let io = |source| ToolchainError::Io { path: path.to_owned(), source };
        if !path.is_absolute() {
            return Err(not("the path is not absolute".into()));
        }
        let physical = path.canonicalize().map_err(io)?;
        let physical = physical.into_os_string().into_string().map_err(|bad| ToolchainError::NotUtf8(bad.into()))?;
        let target = physical.rsplit('/').next().unwrap_or_default();
        if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| target.starts_with(*wrapper)) {
            return Err(not(format!("it is a link to {physical}, of the wrapper {wrapper}")));
        }
        let metadata = std::fs::metadata(&physical).map_err(io)?;
        if !metadata.is_file() || metadata.len() > DRIVER_SIZE_MAX {
            return Err(not("it is no regular file of a program's size".into()));
        }
        let Some(elf) = elf::read(Path::new(&physical)).map_err(io)? else {
            return Err(not(kind_of_text(Path::new(&physical)).map_err(io)?));
        };
        let mark =
            find_mark(Path::new(&physical)).map_err(io)?.ok_or_else(|| not("no compiler driver's marks are in it".into()))?;
        Ok(Driver { path, name, physical, env, host_arch: elf.kind.arch(), mark })
    }

    /// Asks the driver, with the options that select its files before `args`.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Answer, ToolchainError> {
        let args: Vec<String> = self.env.args.iter().cloned().chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        let env = self.env.probe_pairs();
        let question =
            Question { driver: self.path, args: &args, env: &env, cwd: Path::new("/"), input: &[], time_max: QUESTION_TIME_MAX };
        question.ask_well()
    }

    /// One line that the driver prints.
    pub(crate) fn ask_line(&self, arg: &str) -> Result<String, ToolchainError> {
        let answer = self.ask(&[arg])?;
        let text = String::from_utf8(answer.stdout).map_err(|_| self.garbage(arg, "its answer is not UTF-8"))?;
        match text.trim_end_matches('\n') {
            "" => Err(self.garbage(arg, "it answers nothing")),
            line if line.contains('\n') => Err(self.garbage(arg, "it answers with more than a line")),
            line => Ok(line.to_owned()),
        }
    }

    pub(crate) fn garbage(&self, args: &str, why: &str) -> ToolchainError {
        ToolchainError::Probe { driver: self.path.to_owned(), args: args.to_owned(), why: why.to_owned() }
    }

    pub(crate) fn not_a_compiler(&self, why: impl Into<String>) -> ToolchainError {
        ToolchainError::NotACompiler { driver: self.path.to_owned(), why: why.into() }
    }

    pub(crate) fn unmodelled(&self, why: impl Into<String>) -> ToolchainError {
        ToolchainError::Unmodelled { driver: self.path.to_owned(), why: why.into() }
    }
}

/// The rest of the first line that begins with `start`.
pub(crate) fn line_after<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim)
}

/// The directories of `-print-search-dirs`, the driver's candidates in order, as it spells them without the last slash.
pub(crate) fn search_dirs(text: &str, kind: &str) -> Vec<String> {
    let line = line_after(text, kind).unwrap_or_default();
    let dirs = line.trim_start_matches('=').split(':');
    dirs.filter(|dir| dir.starts_with('/')).map(|dir| dir.trim_end_matches('/').to_owned()).collect()
}

fn kind_of_text(path: &Path) -> std::io::Result<String> {
    let mut head = [0; 120];
    let n = std::fs::File::open(path)?.read(&mut head)?;
    let line = String::from_utf8_lossy(head[..n].split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    Ok(match line.strip_prefix("#!") {
        Some(interpreter) => format!("it is a script for {}", interpreter.trim()),
        None => "it is no ELF program".to_owned(),
    })
}

fn find_mark(path: &Path) -> std::io::Result<Option<Mark>> {
    let mut file = std::fs::File::open(path)?;
    let keep = GCC_MARK.len();
    let mut buffer = vec![0; 1 << 20];
    let (mut filled, mut clang) = (0, false);
    let (gcc_mark, clang_mark) = (memmem::Finder::new(GCC_MARK), memmem::Finder::new(CLANG_MARK));
    loop {
        let n = match file.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if n == 0 {
            return Ok(clang.then_some(Mark::Clang));
        }
        let seen = &buffer[..filled + n];
        if gcc_mark.find(seen).is_some() {
            return Ok(Some(Mark::Gcc));
        }
        clang |= clang_mark.find(seen).is_some();
        let tail = seen.len().saturating_sub(keep);
        filled = seen.len() - tail;
        buffer.copy_within(tail..tail + filled, 0);
    }
}

/// The physical form of a path that exists.
pub(crate) fn physical(path: &str) -> Option<PathBuf> {
    Path::new(path).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_across_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("driver");
        for (mark, expected) in [(GCC_MARK, Mark::Gcc), (CLANG_MARK, Mark::Clang)] {
            for at in [0, (1 << 20) - 3, (1 << 20), (3 << 20) - mark.len() + 1] {
                let mut bytes = vec![b'x'; at];
                bytes.extend_from_slice(mark);
                std::fs::write(&file, &bytes).unwrap();
                assert_eq!(find_mark(&file).unwrap(), Some(expected), "{at}");
            }
        }
        // As gcc 11.3 has it, whose code writes the end of the variable's name; and a program that only reads the variable.
        std::fs::write(&file, b"%{!fsyntax-only:%{!c:%{!M:%{!MM:%{!E:%{!S:    %(linker) \0COLLECT_GCC_OPTIp\0").unwrap();
        assert_eq!(find_mark(&file).unwrap(), Some(Mark::Gcc));
        for other in ["nothing of the kind", "COLLECT_GCC_OPTIONS"] {
            std::fs::write(&file, other).unwrap();
            assert_eq!(find_mark(&file).unwrap(), None);
        }
    }

    #[test]
    fn search_dirs_are_split() {
        let text = "install: /usr/lib/gcc/\nprograms: =/a/b/:/a/../c:relative/:\nlibraries: =/l/\n";
        assert_eq!(search_dirs(text, "programs:"), ["/a/b", "/a/../c"]);
        assert_eq!(search_dirs(text, "libraries:"), ["/l"]);
        assert!(search_dirs(text, "none:").is_empty());
    }
}
