//! Schedulers: who may run something where. Keeps the list of nodes and whether there is a farm at all.

use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_proto::v1::{
    AcquireRequest, Grant, GrantRequest, Node, NodeKind, Outcome, Refusal, ReleaseRequest, Released, RenewRequest, StatusRequest,
    StatusResponse,
};
use kiln_rpc::{Address, Channel, Dial, Pool};
use kiln_sandbox::KILN_ROOT;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

use super::known::Known;
use crate::analyse::Analysed;

/// How often schedulers are asked for news; also how soon a farm that came back is noticed.
const POLL: Duration = Duration::from_secs(1);

/// How often the clock is looked at, to notice that this process stood still.
const CLOCK_STEP: Duration = Duration::from_millis(200);

/// A step that takes this much longer than it should was a standstill.
const STANDSTILL: Duration = Duration::from_millis(500);

/// Longest wait of a daemon's first units for the first look at the schedulers.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(2);

/// Longest wait of one Acquire call on a full farm; then it is asked again, so that a dead scheduler is noticed.
pub(crate) const ACQUIRE_WAIT_MS: u32 = 2000;

/// Most returned grants waiting to be sent.
const RELEASES_MAX: usize = 4096;

/// Most returned grants in one call.
const RELEASE_BATCH: usize = 64;

/// How one farm is reached.
#[derive(Clone, Default)]
pub struct FarmSettings {
    /// Schedulers in order of preference.
    pub schedulers: Vec<Address>,
    /// Cache servers besides those the schedulers name.
    pub caches: Vec<Address>,
    /// Dials schedulers and cache servers, with the user's token.
    pub dial: Dial,
    /// Dials workers: never with the user's token.
    pub worker_dial: Dial,
    /// Name of the worker on this machine, if there is one: it is not asked while others have room.
    pub local_worker: String,
    /// Batch builds (CI) wait for interactive ones.
    pub batch: bool,
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoGrant {
    /// All workers are busy; waiting makes sense.
    Full,
    /// No worker could ever serve this.
    Unserved,
    /// No scheduler answers, or it knows no worker.
    NoFarm(String),
}

/// A grant in hand. It is returned when dropped, as unused if nothing else was said.
pub(crate) struct Granted {
    pub(crate) grant: Grant,
    scheduler: usize,
    outcome: Option<Released>,
    returns: mpsc::Sender<(usize, Released)>,
    held: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Granted {
    /// What the grant was used for.
    pub(crate) fn used(&mut self, outcome: Outcome, run_ms: u64, memory_bytes: u64, detail: &str) {
        self.outcome = Some(Released {
            lease: self.grant.lease.clone(),
            outcome: outcome as i32,
            run_ms: u32::try_from(run_ms).unwrap_or(u32::MAX),
            memory_bytes,
            detail: detail.chars().take(200).collect(),
        });
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        let released = self.outcome.take().unwrap_or_else(|| Released {
            lease: self.grant.lease.clone(),
            outcome: Outcome::Unused as i32,
            ..Default::default()
        });
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, lease)| *lease != self.grant.lease);
        // A full queue means that a thousand returns wait for a scheduler that does not answer: its leases end by themselves.
        let _ = self.returns.try_send((self.scheduler, released));
    }
}

/// The farm.
pub(crate) struct Farm {
    pub(crate) settings: FarmSettings,
    pub(crate) workers: Pool,
    pub(crate) servers: Pool,
    pub(crate) known: Known,
    /// Held while shared blobs are brought to a cache server.
    pub(crate) sharing: tokio::sync::Mutex<()>,
    schedulers: Vec<Channel>,
    client_id: String,
    nodes: RwLock<Vec<Node>>,
    current: AtomicUsize,
    up: watch::Sender<bool>,
    /// When this process was last found to have stood still.
    stood_still: Mutex<Option<Instant>>,
    /// The schedulers have been looked at once.
    looked: watch::Sender<bool>,
    waiting: AtomicUsize,
    last_error: Mutex<String>,
    returns: mpsc::Sender<(usize, Released)>,
    held: Arc<Mutex<Vec<(usize, String)>>>,
    stopped: AtomicBool,
}

impl Farm {
    /// Starts watching the schedulers. Needs a running tokio.
    ///
    /// # Errors
    /// When an address or the TLS settings cannot be used.
    pub(crate) fn start(settings: FarmSettings, client_id: String) -> Result<Arc<Farm>, String> {
        let mut schedulers = Vec::new();
        for address in &settings.schedulers {
            schedulers.push(kiln_rpc::connect(address, &settings.dial).map_err(|error| format!("{address}: {error}"))?);
        }
        let (returns, returned) = mpsc::channel(RELEASES_MAX);
        let farm = Arc::new(Farm {
            workers: Pool::new(settings.worker_dial.clone()),
            servers: Pool::new(settings.dial.clone()),
            known: Known::default(),
            sharing: tokio::sync::Mutex::default(),
            schedulers,
            client_id,
            nodes: RwLock::default(),
            current: AtomicUsize::new(0),
            up: watch::Sender::new(false),
            stood_still: Mutex::new(None),
            looked: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            last_error: Mutex::default(),
            returns,
            held: Arc::default(),
            stopped: AtomicBool::new(false),
            settings,
        });
        tokio::spawn(watch_clock(Arc::clone(&farm)));
        tokio::spawn(watch_schedulers(Arc::clone(&farm)));
        tokio::spawn(send_returns(Arc::clone(&farm), returned));
        Ok(farm)
    }

    /// Whether a scheduler answers and knows workers.
    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Tells changes of [`Farm::is_up`].
    pub(crate) fn watch_up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Waits until the schedulers have been looked at once: the first units of a daemon that just started need not run here.
    pub(crate) async fn first_look(&self) {
        let mut looked = self.looked.subscribe();
        let _ = tokio::time::timeout(FIRST_LOOK_MAX, looked.wait_for(|looked| *looked)).await;
    }

    /// Why there is no farm, for people.
    pub(crate) fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this machine stood still (stopped, suspended) at some time after `since`: a connection that broke then says nothing
    /// about the other end.
    pub(crate) fn stood_still_since(&self, since: Instant) -> bool {
        self.stood_still.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at >= since)
    }

    /// Ends the background tasks.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// The farm's cache servers: name and address.
    pub(crate) fn caches(&self) -> Vec<Node> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let named = nodes.iter().filter(|node| node.kind == NodeKind::Cache as i32).cloned();
        let configured = self.settings.caches.iter().map(|address| Node {
            name: address.to_string(),
            address: address.to_string(),
            kind: NodeKind::Cache as i32,
            tls_name: String::new(),
        });
        let mut caches: Vec<Node> = named.chain(configured).collect();
        caches.sort_by(|a, b| a.address.cmp(&b.address));
        caches.dedup_by(|a, b| a.address == b.address);
        caches
    }

    fn scheduler(&self, index: usize) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.schedulers[index].clone())
    }

    fn set_up(&self, up: bool, error: &str) {
        if !up {
            error.clone_into(&mut self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.up.send_if_modified(|was| std::mem::replace(was, up) != up);
    }

    /// Asks for a slot for this unit; waits at most `wait_ms` while the farm is full.
    pub(crate) async fn acquire(&self, unit: &Analysed, attempt: u32, avoid: &[String], wait_ms: u32) -> Result<Granted, NoGrant> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = scopeguard(|| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        });
        let index = self.current.load(Ordering::Relaxed);
        if !self.is_up() || index >= self.schedulers.len() {
            return Err(NoGrant::NoFarm(self.last_error()));
        }
        let request = AcquireRequest {
            client_id: self.client_id.clone(),
            local_worker: self.settings.local_worker.clone(),
            toolchain: unit.toolchain.id.hex(),
            machine: unit.toolchain.host_arch.to_owned(),
            kiln_root: KILN_ROOT.to_owned(),
            requests: vec![GrantRequest { action: unit.action_digest.to_string(), attempt, ..Default::default() }],
            wait_ms,
            backlog: u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            client_cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            avoid: avoid.to_vec(),
            batch: self.settings.batch,
            instance: super::INSTANCE.to_owned(),
        };
        let answer = self.scheduler(index).acquire(request).await;
        let answer = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                self.set_up(false, &format!("{}: {}", self.settings.schedulers[index], status.message()));
                return Err(NoGrant::NoFarm(status.message().to_owned()));
            }
        };
        if let Some(nodes) = answer.nodes {
            *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes.nodes;
        }
        match (answer.grants.into_iter().next(), answer.refusal) {
            (Some(grant), _) => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).push((index, grant.lease.clone()));
                Ok(Granted { grant, scheduler: index, outcome: None, returns: self.returns.clone(), held: Arc::clone(&self.held) })
            }
            (None, refusal) if refusal == Refusal::UnknownToolchain as i32 => Err(NoGrant::Unserved),
            (None, refusal) if refusal == Refusal::NoWorkers as i32 => Err(NoGrant::NoFarm("no workers".to_owned())),
            (None, _) => Err(NoGrant::Full),
        }
    }

    /// What the scheduler in use knows of the farm.
    ///
    /// # Errors
    /// When none answers.
    pub(crate) async fn status(&self) -> Result<StatusResponse, String> {
        let index = self.current.load(Ordering::Relaxed).min(self.schedulers.len().saturating_sub(1));
        if self.schedulers.is_empty() {
            return Err("no scheduler is configured".to_owned());
        }
        let answer = self.scheduler(index).status(StatusRequest::default()).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| format!("{}: {}", self.settings.schedulers[index], status.message()))
    }

    /// Looks at every scheduler from the one in use on, and takes the first that answers and has workers.
    async fn poll(&self) {
        let count = self.schedulers.len();
        let start = self.current.load(Ordering::Relaxed);
        let mut error = String::from("no scheduler is configured");
        for step in 0..count {
            let index = (start + step) % count;
            match self.scheduler(index).status(StatusRequest::default()).await {
                Ok(answer) => {
                    let status = answer.into_inner();
                    self.take_nodes(&status);
                    if status.workers.iter().any(|worker| worker.kind == NodeKind::Worker as i32 && worker.state != "silent") {
                        self.current.store(index, Ordering::Relaxed);
                        self.set_up(true, "");
                        return;
                    }
                    error = format!("{}: no workers", self.settings.schedulers[index]);
                }
                Err(status) => error = format!("{}: {}", self.settings.schedulers[index], status.message()),
            }
        }
        self.set_up(false, &error);
    }

    fn take_nodes(&self, status: &StatusResponse) {
        let nodes = status.workers.iter().filter(|worker| worker.state != "silent").map(|worker| Node {
            name: worker.name.clone(),
            address: worker.address.clone(),
            kind: worker.kind,
            tls_name: String::new(),
        });
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes.collect();
    }

    /// Keeps the leases of running units alive.
    async fn renew(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for index in 0..self.schedulers.len() {
            let leases: Vec<String> = held.iter().filter(|(at, _)| *at == index).map(|(_, lease)| lease.clone()).collect();
            if !leases.is_empty() {
                let request = RenewRequest { client_id: self.client_id.clone(), leases };
                if let Err(status) = self.scheduler(index).renew(request).await {
                    tracing::debug!("leases not renewed: {}", status.message());
                }
            }
        }
    }
}

fn scopeguard<F: FnMut()>(act: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(act)
}

/// Seconds since the machine started, those asleep included.
fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Notices that this process stood still: a step that took half a second longer than it should.
async fn watch_clock(farm: Arc<Farm>) {
    while !farm.stopped.load(Ordering::SeqCst) {
        let before = boottime();
        tokio::time::sleep(CLOCK_STEP).await;
        if boottime().saturating_sub(before) > CLOCK_STEP + STANDSTILL {
            *farm.stood_still.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

async fn watch_schedulers(farm: Arc<Farm>) {
    while !farm.stopped.load(Ordering::SeqCst) {
        // A scheduler that stopped answering must not hold up the news that another is there.
        let _ = tokio::time::timeout(3 * POLL, farm.poll()).await;
        farm.looked.send_replace(true);
        let _ = tokio::time::timeout(POLL, farm.renew()).await;
        tokio::time::sleep(POLL).await;
    }
}

async fn send_returns(farm: Arc<Farm>, mut returned: mpsc::Receiver<(usize, Released)>) {
    let mut batch = Vec::with_capacity(RELEASE_BATCH);
    while returned.recv_many(&mut batch, RELEASE_BATCH).await > 0 {
        for index in 0..farm.schedulers.len() {
            let released: Vec<Released> = batch.iter().filter(|(at, _)| *at == index).map(|(_, one)| one.clone()).collect();
            if !released.is_empty() {
                let request = ReleaseRequest { client_id: farm.client_id.clone(), released };
                if let Err(status) = farm.scheduler(index).release(request).await {
                    tracing::debug!("grants not returned: {}", status.message());
                }
            }
        }
        batch.clear();
    }
}
