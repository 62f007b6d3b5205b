//! Typed settings, one struct a section. Knows no source of a value.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use kiln_rpc::Address;
use kiln_rpc::Network;
use kiln_rpc::TlsFiles;

use super::value::Value;

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `KILN_DIR`, or its default.
    pub(crate) state: PathBuf,
    pub(crate) farm: FarmSettings,
    pub(crate) client: ClientSettings,
    pub(crate) daemon: DaemonSettings,
    pub(crate) worker: WorkerSettings,
    pub(crate) scheduler: SchedulerSettings,
    pub(crate) cache: CacheSettings,
    pub(crate) tls: TlsSettings,
    pub(crate) auth: AuthSettings,
    pub(crate) log: LogSettings,
    /// What a daemon goes by, as text by key.
    pub(crate) of_daemon: BTreeMap<String, String>,
}

/// Sections that a daemon reads.
const DAEMON_SECTIONS: [&str; 5] = ["farm", "client", "daemon", "tls", "auth"];

/// A key of these sections that every build says anew.
const OF_BUILD: &str = "client.fallback";

fn of_daemon(values: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let is_read = |key: &str| key != OF_BUILD && key.split_once('.').is_some_and(|(section, _)| DAEMON_SECTIONS.contains(&section));
    values.iter().filter(|(key, _)| is_read(key)).map(|(key, value)| (key.clone(), value.to_string())).collect()
}

#[derive(Debug, Clone)]
pub(crate) struct FarmSettings {
    pub(crate) schedulers: Vec<Address>,
    pub(crate) caches: Vec<Address>,
    pub(crate) instance: String,
}

#[derive(Debug, Clone)]
pub(crate) struct ClientSettings {
    pub(crate) fallback: String,
    pub(crate) batch: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DaemonSettings {
    pub(crate) dir: PathBuf,
    pub(crate) slots: usize,
    pub(crate) cache: bool,
    pub(crate) cache_max: u64,
    pub(crate) sandbox: bool,
    pub(crate) idle_exit: Duration,
    pub(crate) local_worker: String,
    pub(crate) substitutes: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    pub(crate) listen: Vec<Address>,
    pub(crate) advertise: Option<Address>,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) slots: usize,
    pub(crate) dedicated: bool,
    pub(crate) yields: bool,
    pub(crate) store_max: u64,
    pub(crate) job_memory_max: u64,
    pub(crate) job_time_max: Duration,
    pub(crate) job_output_max: u64,
    pub(crate) job_processes_max: u64,
    pub(crate) cgroups: Vec<String>,
    pub(crate) machine: String,
    pub(crate) substitutes: Vec<String>,
    pub(crate) cluster: ClusterSettings,
}

#[derive(Debug, Clone)]
pub(crate) struct ClusterSettings {
    pub(crate) address: Option<Address>,
    pub(crate) instance: String,
    pub(crate) root: String,
    pub(crate) platform: Vec<String>,
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub(crate) struct SchedulerSettings {
    pub(crate) listen: Vec<Address>,
}

#[derive(Debug, Clone)]
pub(crate) struct CacheSettings {
    pub(crate) listen: Vec<Address>,
    pub(crate) advertise: Option<Address>,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) disk_max: u64,
    pub(crate) memory_max: u64,
    pub(crate) client_writable: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct TlsSettings {
    pub(crate) files: TlsFiles,
    pub(crate) name: Option<String>,
    pub(crate) insecure: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct AuthSettings {
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) networks: Vec<Network>,
}

#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) file: Option<PathBuf>,
    pub(crate) level: String,
}

/// Values by `section.name`. A missing or ill-typed one is a slip in this file, which the test of all defaults finds.
struct Values<'a>(&'a BTreeMap<String, Value>);

macro_rules! getter {
    ($name:ident, $variant:ident, $type:ty) => {
        fn $name(&self, path: &str) -> $type {
            match self.0.get(path) {
                Some(Value::$variant(value)) => value.clone(),
                other => panic!("setting {path} is {other:?}"),
            }
        }
    };
}

impl Values<'_> {
    getter!(text, Text, String);
    getter!(path, Path, Option<PathBuf>);
    getter!(addresses, Addresses, Vec<Address>);
    getter!(address, Address, Option<Address>);
    getter!(networks, Networks, Vec<Network>);
    getter!(names, Names, Vec<String>);
    getter!(size, Size, u64);
    getter!(time, Time, Duration);
    getter!(count, Count, u64);
    getter!(truth, Bool, bool);

    fn dir(&self, path: &str, state: &Path, name: &str) -> PathBuf {
        self.path(path).unwrap_or_else(|| state.join(name))
    }

    fn slots(&self, path: &str) -> usize {
        usize::try_from(self.count(path)).unwrap_or(usize::MAX)
    }
}

impl Settings {
    pub(crate) fn from_values(values: &BTreeMap<String, Value>, state: PathBuf) -> Settings {
        let from = Values(values);
        Settings {
            of_daemon: of_daemon(values),
            farm: FarmSettings {
                schedulers: from.addresses("farm.schedulers"),
                caches: from.addresses("farm.caches"),
                instance: from.text("farm.instance"),
            },
            client: ClientSettings { fallback: from.text("client.fallback"), batch: from.truth("client.batch") },
            daemon: DaemonSettings {
                dir: from.dir("daemon.dir", &state, "daemon"),
                slots: from.slots("daemon.slots"),
                cache: from.truth("daemon.cache"),
                cache_max: from.size("daemon.cache_max"),
                sandbox: from.truth("daemon.sandbox"),
                idle_exit: from.time("daemon.idle_exit"),
                local_worker: from.text("daemon.local_worker"),
                substitutes: from.truth("daemon.substitutes"),
            },
            worker: WorkerSettings {
                listen: from.addresses("worker.listen"),
                advertise: from.address("worker.advertise"),
                name: from.text("worker.name"),
                dir: from.dir("worker.dir", &state, "worker"),
                slots: from.slots("worker.slots"),
                dedicated: from.truth("worker.dedicated"),
                yields: from.truth("worker.yields"),
                store_max: from.size("worker.store_max"),
                job_memory_max: from.size("worker.job_memory_max"),
                job_time_max: from.time("worker.job_time_max"),
                job_output_max: from.size("worker.job_output_max"),
                job_processes_max: from.count("worker.job_processes_max"),
                cgroups: from.names("worker.cgroups"),
                machine: from.text("worker.machine"),
                substitutes: from.names("worker.substitutes"),
                cluster: ClusterSettings {
                    address: from.address("worker.cluster"),
                    instance: from.text("worker.cluster_instance"),
                    root: from.text("worker.cluster_root"),
                    platform: from.names("worker.cluster_platform"),
                    token_file: from.path("worker.cluster_token_file"),
                },
            },
            scheduler: SchedulerSettings { listen: from.addresses("scheduler.listen") },
            cache: CacheSettings {
                listen: from.addresses("cache.listen"),
                advertise: from.address("cache.advertise"),
                name: from.text("cache.name"),
                dir: from.dir("cache.dir", &state, "cache"),
                disk_max: from.size("cache.disk_max"),
                memory_max: from.size("cache.memory_max"),
                client_writable: from.names("cache.client_writable"),
            },
            tls: TlsSettings {
                files: TlsFiles { ca: from.path("tls.ca"), cert: from.path("tls.cert"), key: from.path("tls.key") },
                name: Some(from.text("tls.name")).filter(|name| !name.is_empty()),
                insecure: from.truth("tls.insecure"),
            },
            auth: AuthSettings {
                credentials: from.path("auth.credentials"),
                token_file: from.path("auth.token_file"),
                networks: from.networks("auth.networks"),
            },
            log: LogSettings { file: from.path("log.file"), level: from.text("log.level") },
            state,
        }
    }
}
