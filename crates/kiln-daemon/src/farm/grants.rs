//! The farm as a daemon uses it: who may run something where. Runs nothing itself.

use kiln_cas::Digest;
use kiln_proto::reapi::GetCapabilitiesRequest;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_proto::v1::{AcquireRequest, Grant, GrantRequest, Node, NodeKind, Outcome, Refusal, StatusRequest, StatusResponse};
use kiln_rpc::{Address, Dial, Pool, Resting};
use kiln_sandbox::KILN_ROOT;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;

use super::clock::{Clock, Moment};
use super::known::Known;
use super::leases::{self, Lease, Leases};
use super::schedulers::Schedulers;
use super::sick::{Place, Sick};
use crate::action::Analysed;

/// Longest wait of one Acquire call on a full farm; then it is asked again, so that a dead scheduler is noticed.
pub(crate) const ACQUIRE_WAIT_MS: u32 = 2000;

/// How often channels that nobody uses are dropped, and sick workers looked for.
const TIDY: Duration = Duration::from_secs(1);

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
    /// No worker that is not to be avoided takes work.
    NoWorkers,
    /// No scheduler answers, or it knows no worker.
    NoFarm(String),
}

/// What a unit wants of its slot.
pub(crate) struct Wish<'a> {
    pub(crate) attempt: u32,
    /// Workers that failed it.
    pub(crate) avoid: &'a [String],
    /// Those it takes where no worker for its own toolchain has room.
    pub(crate) substitutes: &'a [Digest],
}

/// A grant in hand. It is returned when dropped, as unused if nothing else was said.
pub(crate) struct Granted {
    pub(crate) grant: Grant,
    lease: Lease,
}

impl Granted {
    /// What the grant was used for.
    pub(crate) fn used(&mut self, outcome: Outcome, run_ms: u64, memory_bytes: u64, detail: &str) {
        self.lease.used(outcome, run_ms, memory_bytes, detail);
    }

    /// Completes when the scheduler says that the worker is gone.
    pub(crate) async fn lost(&mut self) {
        self.lease.lost().await;
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
    schedulers: Arc<Schedulers>,
    leases: Arc<Leases>,
    clock: Arc<Clock>,
    /// Cache servers that failed lately, by address.
    resting: Mutex<Resting>,
    sick: Mutex<Sick>,
    waiting: AtomicUsize,
    /// Asked once: it reads the control groups' files each time.
    cores: u32,
    tasks: Mutex<JoinSet<()>>,
}

impl Farm {
    /// Starts watching the schedulers. Needs a running tokio.
    ///
    /// # Errors
    /// When an address or the TLS settings cannot be used.
    pub(crate) fn start(settings: FarmSettings, client_id: String) -> Result<Arc<Farm>, String> {
        let schedulers = Arc::new(Schedulers::new(&settings.schedulers, &settings.dial, client_id)?);
        let (leases, returned) = Leases::new();
        let clock = Arc::new(Clock::new());
        let farm = Arc::new(Farm {
            workers: Pool::new(settings.worker_dial.clone()),
            servers: Pool::new(settings.dial.clone()),
            known: Known::default(),
            sharing: tokio::sync::Mutex::default(),
            schedulers: Arc::clone(&schedulers),
            leases: Arc::clone(&leases),
            clock: Arc::clone(&clock),
            resting: Mutex::default(),
            sick: Mutex::default(),
            waiting: AtomicUsize::new(0),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            tasks: Mutex::default(),
            settings,
        });
        let mut tasks = farm.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move { clock.watch().await });
        for index in 0..schedulers.count() {
            let schedulers = Arc::clone(&schedulers);
            tasks.spawn(async move { schedulers.follow(index).await });
        }
        tasks.spawn(leases::renew(leases, Arc::clone(&schedulers)));
        tasks.spawn(leases::send_returns(schedulers, returned));
        tasks.spawn(tidy(Arc::downgrade(&farm)));
        drop(tasks);
        Ok(farm)
    }

    /// Whether a scheduler answers and knows workers.
    pub(crate) fn is_up(&self) -> bool {
        self.schedulers.current().is_some()
    }

    /// Tells changes of [`Farm::is_up`].
    pub(crate) fn watch_up(&self) -> watch::Receiver<bool> {
        self.schedulers.watch_up()
    }

    /// Waits until something is known of the schedulers: the first units of a daemon that just started need not run here.
    pub(crate) async fn first_look(&self) {
        self.schedulers.look().await;
    }

    /// Why there is no farm, for people.
    pub(crate) fn last_error(&self) -> String {
        self.schedulers.why_not()
    }

    /// Each scheduler's address and how it stands, for people.
    pub(crate) fn schedulers(&self) -> Vec<(String, String)> {
        self.schedulers.each()
    }

    /// A moment that [`Farm::stood_still_since`] can be asked about.
    pub(crate) fn moment(&self) -> Moment {
        self.clock.now()
    }

    /// Whether this machine stood still (stopped, suspended) at some time after `since`: a connection that broke then says nothing
    /// about the other end.
    pub(crate) fn stood_still_since(&self, since: Moment) -> bool {
        self.clock.stood_still_since(since)
    }

    /// Ends the background tasks.
    pub(crate) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sick(&self) -> MutexGuard<'_, Sick> {
        self.sick.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker was lost: no unit of this daemon is sent there until it answers.
    pub(crate) fn avoid(&self, grant: &Grant) {
        let place = Place { address: grant.worker_address.clone(), tls_name: grant.tls_name.clone() };
        self.sick().lost(&grant.worker_name, place, Instant::now());
    }

    /// Names of workers that are avoided: lost by this daemon, whatever the scheduler says of them.
    pub(crate) fn avoided(&self) -> Vec<String> {
        self.sick().names().map(str::to_owned).collect()
    }

    /// Asks a worker that was lost anything at all: whatever it says, it is there.
    async fn ask(&self, name: &str, place: &Place) {
        let Ok(address) = place.address.parse() else { return };
        self.workers.forget(&address);
        let Ok(channel) = self.workers.get(&address, &place.tls_name) else { return };
        let question = CapabilitiesClient::new(channel).get_capabilities(GetCapabilitiesRequest::default()).await;
        match question {
            Err(status) if status.code() == Code::Unavailable => tracing::debug!("{name} is not back: {}", status.message()),
            _ => {
                tracing::info!("{name} answers again");
                self.sick().answered(name);
            }
        }
    }

    /// A cache server did not answer.
    pub(crate) fn cache_failed(&self, cache: &Node) {
        self.resting().failed(&cache.address, Instant::now());
    }

    /// A cache server answered.
    pub(crate) fn cache_is_well(&self, cache: &Node) {
        self.resting().well(&cache.address);
    }

    /// Whether a cache server may be asked: one that failed lately is left alone for a while.
    pub(crate) fn may_ask(&self, cache: &Node) -> bool {
        self.resting().may_try(&cache.address, Instant::now())
    }

    /// The farm's cache servers: name and address.
    pub(crate) fn caches(&self) -> Vec<Node> {
        let configured = self.settings.caches.iter().map(|address| Node {
            name: address.to_string(),
            address: address.to_string(),
            kind: NodeKind::Cache as i32,
            tls_name: String::new(),
        });
        let mut caches: Vec<Node> = self.schedulers.caches().iter().cloned().chain(configured).collect();
        caches.sort_by(|a, b| a.address.cmp(&b.address));
        caches.dedup_by(|a, b| a.address == b.address);
        caches
    }

    /// Asks for a slot for this unit; waits at most `wait_ms` while the farm is full.
    pub(crate) async fn acquire(&self, unit: &Analysed, wish: &Wish<'_>, wait_ms: u32) -> Result<Granted, NoGrant> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = scopeguard(|| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        });
        self.acquire_as(&self.request(unit, wish, wait_ms)).await
    }

    /// Asks for the slot of `request`, in this daemon's name.
    pub(crate) async fn acquire_as(&self, request: &AcquireRequest) -> Result<Granted, NoGrant> {
        let mut last = None;
        // Once with each scheduler that seems to be there, at most.
        for _ in 0..self.schedulers.count() {
            let Some(index) = self.schedulers.current() else { break };
            let request = AcquireRequest { client_id: self.schedulers.client_id().to_owned(), ..request.clone() };
            match self.schedulers.client(index).acquire(request).await {
                Ok(answer) => return self.granted(index, answer.into_inner()),
                Err(status) => {
                    last = Some(format!("{}: {}", self.schedulers.address(index), status.message()));
                    self.schedulers.failed(index, &status).await;
                }
            }
        }
        Err(NoGrant::NoFarm(last.unwrap_or_else(|| self.last_error())))
    }

    fn request(&self, unit: &Analysed, wish: &Wish<'_>, wait_ms: u32) -> AcquireRequest {
        let Wish { attempt, avoid: tried, substitutes } = *wish;
        let mut avoid = tried.to_vec();
        // The unit's own first: the scheduler takes no more than so many.
        avoid.extend(self.sick().names().filter(|name| !tried.iter().any(|of| of == name)).map(str::to_owned));
        AcquireRequest {
            client_id: String::new(),
            local_worker: self.settings.local_worker.clone(),
            toolchain: unit.toolchain.id.hex(),
            machine: unit.toolchain.host_arch.to_owned(),
            kiln_root: KILN_ROOT.to_owned(),
            requests: vec![GrantRequest { action: unit.action_digest.to_string(), attempt, ..Default::default() }],
            wait_ms,
            backlog: u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            client_cores: self.cores,
            avoid,
            batch: self.settings.batch,
            instance: super::INSTANCE.to_owned(),
            substitutes: substitutes.iter().map(|substitute| substitute.to_string()).collect(),
        }
    }

    fn granted(&self, index: usize, answer: kiln_proto::v1::AcquireResponse) -> Result<Granted, NoGrant> {
        let refusal = answer.refusal();
        match (answer.grants.into_iter().next(), refusal) {
            (Some(grant), _) => Ok(Granted { lease: self.leases.take(&grant.lease, index), grant }),
            (None, Refusal::UnknownToolchain) => Err(NoGrant::Unserved),
            (None, Refusal::NoWorkers) => Err(NoGrant::NoWorkers),
            (None, Refusal::None | Refusal::Full) => Err(NoGrant::Full),
        }
    }

    /// What the scheduler in use knows of the farm.
    ///
    /// # Errors
    /// When none answers.
    pub(crate) async fn status(&self) -> Result<StatusResponse, String> {
        self.first_look().await;
        let index = self.schedulers.in_use().ok_or_else(|| self.last_error())?;
        let answer = self.schedulers.client(index).status(StatusRequest::default()).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| format!("{}: {}", self.schedulers.address(index), status.message()))
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

async fn tidy(farm: std::sync::Weak<Farm>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let Some(farm) = farm.upgrade() else { return };
        farm.workers.drop_idle();
        farm.servers.drop_idle();
        for (name, place) in farm.sick().due(Instant::now()) {
            let farm = Arc::clone(&farm);
            // A black-holed one takes its time; the others do not wait for it.
            tokio::spawn(async move { farm.ask(&name, &place).await });
        }
    }
}
