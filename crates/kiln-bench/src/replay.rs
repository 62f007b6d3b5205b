//! An engine that answers an action with the recorded result of its unit, at once or after the time that it took. Runs nothing.
//!
//! For the client nothing differs from a worker that compiles: the whole input root must be in the store before the answer, and
//! whatever is not is asked for. An action is known by the paths of its outputs, not by its digest: with a comment changed in a
//! header it is another action, and the recorded result is still right.

use kiln_cas::{Action, BlobStore as _, Command, Digest};
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi;
use kiln_sandbox::{Rung, RungReport};
use kiln_store::DiskStore;
use kiln_worker::{CancelSwitch, Engine, ExecuteError, Executed, Job};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::recording::{Record, Recording, absolute};

/// How often a job that sleeps looks whether it was cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(50);

/// The engine.
pub struct Replay {
    store: DiskStore,
    recording: Recording,
    report: RungReport,
    cores: u32,
    /// Whether an answer takes as long as the compile did.
    sleeps: bool,
    /// Whether all objects are empty.
    empty: bool,
    /// Directories of which everything is in the store.
    whole: Mutex<BTreeSet<Digest>>,
    /// Results that were asked for before, by the path of the object.
    ready: Mutex<BTreeMap<String, Arc<Answer>>>,
}

#[derive(Debug)]
struct Answer {
    result: reapi::ActionResult,
    stderr: Vec<u8>,
    cpu: Duration,
}

impl Replay {
    /// An engine over a store, with what was recorded, of a machine of so many cores.
    pub fn new(store: DiskStore, recording: Recording, cores: u32, sleeps: bool, empty: bool) -> Replay {
        let report =
            RungReport { rung: Rung::UserNamespace, why_not_better: Vec::new(), how_to_improve: Vec::new(), absent: Vec::new() };
        Replay { store, recording, report, cores, sleeps, empty, whole: Mutex::default(), ready: Mutex::default() }
    }

    /// What is not in the store of all that lies below a root.
    fn missing(&self, root: &Digest) -> Result<Vec<Digest>, ExecuteError> {
        let mut missing = BTreeSet::new();
        self.walk(root, &mut missing)?;
        Ok(missing.into_iter().collect())
    }

    fn walk(&self, digest: &Digest, missing: &mut BTreeSet<Digest>) -> Result<(), ExecuteError> {
        if self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(digest) {
            return Ok(());
        }
        let directory = self.store.directory(digest).map_err(|error| ExecuteError::Invalid(error.to_string()))?;
        let Some(directory) = directory else {
            missing.insert(*digest);
            return Ok(());
        };
        let before = missing.len();
        let files: Vec<Digest> = directory.files.iter().map(|file| file.digest).collect();
        missing.extend(self.store.find_missing(&files));
        for child in &directory.directories {
            self.walk(&child.digest, missing)?;
        }
        if missing.len() == before {
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest);
        }
        Ok(())
    }

    /// The recorded result of a command, its bytes in the store.
    fn answer(&self, command: &Command) -> Result<Arc<Answer>, ExecuteError> {
        let cwd = format!("/{}", command.working_directory);
        let found = command.output_paths.iter().find_map(|path| {
            let object = absolute(&cwd, path);
            self.recording.of_object(&object).map(|record| (object, record))
        });
        let (object, record) =
            found.ok_or_else(|| ExecuteError::Invalid(format!("no recorded compile wrote any of {:?}", command.output_paths)))?;
        if let Some(answer) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(&object) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(self.read(&cwd, command, record)?);
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(object, Arc::clone(&answer));
        Ok(answer)
    }

    fn read(&self, cwd: &str, command: &Command, record: &Record) -> Result<Answer, ExecuteError> {
        let mut result = reapi::ActionResult::default();
        for path in &command.output_paths {
            let wanted = absolute(cwd, path);
            let Some(at) = record.outputs.iter().position(|(output, _)| *output == wanted) else { continue };
            let bytes = if self.empty && at == 0 { Vec::new() } else { read(&record.outputs[at].1)? };
            let digest = Some(digest_to_wire(&self.keep(&bytes)?));
            result.output_files.push(reapi::OutputFile { path: path.clone(), digest, ..Default::default() });
        }
        let stderr = read(&record.stderr)?;
        if !stderr.is_empty() {
            result.stderr_digest = Some(digest_to_wire(&self.keep(&stderr)?));
        }
        Ok(Answer { result, stderr, cpu: record.cpu })
    }

    fn keep(&self, bytes: &[u8]) -> Result<Digest, ExecuteError> {
        let digest = Digest::of(bytes);
        self.store.put(&digest, bytes).map_err(|error| ExecuteError::Machine(error.to_string()))?;
        Ok(digest)
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, ExecuteError> {
    std::fs::read(path).map_err(|error| ExecuteError::Machine(format!("{}: {error}", path.display())))
}

impl Engine for Replay {
    fn ready(self: Arc<Self>, action: &Action, command: &Command) -> Result<Job, ExecuteError> {
        let missing = self.missing(&action.input_root_digest)?;
        if !missing.is_empty() {
            return Err(ExecuteError::Missing(missing));
        }
        let answer = self.answer(command)?;
        let sleeps = self.sleeps;
        Ok(Box::new(move |cancel| {
            if sleeps {
                sleep(answer.cpu, cancel)?;
            }
            let took_us = if sleeps { answer.cpu.as_micros() as u64 } else { 0 };
            Ok(Executed {
                result: answer.result.clone(),
                stdout: Vec::new(),
                stderr: answer.stderr.clone(),
                cpu_us: took_us,
                wall_us: took_us,
                max_rss_bytes: 0,
            })
        }))
    }

    fn store(&self) -> &DiskStore {
        &self.store
    }

    fn report(&self) -> &RungReport {
        &self.report
    }

    fn imagined_cores(&self) -> Option<u32> {
        Some(self.cores)
    }
}

fn sleep(time: Duration, cancel: &CancelSwitch) -> Result<(), ExecuteError> {
    let end = Instant::now() + time;
    loop {
        if cancel.is_cancelled() {
            return Err(ExecuteError::Cancelled);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(CANCEL_LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_cas::TreeBuilder;
    use kiln_store::StoreConfig;
    use std::fs;

    struct Bench {
        replay: Arc<Replay>,
        dir: tempfile::TempDir,
    }

    fn bench(empty: bool) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("index"), "0\t2000\t/p\ta.c\tf0\ta.o\ta.d\n").expect("written");
        for (name, bytes) in [("0.0", "object"), ("0.1", "a.o: a.c"), ("0.err", "warning")] {
            fs::write(dir.path().join(name), bytes).expect("written");
        }
        let store = DiskStore::open(StoreConfig::new(dir.path().join("store"), 1 << 30)).expect("a store");
        let recording = Recording::open(dir.path()).expect("a recording");
        Bench { replay: Arc::new(Replay::new(store, recording, 2, true, empty)), dir }
    }

    fn action(source: &[u8]) -> (Action, TreeBuilder) {
        let mut tree = TreeBuilder::new();
        tree.file("/p/a.c", Digest::of(source), false).expect("a path");
        let action = Action {
            command_digest: Digest::EMPTY,
            input_root_digest: tree.build().root,
            timeout_ms: None,
            do_not_cache: false,
            salt: Vec::new(),
            platform: Vec::new(),
        };
        (action, tree)
    }

    fn command(outputs: &[&str]) -> Command {
        let output_paths = outputs.iter().map(|&path| path.to_owned()).collect();
        Command { working_directory: "p".to_owned(), output_paths, ..Command::default() }
    }

    /// Brings everything of the action's root into the store, as a client would.
    fn send(bench: &Bench, source: &[u8]) -> Action {
        let (action, tree) = action(source);
        for (_, bytes) in &tree.build().directories {
            bench.replay.store.put(&Digest::of(bytes), bytes).expect("kept");
        }
        bench.replay.store.put(&Digest::of(source), source).expect("kept");
        action
    }

    #[test]
    fn everything_of_the_root_must_be_there() {
        let bench = bench(false);
        let (action, tree) = action(b"source");
        let ask = || Arc::clone(&bench.replay).ready(&action, &command(&["a.o"]));
        let missing = |asked: Result<Job, ExecuteError>| match asked {
            Err(ExecuteError::Missing(missing)) => missing,
            other => panic!("{:?}", other.err()),
        };
        assert_eq!(missing(ask()), [action.input_root_digest]);
        for (_, bytes) in &tree.build().directories {
            bench.replay.store.put(&Digest::of(bytes), bytes).expect("kept");
        }
        assert_eq!(missing(ask()), [Digest::of(b"source")]);
        bench.replay.store.put(&Digest::of(b"source"), b"source").expect("kept");
        assert!(ask().is_ok());
    }

    #[test]
    fn a_changed_unit_gives_what_was_recorded_after_its_time() {
        let bench = bench(false);
        for source in [&b"source"[..], b"source /* touched */"] {
            let action = send(&bench, source);
            let began = Instant::now();
            let job = Arc::clone(&bench.replay).ready(&action, &command(&["a.d", "a.o"])).expect("ready");
            let executed = job(&CancelSwitch::new()).expect("executed");
            assert!(began.elapsed() >= Duration::from_millis(2));
            assert_eq!(executed.stderr, b"warning");
            let files: Vec<_> = executed.result.output_files.iter().map(|file| file.path.as_str()).collect();
            assert_eq!(files, ["a.d", "a.o"]);
            assert!(bench.replay.store.contains(&Digest::of(b"object")));
        }
        drop(bench.dir);
    }

    #[test]
    fn an_empty_object_is_still_one() {
        let bench = bench(true);
        let action = send(&bench, b"source");
        let job = Arc::clone(&bench.replay).ready(&action, &command(&["a.o"])).expect("ready");
        let executed = job(&CancelSwitch::new()).expect("executed");
        assert_eq!(executed.result.output_files[0].digest.as_ref().map(|digest| digest.size_bytes), Some(0));
    }

    #[test]
    fn what_was_not_recorded_is_refused() {
        let bench = bench(false);
        let action = send(&bench, b"source");
        let refused = Arc::clone(&bench.replay).ready(&action, &command(&["b.o"]));
        assert!(matches!(refused, Err(ExecuteError::Invalid(why)) if why.contains("b.o")));
    }

    #[test]
    fn a_cancelled_job_does_not_sleep_on() {
        let cancel = CancelSwitch::new();
        cancel.cancel();
        assert!(matches!(sleep(Duration::from_secs(3600), &cancel), Err(ExecuteError::Cancelled)));
    }
}
