//! The messages between the worker, its helper and a job's init, as values. Knows no socket and no process.

use crate::job::{Ending, Limit, Limits, RootMode, Terminal};
use crate::wire::{Malformed, Reader, Writer};
use crate::{JobUser, Rung, RungReport};

/// Worker to helper, first of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) roots: String,
    pub(crate) rung: Option<Rung>,
    pub(crate) job_user: JobUser,
    pub(crate) cgroups: Vec<String>,
    pub(crate) host_paths: Vec<String>,
}

impl Setup {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.text(&self.roots);
        out.byte(self.rung.map_or(255, rung_code));
        out.word(self.job_user.uid);
        out.word(self.job_user.gid);
        out.list(&self.cgroups, |out, text| out.text(text));
        out.list(&self.host_paths, |out, text| out.text(text));
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Setup, Malformed> {
        let mut input = Reader::new(bytes);
        let roots = input.text()?;
        let rung = match input.byte()? {
            255 => None,
            code => Some(rung_from(code)?),
        };
        let job_user = JobUser { uid: input.word()?, gid: input.word()? };
        let setup = Setup { roots, rung, job_user, cgroups: input.texts()?, host_paths: input.texts()? };
        input.end()?;
        Ok(setup)
    }
}

/// Helper to worker, in answer to [`Setup`].
pub(crate) fn encode_ready(ready: &Result<RungReport, String>) -> Vec<u8> {
    let mut out = Writer::default();
    match ready {
        Ok(report) => {
            out.byte(1);
            out.byte(rung_code(report.rung));
            for list in [&report.why_not_better, &report.how_to_improve, &report.absent] {
                out.list(list, |out, text| out.text(text));
            }
        }
        Err(text) => {
            out.byte(0);
            out.text(text);
        }
    }
    out.bytes
}

pub(crate) fn decode_ready(bytes: &[u8]) -> Result<Result<RungReport, String>, Malformed> {
    let mut input = Reader::new(bytes);
    let ready = match input.byte()? {
        1 => Ok(RungReport {
            rung: rung_from(input.byte()?)?,
            why_not_better: input.texts()?,
            how_to_improve: input.texts()?,
            absent: input.texts()?,
        }),
        _ => Err(input.text()?),
    };
    input.end()?;
    Ok(ready)
}

fn rung_code(rung: Rung) -> u8 {
    match rung {
        Rung::UserNamespace => 0,
        Rung::RootNamespace => 1,
        Rung::HostProc => 2,
        Rung::Chroot => 3,
        Rung::None => 4,
    }
}

fn rung_from(code: u8) -> Result<Rung, Malformed> {
    Ok(match code {
        0 => Rung::UserNamespace,
        1 => Rung::RootNamespace,
        2 => Rung::HostProc,
        3 => Rung::Chroot,
        4 => Rung::None,
        _ => return Err(Malformed),
    })
}

/// A job as its init reads it; travels in a memory file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Name of the root in the pool's directory.
    pub(crate) root: String,
    pub(crate) mode: RootMode,
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) outputs: Vec<String>,
    pub(crate) output_trees: Vec<String>,
    pub(crate) make_dirs: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) stdin: Option<String>,
}

impl Job {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.text(&self.root);
        out.byte(match self.mode {
            RootMode::Chroot => 0,
            RootMode::HostUsr => 1,
        });
        out.text(&self.cwd);
        for list in [&self.argv, &self.env, &self.outputs, &self.output_trees, &self.make_dirs] {
            out.list(list, |out, text| out.text(text));
        }
        let limits = &self.limits;
        out.word(limits.processes);
        for value in [
            limits.wall_ms,
            limits.memory_bytes,
            limits.output_bytes,
            limits.file_bytes,
            limits.scratch_bytes,
            limits.open_files,
            limits.stack_bytes,
        ] {
            out.long(value);
        }
        let terminal = self.terminal.unwrap_or(Terminal { columns: 0, rows: 0 });
        out.byte(u8::from(self.terminal.is_some()));
        out.word(u32::from(terminal.columns) << 16 | u32::from(terminal.rows));
        // No file has an empty path.
        out.text(self.stdin.as_deref().unwrap_or_default());
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Job, Malformed> {
        let mut input = Reader::new(bytes);
        let root = input.text()?;
        let mode = match input.byte()? {
            0 => RootMode::Chroot,
            1 => RootMode::HostUsr,
            _ => return Err(Malformed),
        };
        let cwd = input.text()?;
        let (argv, env) = (input.texts()?, input.texts()?);
        let (outputs, output_trees, make_dirs) = (input.texts()?, input.texts()?, input.texts()?);
        let limits = Limits {
            processes: input.word()?,
            wall_ms: input.long()?,
            memory_bytes: input.long()?,
            output_bytes: input.long()?,
            file_bytes: input.long()?,
            scratch_bytes: input.long()?,
            open_files: input.long()?,
            stack_bytes: input.long()?,
        };
        let has_terminal = input.byte()? != 0;
        let size = input.word()?;
        let terminal = Terminal { columns: (size >> 16) as u16, rows: size as u16 };
        let stdin = Some(input.text()?).filter(|path| !path.is_empty());
        input.end()?;
        let terminal = has_terminal.then_some(terminal);
        Ok(Job { root, mode, argv, env, cwd, outputs, output_trees, make_dirs, limits, terminal, stdin })
    }
}

/// What stands in one place of a job's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its descriptor travels with the message.
    File {
        size: u64,
        executable: bool,
    },
    Directory,
    Symlink(String),
}

/// About a job, to the worker: from the job's init, or from the helper if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// The job's init exists; its process descriptor travels along.
    Started,
    /// A step of the set-up failed.
    SetupFailed { step: String, errno: i32 },
    /// The command cannot be executed.
    NotExecutable { errno: i32 },
    /// The request is impossible.
    BadJob(String),
    /// Some of the outputs; descriptors of the files travel along, in order.
    Outputs(Vec<(String, Found)>),
    /// The last message.
    Done(Done),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) ending: Ending,
    pub(crate) suspected: Option<Limit>,
    pub(crate) cpu_us: u64,
    pub(crate) wall_us: u64,
    pub(crate) max_rss_bytes: u64,
    /// The streams, where they are short; else they travel as two memory files.
    pub(crate) streams: Option<(Vec<u8>, Vec<u8>)>,
}

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Report::Started => out.byte(0),
            Report::SetupFailed { step, errno } => {
                out.byte(1);
                out.text(step);
                out.word(*errno as u32);
            }
            Report::NotExecutable { errno } => {
                out.byte(2);
                out.word(*errno as u32);
            }
            Report::BadJob(text) => {
                out.byte(3);
                out.text(text);
            }
            Report::Outputs(entries) => {
                out.byte(4);
                out.list(entries, |out, (path, found)| {
                    out.text(path);
                    match found {
                        Found::File { size, executable } => {
                            out.byte(0);
                            out.long(*size);
                            out.byte(u8::from(*executable));
                        }
                        Found::Directory => out.byte(1),
                        Found::Symlink(target) => {
                            out.byte(2);
                            out.text(target);
                        }
                    }
                });
            }
            Report::Done(done) => {
                out.byte(5);
                done.encode(&mut out);
            }
        }
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Report, Malformed> {
        let mut input = Reader::new(bytes);
        let report = match input.byte()? {
            0 => Report::Started,
            1 => Report::SetupFailed { step: input.text()?, errno: input.word()? as i32 },
            2 => Report::NotExecutable { errno: input.word()? as i32 },
            3 => Report::BadJob(input.text()?),
            4 => Report::Outputs(input.list(|input| {
                let path = input.text()?;
                let found = match input.byte()? {
                    0 => Found::File { size: input.long()?, executable: input.byte()? != 0 },
                    1 => Found::Directory,
                    2 => Found::Symlink(input.text()?),
                    _ => return Err(Malformed),
                };
                Ok((path, found))
            })?),
            5 => Report::Done(Done::decode(&mut input)?),
            _ => return Err(Malformed),
        };
        input.end()?;
        Ok(report)
    }
}

impl Done {
    fn encode(&self, out: &mut Writer) {
        let (kind, value) = match self.ending {
            Ending::Exited(code) => (0, code as u32),
            Ending::Signalled(signal) => (1, signal as u32),
            Ending::LimitMet(limit) => (2, u32::from(limit_code(limit))),
        };
        out.byte(kind);
        out.word(value);
        out.byte(self.suspected.map_or(255, limit_code));
        for value in [self.cpu_us, self.wall_us, self.max_rss_bytes] {
            out.long(value);
        }
        out.byte(u8::from(self.streams.is_some()));
        if let Some((stdout, stderr)) = &self.streams {
            out.data(stdout);
            out.data(stderr);
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Done, Malformed> {
        let (kind, value) = (input.byte()?, input.word()?);
        let ending = match kind {
            0 => Ending::Exited(value as i32),
            1 => Ending::Signalled(value as i32),
            2 => Ending::LimitMet(limit_from(value as u8)?),
            _ => return Err(Malformed),
        };
        let suspected = match input.byte()? {
            255 => None,
            code => Some(limit_from(code)?),
        };
        let (cpu_us, wall_us, max_rss_bytes) = (input.long()?, input.long()?, input.long()?);
        let streams = match input.byte()? {
            0 => None,
            _ => Some((input.data()?.to_vec(), input.data()?.to_vec())),
        };
        Ok(Done { ending, suspected, cpu_us, wall_us, max_rss_bytes, streams })
    }
}

const LIMITS: [Limit; 9] = [
    Limit::Time,
    Limit::Memory,
    Limit::Processes,
    Limit::Output,
    Limit::FileSize,
    Limit::Disk,
    Limit::OpenFiles,
    Limit::SystemCall,
    Limit::Outputs,
];

fn limit_code(limit: Limit) -> u8 {
    LIMITS.iter().position(|other| *other == limit).unwrap_or(LIMITS.len()) as u8
}

fn limit_from(code: u8) -> Result<Limit, Malformed> {
    LIMITS.get(usize::from(code)).copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        let done = Done {
            ending: Ending::LimitMet(Limit::Outputs),
            suspected: Some(Limit::Disk),
            cpu_us: 1,
            wall_us: 2,
            max_rss_bytes: 3,
            streams: Some((b"out".to_vec(), b"err".to_vec())),
        };
        let found = vec![
            ("a".to_owned(), Found::File { size: 9, executable: true }),
            ("b".to_owned(), Found::Directory),
            ("c".to_owned(), Found::Symlink("a".to_owned())),
        ];
        for report in [
            Report::Started,
            Report::SetupFailed { step: "x".into(), errno: 13 },
            Report::NotExecutable { errno: 2 },
            Report::BadJob("no".into()),
            Report::Outputs(found),
            Report::Done(done.clone()),
            Report::Done(Done { ending: Ending::Signalled(9), suspected: None, streams: None, ..done }),
        ] {
            let bytes = report.encode();
            assert_eq!(Report::decode(&bytes), Ok(report));
            for len in 0..bytes.len() {
                assert_eq!(Report::decode(&bytes[..len]), Err(Malformed), "cut off at {len}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0..=255u8, 0..200)) {
            let _ = (Job::decode(&bytes), Report::decode(&bytes), Setup::decode(&bytes), decode_ready(&bytes));
        }
    }

    #[test]
    fn jobs_round_trip() {
        let job = Job {
            root: "r1".into(),
            mode: RootMode::HostUsr,
            argv: vec!["/bin/true".into()],
            env: vec!["A=b".into()],
            cwd: "/".into(),
            outputs: vec!["o".into()],
            output_trees: vec![],
            make_dirs: vec!["d".into(), "e".into()],
            limits: Limits::default(),
            terminal: Some(Terminal { columns: 80, rows: 24 }),
            stdin: Some("/in".into()),
        };
        assert_eq!(Job::decode(&job.encode()), Ok(job));
    }
}
