//! A worker whole: its parts made from settings, its services routed, its place among the schedulers kept.

use kiln_cache::{Access, Blobs, ByteStreamService, CapabilitiesService, CasContext, CasService, Instances};
use kiln_proto::grant::{GRANT_METADATA, GrantBook, attached};
use kiln_proto::longrunning::operations_server::OperationsServer;
use kiln_proto::reapi;
use kiln_proto::reapi::execution_server::ExecutionServer;
use kiln_rpc::metrics::{Metrics, Snapshot};
use kiln_rpc::{Address, Channel, Dial, Extra, Peer, Pool};
use kiln_sandbox::{KILN_ROOT, Limits, Rung};
use kiln_store::{DiskStore, StoreConfig};
use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::blob_client::MESSAGE_MAX;
use crate::cluster::{Cluster, ClusterSettings};
use crate::engine::Engine;
use crate::executor::{Executor, ExecutorConfig};
use crate::fetch::Fetcher;
use crate::operations::Operations;
use crate::publish::Publisher;
use crate::register;
use crate::service::{Counters, Service, Shared};
use crate::substitute;

/// How often the store is tidied.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How often a draining worker looks whether its last job is done.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// All a worker is told.
#[derive(Clone)]
pub struct Settings {
    /// Shown to people, unique in the farm.
    pub name: String,
    /// Store and scratch, on one file system.
    pub dir: PathBuf,
    /// Where clients and peers reach it.
    pub advertise: Address,
    /// The name its certificate holds, where that is not the address's host; else empty.
    pub tls_name: String,
    /// Jobs at once.
    pub slots: usize,
    /// Nobody sits at this machine.
    pub dedicated: bool,
    /// Work that is not the farm's takes slots away.
    pub yields: bool,
    /// Schedulers to register with; none: a standalone REAPI server for holders of a user's credential.
    pub schedulers: Vec<Address>,
    /// Dials schedulers, caches and peers, with the worker's credential.
    pub dial: Dial,
    /// Program and arguments of the sandbox's helper.
    pub helper_argv: Vec<OsString>,
    /// Most bytes of disk for blobs.
    pub store_bytes_max: u64,
    /// Bounds on each job.
    pub limits: Limits,
    /// Force a rung of the sandbox's ladder.
    pub rung: Option<Rung>,
    /// Cgroups in which children may be made.
    pub cgroups: Vec<PathBuf>,
    /// The processor architecture that jobs run on, as `uname -m` has it, where it is another than this machine's; else empty.
    pub machine: String,
    /// Drivers of compilers of this machine that may stand in for those of clients of another architecture.
    pub substitutes: Vec<PathBuf>,
    /// kiln's version.
    pub version: String,
}

/// A worker that is ready to serve.
#[derive(Clone)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<Settings>,
    /// The same for the life of this process: a scheduler tells a reconnect from a restart by it.
    pub(crate) boot_id: Arc<str>,
}

impl Worker {
    /// Opens the store and starts the sandbox. Needs a running tokio; blocks for as long as the store is large.
    ///
    /// # Errors
    /// One line: what cannot be opened or started.
    pub fn start(settings: Settings) -> Result<Worker, String> {
        std::fs::create_dir_all(&settings.dir).map_err(|error| format!("{}: {error}", settings.dir.display()))?;
        let config = StoreConfig::new(settings.dir.join("store"), settings.store_bytes_max);
        let store = DiskStore::open(config).map_err(|error| error.to_string())?;
        let executor = Executor::start(
            store,
            ExecutorConfig {
                scratch: settings.dir.join("scratch"),
                helper_argv: settings.helper_argv.clone(),
                slots: settings.slots.max(1),
                rung: settings.rung,
                limits: settings.limits.clone(),
                cgroups: settings.cgroups.clone(),
            },
        )?;
        Ok(Worker::with_engine(settings, Arc::new(executor)))
    }

    /// A worker that is a gateway to a REAPI cluster of another make.
    ///
    /// # Errors
    /// One line: the store cannot be opened, or the cluster cannot be used.
    pub async fn start_gateway(settings: Settings, cluster: Channel, used: ClusterSettings) -> Result<Worker, String> {
        std::fs::create_dir_all(&settings.dir).map_err(|error| format!("{}: {error}", settings.dir.display()))?;
        let config = StoreConfig::new(settings.dir.join("store"), settings.store_bytes_max);
        let store = tokio::task::block_in_place(|| DiskStore::open(config)).map_err(|error| error.to_string())?;
        let engine = Cluster::connect(store, cluster, used).await?;
        Ok(tokio::task::block_in_place(|| Worker::with_engine(settings, Arc::new(engine))))
    }

    /// A worker that runs its actions with `engine`, in place of the sandbox's executor. Blocks while its substitutes are packaged.
    pub fn with_engine(settings: Settings, engine: Arc<dyn Engine>) -> Worker {
        let (slots, store) = (settings.slots.max(1), engine.store().clone());
        let offers = substitute::offer(&settings.substitutes, &store);
        let pool = || Pool::new(settings.dial.clone());
        let fetcher = Arc::new(Fetcher::new(store, pool(), settings.advertise.to_string()));
        let publisher = Publisher::start(Arc::clone(&engine), Arc::clone(&fetcher), Arc::new(pool()));
        let shared = Shared {
            engine,
            fetcher,
            publisher,
            operations: Operations::default(),
            grants: Mutex::new(GrantBook::new()),
            started: Instant::now(),
            slots: Arc::new(Semaphore::new(slots)),
            slots_count: slots,
            admitted: AtomicU32::new(0),
            leaving: CancellationToken::new(),
            standalone: settings.schedulers.is_empty(),
            registrations: Mutex::default(),
            unwell: Mutex::new(None),
            doubted: Mutex::new(None),
            offers,
            counters: Counters::default(),
        };
        let boot_id = crate::service::fresh_name().into();
        Worker { shared: Arc::new(shared), settings: Arc::new(settings), boot_id }
    }

    /// What the sandbox reached, for logs and `kiln doctor`.
    pub fn report(&self) -> &kiln_sandbox::RungReport {
        self.shared.engine.report()
    }

    /// The services.
    pub fn routes(&self) -> Routes {
        let access = match self.shared.standalone {
            true => Access::cluster(),
            false => Access::worker(),
        };
        let instances = Instances::new(["", Instances::MAIN].map(|name| (name.to_owned(), kiln_cache::Instance::default())));
        let blobs = Blobs::new(self.shared.engine.store().clone());
        let context = || CasContext::new(blobs.clone(), instances.clone(), access.clone());
        let execution = reapi::ExecutionCapabilities {
            digest_function: reapi::digest_function::Value::Sha256 as i32,
            digest_functions: vec![reapi::digest_function::Value::Sha256 as i32],
            exec_enabled: true,
            ..Default::default()
        };
        let service = Service(Arc::clone(&self.shared));
        Routes::new(CasService::new(context()).into_server())
            .add_service(ByteStreamService::new(context()).into_server())
            .add_service(CapabilitiesService::new(context()).with_execution(execution).into_server())
            .add_service(ExecutionServer::new(service.clone()).max_encoding_message_size(MESSAGE_MAX))
            .add_service(OperationsServer::new(service))
    }

    /// Lets holders of a grant in.
    pub fn admission(&self) -> Arc<dyn Extra> {
        Arc::new(GrantHolders(Arc::clone(&self.shared)))
    }

    /// The worker's numbers for `/metrics`.
    pub fn metrics(&self) -> Arc<dyn Snapshot> {
        Arc::new(WorkerMetrics(Arc::clone(&self.shared)))
    }

    /// Keeps the worker registered until `shutdown` completes; then takes no more work, says goodbye, hands back what has not
    /// begun, and returns when the last job is done. Heartbeats go on until then, so that nobody gives these jobs up.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut tasks = tokio::task::JoinSet::new();
        for scheduler in &self.settings.schedulers {
            tasks.spawn(register::keep_registered(self.clone(), scheduler.clone()));
        }
        let store = self.shared.engine.store().clone();
        tasks.spawn(async move {
            let mut every = tokio::time::interval(HOUSEKEEPING);
            loop {
                every.tick().await;
                let store = store.clone();
                if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.maintain()).await {
                    tracing::warn!("store: {error}");
                }
            }
        });
        shutdown.await;
        self.shared.leaving.cancel();
        for scheduler in &self.settings.schedulers {
            register::say_goodbye(self, scheduler).await;
        }
        while self.shared.admitted.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        tasks.abort_all();
    }

    /// The root form it gives, for registration.
    pub(crate) fn kiln_root(&self) -> String {
        match self.report().rung {
            Rung::None => String::new(),
            _ => KILN_ROOT.to_owned(),
        }
    }

    /// Cores of the machine that jobs run on.
    pub(crate) fn cores(&self) -> u32 {
        let own = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.shared.engine.imagined_cores().unwrap_or_else(own)
    }

    /// CPU time of finished jobs, microseconds.
    pub(crate) fn job_cpu_us(&self) -> u64 {
        self.shared.counters.cpu_us.load(Ordering::Relaxed)
    }
}

struct GrantHolders(Arc<Shared>);

impl Extra for GrantHolders {
    fn check(&self, headers: &http::HeaderMap, _: &Peer) -> Option<String> {
        let mut shown = http::HeaderMap::new();
        shown.insert(GRANT_METADATA, headers.get(GRANT_METADATA)?.clone());
        let token = attached(&tonic::metadata::MetadataMap::from_headers(shown)).ok()??;
        let now = self.0.started.elapsed();
        let grant = Service(Arc::clone(&self.0)).book().present(now, &token).ok()?;
        Some(grant.user)
    }
}

struct WorkerMetrics(Arc<Shared>);

impl Snapshot for WorkerMetrics {
    fn write(&self, out: &mut Metrics<'_>) {
        let counters = &self.0.counters;
        for (name, help, counter) in [
            ("kiln_worker_executed", "Actions run to a final end.", &counters.executed),
            ("kiln_worker_failed", "Actions that this machine failed.", &counters.failed),
            ("kiln_worker_doubtful", "Actions whose end was not believed.", &counters.doubtful),
            ("kiln_worker_rejected", "Requests turned down for want of room.", &counters.rejected),
            ("kiln_worker_missing", "Requests answered with a list of missing blobs.", &counters.missing),
            ("kiln_worker_joined", "Requests that joined a running action.", &counters.joined),
            ("kiln_worker_cancelled", "Runs that were cancelled.", &counters.cancelled),
            ("kiln_worker_job_cpu_microseconds", "CPU time of jobs.", &counters.cpu_us),
        ] {
            out.counter(name, help, &[], counter.load(Ordering::Relaxed));
        }
        out.gauge("kiln_worker_running", "Jobs running now.", &[], i64::from(counters.running.load(Ordering::Relaxed)));
        out.gauge("kiln_worker_queued", "Jobs waiting for a slot.", &[], i64::from(counters.queued.load(Ordering::Relaxed)));
        out.gauge("kiln_worker_slots", "Jobs at once.", &[], self.0.slots_count as i64);
        out.gauge("kiln_worker_store_bytes", "Bytes of blobs on disk.", &[], self.0.engine.store().stats().bytes as i64);
    }
}
