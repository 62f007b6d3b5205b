//! Compiles that were recorded: what each gave and took. Knows no action.
//!
//! A recording is a directory. Its `index` has one line for each compile, of fields separated by tabs: a number, the CPU time
//! of the compile in microseconds, its directory, its source as spelled, a hash of its flags (for who knows no object's path),
//! and its outputs as spelled: the object, and the list of files if one was made. Beside it stand the outputs' bytes as
//! `NUMBER.0` and `NUMBER.1`, and what it wrote to stderr as `NUMBER.err`. Of two lines for one object the later counts.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One compile.
#[derive(Debug, Clone)]
pub struct Record {
    /// CPU time it took.
    pub cpu: Duration,
    /// Absolute paths of its outputs, the object first, and the files that hold their bytes.
    pub outputs: Vec<(String, PathBuf)>,
    /// The file that holds its messages.
    pub stderr: PathBuf,
}

/// All compiles of a recording, by the absolute path of their object.
#[derive(Debug, Default)]
pub struct Recording(BTreeMap<String, Record>);

impl Recording {
    /// Reads the index; the bytes stay on disk.
    ///
    /// # Errors
    /// It cannot be read, or a line of it.
    pub fn open(dir: &Path) -> anyhow::Result<Recording> {
        let index = dir.join("index");
        let text = std::fs::read_to_string(&index).with_context(|| index.display().to_string())?;
        let mut records = BTreeMap::new();
        for line in text.lines() {
            let (object, record) = record(dir, line).with_context(|| format!("{}: {line:?}", index.display()))?;
            records.insert(object, record);
        }
        Ok(Recording(records))
    }

    /// The compile that wrote `object`, an absolute path.
    pub fn of_object(&self, object: &str) -> Option<&Record> {
        self.0.get(object)
    }
}

fn record(dir: &Path, line: &str) -> anyhow::Result<(String, Record)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [number, cpu_us, cwd, _source, _flags, spelled @ ..] = fields.as_slice() else { bail!("too few fields") };
    let outputs: Vec<(String, PathBuf)> =
        spelled.iter().enumerate().map(|(n, path)| (absolute(cwd, path), dir.join(format!("{number}.{n}")))).collect();
    let object = outputs.first().context("no object")?.0.clone();
    let cpu = Duration::from_micros(cpu_us.parse().context("no CPU time")?);
    Ok((object, Record { cpu, outputs, stderr: dir.join(format!("{number}.err")) }))
}

/// `path` as seen from `cwd`, without `.` and `..`.
pub(crate) fn absolute(cwd: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compile_is_found_by_its_object() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("index"), "7\t1500\t/src/p\ta.c\tf0\t../o/a.o\ta.d\n").expect("written");
        let recording = Recording::open(dir.path()).expect("a recording");
        let record = recording.of_object("/src/o/a.o").expect("a record");
        assert_eq!(record.cpu, Duration::from_micros(1500));
        assert_eq!(record.outputs[1], ("/src/p/a.d".to_owned(), dir.path().join("7.1")));
        assert_eq!(record.stderr, dir.path().join("7.err"));
        assert!(recording.of_object("/src/p/a.o").is_none());
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        for line in ["7\t1500\t/src\ta.c\tf0", "7\tlong\t/src\ta.c\tf0\ta.o", "7"] {
            std::fs::write(dir.path().join("index"), line).expect("written");
            let error = Recording::open(dir.path()).expect_err("a bad line");
            assert!(format!("{error:#}").contains("7"), "{error:#}");
        }
    }
}
