//! Whether a job's end is the compiler's own word on its inputs. Pure: reads endings and messages, runs nothing.

use kiln_sandbox::{Ending, JobOutcome, Limit};

/// What a job's end is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The command's own exit code: 0, or an error in its inputs.
    Final(i32),
    /// The end says more about this machine than about the inputs; the unit is to be run elsewhere.
    Doubtful(Doubt),
}

/// Why an end is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A bound was met, surely or by the job's own words.
    Limit(Limit),
    /// A signal ended it.
    Signal(i32),
    /// The compiler says that it crashed.
    CompilerCrash,
    /// The driver could not start one of its programs.
    MissingProgram,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::Limit(limit) => write!(f, "the job met its limit ({limit:?})"),
            Doubt::Signal(signal) => write!(f, "the job was ended by signal {signal}"),
            Doubt::CompilerCrash => f.write_str("the compiler crashed"),
            Doubt::MissingProgram => f.write_str("the compiler did not find one of its programs"),
        }
    }
}

/// Messages of gcc and clang for their own crashes, and of gcc's driver for a program killed below it.
const CRASH_MARKS: [&[u8]; 5] = [
    b"internal compiler error",
    b"PLEASE submit a bug report",
    b"PLEASE ATTACH THE FOLLOWING FILES",
    b"Killed signal terminated program",
    b"terminated with signal",
];

/// Messages for a resource that ran out, which end in a plain exit 1.
const RESOURCE_MARKS: [(&[u8], Limit); 6] = [
    (b"virtual memory exhausted", Limit::Memory),
    (b"Cannot allocate memory", Limit::Memory),
    (b"out of memory", Limit::Memory),
    (b"No space left on device", Limit::Disk),
    (b"Too many open files", Limit::OpenFiles),
    (b"Resource temporarily unavailable", Limit::Processes),
];

/// Messages of drivers whose tree lacks a program.
const PROGRAM_MARKS: [&[u8]; 3] = [b"cannot execute", b"error while loading shared libraries", b"unable to execute command"];

/// Judges an outcome.
pub fn judge(outcome: &JobOutcome) -> Verdict {
    let code = match outcome.ending {
        Ending::Exited(0) => return Verdict::Final(0),
        Ending::Exited(code) => code,
        Ending::Signalled(signal) => return Verdict::Doubtful(Doubt::Signal(signal)),
        Ending::LimitMet(limit) => return Verdict::Doubtful(Doubt::Limit(limit)),
    };
    if let Some(limit) = outcome.suspected {
        return Verdict::Doubtful(Doubt::Limit(limit));
    }
    match doubt_in(&outcome.stderr) {
        Some(doubt) => Verdict::Doubtful(doubt),
        None => Verdict::Final(code),
    }
}

/// Judges a plain REAPI action, whose end its own client interprets: a signal is exit code 128 + its number, as a shell has
/// it; only a limit of this worker's is no verdict.
pub fn judge_plain(outcome: &JobOutcome) -> Verdict {
    match outcome.ending {
        Ending::Exited(code) => Verdict::Final(code),
        Ending::Signalled(signal) => Verdict::Final(128 + signal),
        Ending::LimitMet(limit) => Verdict::Doubtful(Doubt::Limit(limit)),
    }
}

/// Judges an exit code of another's worker: one above 128 is a shell's word for a signal.
pub(crate) fn judge_exit(code: i32, stderr: &[u8]) -> Verdict {
    match code {
        0 => Verdict::Final(0),
        1..=128 => doubt_in(stderr).map_or(Verdict::Final(code), Verdict::Doubtful),
        _ => Verdict::Doubtful(Doubt::Signal(code.abs().checked_sub(128).unwrap_or(code))),
    }
}

fn doubt_in(stderr: &[u8]) -> Option<Doubt> {
    let says = |mark: &[u8]| stderr.windows(mark.len()).any(|window| window == mark);
    if let Some((_, limit)) = RESOURCE_MARKS.iter().find(|(mark, _)| says(mark)) {
        return Some(Doubt::Limit(*limit));
    }
    if CRASH_MARKS.iter().any(|mark| says(mark)) {
        return Some(Doubt::CompilerCrash);
    }
    PROGRAM_MARKS.iter().any(|mark| says(mark)).then_some(Doubt::MissingProgram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ending: Ending, stderr: &str) -> JobOutcome {
        JobOutcome {
            ending,
            suspected: None,
            stdout: Vec::new(),
            stderr: stderr.into(),
            outputs: Vec::new(),
            directories: Vec::new(),
            symlinks: Vec::new(),
            cpu_us: 0,
            wall_us: 0,
            max_rss_bytes: 0,
        }
    }

    #[test]
    fn only_the_compilers_own_word_is_final() {
        for (ending, stderr, want) in [
            (Ending::Exited(0), "a.c:1: warning: out of memory", Verdict::Final(0)),
            (Ending::Exited(1), "a.c:1:1: error: expected ';'", Verdict::Final(1)),
            (Ending::Exited(1), "cc1: out of memory allocating 8 bytes", Verdict::Doubtful(Doubt::Limit(Limit::Memory))),
            (Ending::Exited(1), "virtual memory exhausted: Cannot allocate memory", Verdict::Doubtful(Doubt::Limit(Limit::Memory))),
            (
                Ending::Exited(1),
                "a.s: Fatal error: can't close: No space left on device",
                Verdict::Doubtful(Doubt::Limit(Limit::Disk)),
            ),
            (Ending::Exited(4), "gcc: internal compiler error: Segmentation fault", Verdict::Doubtful(Doubt::CompilerCrash)),
            (Ending::Exited(1), "gcc: fatal error: cannot execute 'cc1': No such file", Verdict::Doubtful(Doubt::MissingProgram)),
            (Ending::Signalled(11), "", Verdict::Doubtful(Doubt::Signal(11))),
            (Ending::LimitMet(Limit::Time), "", Verdict::Doubtful(Doubt::Limit(Limit::Time))),
        ] {
            assert_eq!(judge(&outcome(ending, stderr)), want, "{stderr}");
        }
    }
}
