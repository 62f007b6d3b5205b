//! An engine that has its actions run by a REAPI cluster of another make: a gateway. Knows no grant and no scheduler.
//!
//! To the farm it is a worker with as many slots as the cluster is to be given jobs. The cluster must run an action with its input
//! root as the whole file system (`worker.cluster_root = "chroot"`), as buildbox does with bubblewrap and Buildbarn with
//! `chroot_into_input_root`; only then does the compiler see the files of the client at their paths, and nothing else.

use kiln_cas::{Action, BlobStore as _, Command, Digest, ROOT_PROPERTY};
use kiln_proto::convert::{digest_from_wire, digest_to_wire};
use kiln_proto::longrunning::CancelOperationRequest;
use kiln_proto::longrunning::operations_client::OperationsClient;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_proto::reapi::execution_client::ExecutionClient;
use kiln_proto::reapi::{ActionResult, ExecuteRequest, ExecuteResponse, GetCapabilitiesRequest, digest_function};
use kiln_proto::status::{missing_in, response_of};
use kiln_rpc::Channel;
use kiln_sandbox::{Limit, Rung, RungReport};
use kiln_store::DiskStore;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tonic::{Code, Status};

use crate::blob_client::{BATCH_BLOBS_MAX, BATCH_BYTES_MAX, BlobClient, MESSAGE_MAX, Outgoing, pieces};
use crate::engine::{Engine, Job};
use crate::executor::{CancelSwitch, ExecuteError, Executed, STDIN_PROPERTY, TERMINAL_PROPERTY};
use crate::verdict::{Doubt, Verdict, judge_exit};

/// How often a job looks whether it was cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(100);
/// Between two questions to a cluster that runs something: as often as it is sent pings.
const TALK_EVERY: Duration = kiln_rpc::limits::KEEPALIVE_INTERVAL;
/// Longest wait for the cluster's answer to a cancellation.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// Times the cluster may say that blobs are missing within one run.
const MISSING_ROUNDS: u32 = 3;
/// Most directories of which everything is known to be in the store, or blobs known to be in the cluster: 40 bytes each.
const KNOWN_MAX: usize = 262_144;

/// How a cluster is used.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Its instance name; empty where it has but one.
    pub instance: String,
    /// Properties of the platform that its workers want; kiln's own are not sent.
    pub platform: Vec<(String, String)>,
    /// Jobs given to it at once.
    pub slots: u32,
    /// Largest output taken from it, bytes.
    pub output_bytes_max: u64,
}

/// The engine.
pub struct Cluster {
    store: DiskStore,
    channel: Channel,
    settings: ClusterSettings,
    report: RungReport,
    /// Directories of which everything is in the store.
    whole: Mutex<BTreeSet<Digest>>,
    /// Blobs that the cluster has, as far as is known.
    sent: Mutex<BTreeSet<Digest>>,
    runtime: Handle,
}

impl Cluster {
    /// An engine over a store and a channel to the cluster. Asks it whether it executes. Needs a running tokio.
    ///
    /// # Errors
    /// One line: it does not answer, or cannot do what is wanted of it.
    pub async fn connect(store: DiskStore, channel: Channel, settings: ClusterSettings) -> Result<Cluster, String> {
        let request = GetCapabilitiesRequest { instance_name: settings.instance.clone() };
        let answer = CapabilitiesClient::new(channel.clone()).get_capabilities(request).await;
        let answer = answer.map_err(|status| format!("cluster: {:?}: {}", status.code(), status.message()))?.into_inner();
        let executes = answer.execution_capabilities.as_ref().is_some_and(|execution| execution.exec_enabled);
        if !executes {
            return Err(format!("cluster: its instance {:?} executes nothing", settings.instance));
        }
        let functions = answer.cache_capabilities.map(|cache| cache.digest_functions).unwrap_or_default();
        if !functions.contains(&(digest_function::Value::Sha256 as i32)) {
            return Err("cluster: it does not know SHA-256".to_owned());
        }
        let report =
            RungReport { rung: Rung::UserNamespace, why_not_better: Vec::new(), how_to_improve: Vec::new(), absent: Vec::new() };
        let runtime = Handle::current();
        Ok(Cluster { store, channel, settings, report, whole: Mutex::default(), sent: Mutex::default(), runtime })
    }

    fn blobs(&self) -> BlobClient {
        BlobClient::new(self.channel.clone(), &self.settings.instance).uncompressed()
    }

    /// Enters all that lies below a directory, and what of it is not in the store.
    fn walk(&self, digest: &Digest, all: &mut BTreeSet<Digest>, missing: &mut BTreeSet<Digest>) -> Result<(), ExecuteError> {
        if !all.insert(*digest) {
            return Ok(());
        }
        let directory = self.store.directory(digest).map_err(|error| ExecuteError::Invalid(error.to_string()))?;
        let Some(directory) = directory else {
            missing.insert(*digest);
            return Ok(());
        };
        let before = missing.len();
        let files: Vec<Digest> = directory.files.iter().map(|file| file.digest).collect();
        if !known(&self.whole).contains(digest) {
            missing.extend(self.store.find_missing(&files));
        }
        all.extend(files);
        for child in &directory.directories {
            self.walk(&child.digest, all, missing)?;
        }
        if missing.len() == before {
            remember(&self.whole, [*digest]);
        }
        Ok(())
    }

    async fn send(&self, digests: &[Digest]) -> Result<(), Status> {
        let client = self.blobs();
        let (small, large): (Vec<Digest>, Vec<Digest>) = digests.iter().partition(|digest| digest.size <= BATCH_BYTES_MAX);
        let mut batch = Vec::new();
        let mut bytes = 0;
        for digest in small {
            if bytes + digest.size > BATCH_BYTES_MAX || batch.len() >= BATCH_BLOBS_MAX {
                client.update(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += digest.size;
            batch.push(Outgoing { digest, bytes: self.get(digest).await? });
        }
        if !batch.is_empty() {
            client.update(batch).await?;
        }
        for digest in large {
            client.write(&digest, pieces(self.open(digest).await?)).await?;
        }
        remember(&self.sent, digests.iter().copied());
        Ok(())
    }

    async fn get(&self, digest: Digest) -> Result<Vec<u8>, Status> {
        let store = self.store.clone();
        let read =
            tokio::task::spawn_blocking(move || store.get(&digest)).await.map_err(|error| Status::internal(error.to_string()))?;
        let bytes = read.map_err(|error| Status::internal(error.to_string()))?;
        bytes.map(|bytes| bytes.to_vec()).ok_or_else(|| Status::internal(format!("{digest} was evicted")))
    }

    async fn open(&self, digest: Digest) -> Result<std::fs::File, Status> {
        let store = self.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.open_file(&digest)).await;
        let opened = opened.map_err(|error| Status::internal(error.to_string()))?;
        opened
            .map_err(|error| Status::internal(error.to_string()))?
            .ok_or_else(|| Status::internal(format!("{digest} was evicted")))
    }

    /// One run from the upload to the fetched result.
    async fn run(&self, action: Digest, inputs: &[Digest], running: &mut Option<String>) -> Result<Executed, ExecuteError> {
        let began = Instant::now();
        let mut wanted: Vec<Digest> = inputs.iter().filter(|digest| !known(&self.sent).contains(digest)).copied().collect();
        for _ in 0..MISSING_ROUNDS {
            let missing = self.blobs().find_missing(&wanted).await.map_err(machine)?;
            self.send(&missing).await.map_err(machine)?;
            remember(&self.sent, std::mem::take(&mut wanted));
            let response = self.execute(action, running).await.map_err(machine)?;
            let status = response.status.unwrap_or_default();
            if !missing_in(&status).is_empty() {
                // It forgets what it likes: nothing is known of it any more.
                known(&self.sent).clear();
                wanted = inputs.to_vec();
                continue;
            }
            *running = None;
            return match (Code::from_i32(status.code), response.result) {
                (Code::Ok, Some(result)) => self.judge(result, began).await,
                (Code::DeadlineExceeded, _) => Err(ExecuteError::Doubtful(Doubt::Limit(Limit::Time))),
                (code, _) => Err(ExecuteError::Machine(format!("cluster: {code:?}: {}", status.message))),
            };
        }
        Err(ExecuteError::Machine("cluster: it keeps saying that blobs are missing".to_owned()))
    }

    async fn execute(&self, action: Digest, running: &mut Option<String>) -> Result<ExecuteResponse, Status> {
        let request = ExecuteRequest {
            instance_name: self.settings.instance.clone(),
            // kiln looks where its own workers keep results; the cluster's own may be anybody's.
            skip_cache_lookup: true,
            action_digest: Some(digest_to_wire(&action)),
            ..Default::default()
        };
        let mut client = ExecutionClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let mut stream = client.execute(request).await?.into_inner();
        while let Some(operation) = stream.message().await? {
            if let Some(response) = response_of(&operation).map_err(Status::internal)? {
                return Ok(response);
            }
            *running = Some(operation.name);
        }
        Err(Status::unavailable("it ended the stream before the run"))
    }

    /// Takes a finished run's result into the store, if its end is believed.
    async fn judge(&self, mut result: ActionResult, began: Instant) -> Result<Executed, ExecuteError> {
        let stdout = self.stream(&mut result.stdout_digest, std::mem::take(&mut result.stdout_raw)).await?;
        let stderr = self.stream(&mut result.stderr_digest, std::mem::take(&mut result.stderr_raw)).await?;
        if let Verdict::Doubtful(doubt) = judge_exit(result.exit_code, &stderr) {
            return Err(ExecuteError::Doubtful(doubt));
        }
        let strange = |why: &str| ExecuteError::Machine(format!("cluster: a result with {why}"));
        if !result.output_directories.is_empty() || !result.output_symlinks.is_empty() {
            return Err(strange("directories or links"));
        }
        for file in &mut result.output_files {
            let digest = digest_from_wire(file.digest.as_ref()).map_err(|error| strange(&error.to_string()))?;
            let bytes = self.fetch(&digest, std::mem::take(&mut file.contents)).await?;
            self.keep(digest, bytes).await?;
        }
        result.execution_metadata = None;
        let wall_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Executed { result, stdout, stderr, cpu_us: wall_us, wall_us, max_rss_bytes: 0 })
    }

    async fn stream(&self, wire: &mut Option<kiln_proto::reapi::Digest>, raw: Vec<u8>) -> Result<Vec<u8>, ExecuteError> {
        let bytes = match digest_from_wire(wire.as_ref()) {
            Ok(digest) => self.fetch(&digest, raw).await?,
            Err(_) => raw,
        };
        *wire = None;
        if !bytes.is_empty() {
            let digest = Digest::of(&bytes);
            self.keep(digest, bytes.clone()).await?;
            *wire = Some(digest_to_wire(&digest));
        }
        Ok(bytes)
    }

    /// A blob of a result, checked.
    async fn fetch(&self, digest: &Digest, inline: Vec<u8>) -> Result<Vec<u8>, ExecuteError> {
        if digest.size == inline.len() as u64 && digest.matches(&inline) {
            return Ok(inline);
        }
        if digest.size > self.settings.output_bytes_max {
            return Err(ExecuteError::Machine(format!("cluster: an output of {} bytes", digest.size)));
        }
        let mut bytes = Vec::new();
        let collect = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        self.blobs().stream(digest, collect).await.map_err(machine)?;
        match digest.matches(&bytes) {
            true => Ok(bytes),
            false => Err(ExecuteError::Machine(format!("cluster: {digest} came with other content"))),
        }
    }

    async fn keep(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), ExecuteError> {
        let store = self.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.put(&digest, &bytes)).await;
        let kept = kept.map_err(|error| ExecuteError::Machine(error.to_string()))?;
        kept.map_err(|error| ExecuteError::Machine(error.to_string()))
    }

    /// Asks the cluster something every now and then: servers built on gRPC's C library close a connection that sends pings, as ours do to
    /// notice a lost peer, while nothing is sent back (GOAWAY `too_many_pings` at the third; what they send sets the count to zero).
    async fn keep_talking(&self) -> Infallible {
        let mut client = CapabilitiesClient::new(self.channel.clone());
        loop {
            tokio::time::sleep(TALK_EVERY).await;
            let request = GetCapabilitiesRequest { instance_name: self.settings.instance.clone() };
            if let Err(status) = client.get_capabilities(request).await {
                // Whether that ends the run is for the run to find out.
                tracing::debug!("cluster: {:?}: {}", status.code(), status.message());
            }
        }
    }

    /// Tells the cluster, and waits for nothing: one that is lost answers this no more than it did the run.
    fn cancel(&self, name: String) {
        let mut client = OperationsClient::new(self.channel.clone());
        let _detached = self.runtime.spawn(async move {
            let answer = client.cancel_operation(CancelOperationRequest { name });
            match tokio::time::timeout(CANCEL_WAIT, answer).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => tracing::debug!("cluster: run not cancelled: {}", status.message()),
                Err(_) => tracing::debug!("cluster: run not cancelled: no answer"),
            }
        });
    }

    /// The action as the cluster is to know it.
    fn translated(&self, action: &Action, command: &Command) -> Result<(Action, Command), ExecuteError> {
        if action.property(ROOT_PROPERTY).is_none() {
            return Err(ExecuteError::Elsewhere(
                "this worker is a gateway and runs only actions with a root of their own".to_owned(),
            ));
        }
        if let Some(name) = [TERMINAL_PROPERTY, STDIN_PROPERTY].into_iter().find(|name| action.property(name).is_some()) {
            return Err(ExecuteError::Invalid(format!("the cluster behind this worker cannot do {name}")));
        }
        let leaves = |path: &String| path.starts_with('/') || path.split('/').any(|part| part == "..");
        if let Some(path) = command.output_paths.iter().find(|path| leaves(path)) {
            return Err(ExecuteError::Invalid(format!(
                "the cluster behind this worker writes nothing outside the directory: {path}"
            )));
        }
        let mut platform = self.settings.platform.clone();
        platform.sort();
        let command = Command { platform: platform.clone(), ..command.clone() };
        let command_digest = Digest::of(&command.encode());
        Ok((Action { command_digest, platform, ..action.clone() }, command))
    }
}

impl Engine for Cluster {
    fn ready(self: Arc<Self>, action: &Action, command: &Command) -> Result<Job, ExecuteError> {
        let (action, command) = self.translated(action, command)?;
        let (mut inputs, mut missing) = (BTreeSet::new(), BTreeSet::new());
        self.walk(&action.input_root_digest, &mut inputs, &mut missing)?;
        if !missing.is_empty() {
            return Err(ExecuteError::Missing(missing.into_iter().collect()));
        }
        let mut digest = Digest::EMPTY;
        for message in [command.encode(), action.encode()] {
            digest = Digest::of(&message);
            self.store.put(&digest, &message).map_err(|error| ExecuteError::Machine(error.to_string()))?;
            inputs.insert(digest);
        }
        let inputs: Vec<Digest> = inputs.into_iter().collect();
        Ok(Box::new(move |cancel| {
            let runtime = self.runtime.clone();
            runtime.block_on(async {
                let mut running = None;
                let run = async {
                    tokio::select! {
                        executed = self.run(digest, &inputs, &mut running) => executed,
                        never = self.keep_talking() => match never {},
                    }
                };
                let executed = until_cancelled(cancel, run).await;
                if let Some(name) = running {
                    self.cancel(name);
                }
                if matches!(executed, Some(Err(ExecuteError::Machine(_)))) {
                    // It may come back with an empty store, and does not always say then which blobs are missing.
                    known(&self.sent).clear();
                }
                executed.unwrap_or(Err(ExecuteError::Cancelled))
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
        Some(self.settings.slots)
    }
}

async fn until_cancelled<T>(cancel: &CancelSwitch, act: impl Future<Output = T>) -> Option<T> {
    let cancelled = async {
        let mut every = tokio::time::interval(CANCEL_LOOK);
        while !cancel.is_cancelled() {
            every.tick().await;
        }
    };
    tokio::select! {
        value = act => Some(value),
        () = cancelled => None,
    }
}

fn machine(status: Status) -> ExecuteError {
    ExecuteError::Machine(format!("cluster: {:?}: {}", status.code(), status.message()))
}

fn known(set: &Mutex<BTreeSet<Digest>>) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(set: &Mutex<BTreeSet<Digest>>, digests: impl IntoIterator<Item = Digest>) {
    let mut set = known(set);
    if set.len() >= KNOWN_MAX {
        set.clear();
    }
    set.extend(digests);
}
