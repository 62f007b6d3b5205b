//! The daemon's parts, how they are made from settings, and its life from start to drain.

use kiln_frame::{Identity, Place};
use kiln_sandbox::{Limits, Rung};
use kiln_store::{DiskStore, Kept, ResultConfig, ResultStore, StoreConfig};
use kiln_worker::{Executor, ExecutorConfig};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::farm::{Farm, FarmSettings};
use crate::files::{self, Files};
use crate::inputs::Scans;
use crate::journal::Journal;
use crate::local::Local;
use crate::precompiled::Precompiled;
use crate::root::Bases;
use crate::slots::{Gate, Holders};
use crate::stats::Counters;
use crate::substitute::Substitutes;
use crate::toolchains::{self, Toolchains};

/// How often counters and what is known of compilers are saved, and stores tidied.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// How often what is known of files is saved while requests come, in case the daemon is killed; else when they have ended, and at its end.
const FILES_SAVED: Duration = Duration::from_secs(600);

/// Longest wait for requests in flight when the daemon goes.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// What happens when the farm let a unit down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// The unit is compiled here and nothing is said.
    #[default]
    Silent,
    /// It is compiled here, with one line.
    Warn,
    /// The command fails: for tests and CI, which must notice.
    Fail,
}

/// All a daemon is told.
#[derive(Clone)]
pub struct Settings {
    /// State: stores, counters, scratch.
    pub dir: PathBuf,
    /// Program and arguments of the sandbox's helper.
    pub helper_argv: Vec<OsString>,
    /// The farm, if there is one.
    pub farm: Option<FarmSettings>,
    /// What happens when the farm lets a unit down, unless the request says otherwise.
    pub fallback: Fallback,
    /// Whether results are kept and reused on this machine.
    pub cache: bool,
    /// Whether the cluster's action cache is asked.
    pub remote_cache: bool,
    /// Most bytes of disk for blobs and results.
    pub cache_bytes_max: u64,
    /// Jobs at once on this machine; 0: as many as it has processors.
    pub local_slots: usize,
    /// Whether cacheable units may run here in the sandbox; else the wrapper runs the compiler itself.
    pub local_sandbox: bool,
    /// Force a rung of the sandbox's ladder.
    pub rung: Option<Rung>,
    /// The daemon ends after this long without a request; `None`: never.
    pub idle_exit: Option<Duration>,
    /// Whether compilers of workers of another architecture may take the place of this machine's, once proven equal.
    pub substitutes: bool,
    /// kiln's version, for status.
    pub version: String,
    /// What all of this was made from, as text by key of the configuration, for whoever asks.
    pub configured: BTreeMap<String, String>,
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) files: Files,
    pub(crate) scans: Scans,
    pub(crate) toolchains: Toolchains,
    pub(crate) bases: Bases,
    pub(crate) precompiled: Precompiled,
    pub(crate) local: Local,
    pub(crate) substitutes: Substitutes,
    pub(crate) farm: Option<Arc<Farm>>,
    pub(crate) counters: Counters,
    pub(crate) journal: Journal,
    /// Scans and other light work: 1.5 x processors.
    pub(crate) light: Arc<Gate>,
    /// Links and local compiles.
    pub(crate) heavy: Arc<Gate>,
    pub(crate) holders: Arc<Holders>,
    pub(crate) active: AtomicUsize,
    pub(crate) draining: AtomicBool,
    pub(crate) drain: Notify,
    pub(crate) started: Instant,
    pub(crate) last_request: std::sync::Mutex<Instant>,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Daemon {
    pub(crate) fn new(settings: Settings, identity: Identity) -> Result<Daemon, String> {
        let in_dir = |error: std::io::Error| format!("{}: {error}", settings.dir.display());
        std::fs::create_dir_all(&settings.dir).map_err(in_dir)?;
        let store = DiskStore::open(StoreConfig::new(settings.dir.join("store"), settings.cache_bytes_max));
        let store = store.map_err(|error| error.to_string())?;
        let results = match settings.cache {
            true => {
                let config = ResultConfig { dir: settings.dir.join("store"), max_bytes: settings.cache_bytes_max / 64 };
                Some(ResultStore::open(config).map_err(|error| error.to_string())?)
            }
            false => None,
        };
        let slots = if settings.local_slots == 0 { processors() } else { settings.local_slots };
        let (executor, no_executor) = start_executor(&settings, &store, slots);
        let farm = match &settings.farm {
            Some(farm) => Some(Farm::start(farm.clone(), client_id(&identity))?),
            None => None,
        };
        let view = identity.hash(&[]);
        let kept = |name: &str, bounds| Kept::new(settings.dir.join(name), view, &settings.version, bounds);
        let (compilers, files) = (kept("compilers", toolchains::KEPT_BOUNDS), kept("files", files::KEPT_BOUNDS));
        Ok(Daemon {
            identity,
            files: Files::recalling(files, view),
            scans: Scans::new(),
            toolchains: Toolchains::new(compilers, view),
            bases: Bases::default(),
            precompiled: Precompiled::new(settings.dir.join("precompiled")),
            substitutes: Substitutes::load(settings.substitutes, &settings.dir),
            local: Local { store, results, executor, no_executor },
            counters: Counters::load(&settings.dir.join("stats.json")),
            journal: Journal::default(),
            light: Gate::new(processors() + processors().div_ceil(2)),
            heavy: Gate::new(slots),
            holders: Arc::default(),
            active: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            started: Instant::now(),
            last_request: std::sync::Mutex::new(Instant::now()),
            farm,
            settings,
        })
    }

    /// Jobs at once on this machine when it is alone.
    pub(crate) fn slots(&self) -> usize {
        if self.settings.local_slots == 0 { processors() } else { self.settings.local_slots }
    }

    fn save(&self) {
        self.counters.save(&self.settings.dir.join("stats.json"));
        self.toolchains.save();
    }

    /// Whether requests have ended some time ago: what takes time stands in nobody's way.
    fn is_quiet(&self) -> bool {
        let last = *self.last_request.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.active.load(std::sync::atomic::Ordering::SeqCst) == 0 && last.elapsed() >= HOUSEKEEPING
    }
}

fn start_executor(settings: &Settings, store: &DiskStore, slots: usize) -> (Option<Arc<Executor>>, String) {
    if !settings.local_sandbox {
        return (None, "local-sandbox is off".to_owned());
    }
    let config = ExecutorConfig {
        scratch: settings.dir.join("scratch"),
        helper_argv: settings.helper_argv.clone(),
        slots,
        rung: settings.rung,
        limits: Limits::default(),
        cgroups: Vec::new(),
    };
    match Executor::start(store.clone(), config) {
        Ok(executor) if executor.gives_roots() => (Some(Arc::new(executor)), String::new()),
        Ok(executor) => (None, format!("the sandbox gives no roots here: {}", executor.report().why_not_better.join("; "))),
        Err(error) => {
            tracing::warn!("no local sandbox: {error}");
            (None, error)
        }
    }
}

/// Names this daemon towards schedulers; not a credential.
fn client_id(identity: &Identity) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}/{}/{}", host.trim(), identity.uid, identity.mount_ns, std::process::id())
}

/// Serves `place` until `shutdown` completes, a wrapper asks to drain, or nothing has come for the idle time.
/// `ready` is told once the socket listens and everything that can fail has not.
///
/// # Errors
/// One line, when the daemon cannot start.
pub async fn run(settings: Settings, place: Place, ready: impl FnOnce(), shutdown: impl Future<Output = ()>) -> Result<(), String> {
    let claim = place.claim().map_err(|error| error.to_string())?;
    let identity = Identity::current();
    let daemon = tokio::task::block_in_place(|| Daemon::new(settings, identity))?;
    let daemon = Arc::new(daemon);
    claim.listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let listener = claim.listener.try_clone().and_then(UnixListener::from_std).map_err(|error| error.to_string())?;
    ready();
    tokio::spawn(keep_house(Arc::clone(&daemon)));
    if let Some(farm) = &daemon.farm {
        tokio::spawn(size_gate(Arc::clone(&daemon), farm.watch_up()));
    }
    tokio::pin!(shutdown);
    let idle = idle(&daemon);
    tokio::pin!(idle);
    tokio::select! {
        () = crate::listen::accept(&daemon, &listener) => {}
        () = &mut shutdown => {}
        () = daemon.drain.notified() => {}
        () = &mut idle => {}
    }
    // From here on a new wrapper finds no socket and starts a daemon of its own.
    drop(listener);
    drop(claim);
    daemon.draining.store(true, std::sync::atomic::Ordering::SeqCst);
    let drained = tokio::time::timeout(DRAIN_MAX, async {
        while daemon.active.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if drained.await.is_err() {
        tracing::warn!("requests were still running when the daemon had to go");
    }
    if let Some(farm) = &daemon.farm {
        farm.stop();
    }
    daemon.save();
    daemon.files.save(&daemon.scans.names);
    Ok(())
}

async fn idle(daemon: &Daemon) {
    let Some(limit) = daemon.settings.idle_exit else { return std::future::pending().await };
    loop {
        let last = *daemon.last_request.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let active = daemon.active.load(std::sync::atomic::Ordering::SeqCst);
        match limit.checked_sub(last.elapsed()) {
            Some(left) => tokio::time::sleep(left).await,
            None if active == 0 => return,
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn keep_house(daemon: Arc<Daemon>) {
    let mut every = tokio::time::interval(HOUSEKEEPING);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut files_saved = Instant::now();
    loop {
        every.tick().await;
        let save_files = daemon.is_quiet() || files_saved.elapsed() >= FILES_SAVED;
        if save_files {
            files_saved = Instant::now();
        }
        let daemon = Arc::clone(&daemon);
        let tidied = tokio::task::spawn_blocking(move || {
            daemon.save();
            match save_files {
                true => daemon.files.save(&daemon.scans.names),
                false => daemon.files.tidy(),
            }
            if let Err(error) = daemon.local.store.maintain() {
                tracing::warn!("store: {error}");
            }
        });
        let _ = tidied.await;
    }
}

/// With a farm, half of the processors are kept for the developer; without, all of them compile.
async fn size_gate(daemon: Arc<Daemon>, mut up: tokio::sync::watch::Receiver<bool>) {
    loop {
        let slots = daemon.slots();
        let capacity = if *up.borrow_and_update() { slots.div_ceil(2) } else { slots };
        daemon.heavy.resize(capacity);
        if up.changed().await.is_err() {
            return;
        }
    }
}
