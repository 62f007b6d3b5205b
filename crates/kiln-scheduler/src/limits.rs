//! Every bound of the scheduler service, with its arithmetic. Constants only. Bounds of decisions are in `kiln_sched::limits`.

use std::time::Duration;

/// Calls waiting for the task that decides: at 20 microseconds each, the last waits 20 ms. Further callers wait for a place.
pub const CALLS_MAX: usize = 1024;
/// Longest name of a worker, client, toolchain, processor or root form: a SHA-256 in hexadecimal fits twice.
pub const NAME_MAX: usize = 128;
/// Longest address: a Unix socket's path of 107 bytes, or a host name of 253 and a port.
pub const ADDRESS_MAX: usize = 300;
/// Longest text of a worker about itself that is kept for the status.
pub const TEXT_MAX: usize = 256;
/// Different names of one kind known at once: toolchains of workers and those that waiting requests name.
pub const NAMES_MAX: usize = 65_536;
/// Leases in one renewal or return: all that one client may have, twice over.
pub const LEASES_PER_CALL_MAX: usize = 8192;
/// Nodes in the list that clients and workers get: 80 bytes each, 20 KB. Cache servers come first.
pub const NODES_MAX: usize = 256;
/// How long a token lets its bearer in from the moment the worker first sees it: cold inputs are fetched meanwhile. The lease
/// itself ends sooner, and the worker's queue decides what runs.
pub const TOKEN_LEASE: Duration = Duration::from_secs(60);
/// Least time between two messages of news to one watcher: a farm whose workers all come at once is a few messages, and a
/// thousand watchers cost 4,000 small messages a second at the very most.
pub const NEWS_EVERY: Duration = Duration::from_millis(250);
/// Nodes turned away that are remembered for the status, and for how long.
pub const TURNED_AWAY_MAX: usize = 16;
/// See [`TURNED_AWAY_MAX`].
pub const TURNED_AWAY_KEEP: Duration = Duration::from_secs(600);
/// How often numbers for `/metrics` are brought up to date, in ticks: once a second.
pub const STATS_TICKS: u64 = 4;
/// How often names of clients that are gone are dropped, in ticks: each 10 s.
pub const SWEEP_TICKS: u64 = 40;

/// Executions known at the front door, running and finished: 2,000 clients' worth of `bazel --jobs=4`, about 1 KB each.
pub const OPERATIONS_MAX: usize = 8192;
/// How long a finished execution can be asked for again.
pub const KEEP_FINISHED: Duration = Duration::from_secs(60);
/// How long a run that nobody watches is kept: other REAPI clients reconnect at leisure.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// Longest wait of a front-door execution for a worker. A client that gave up is noticed sooner.
pub const FRONT_WAIT_MAX: Duration = Duration::from_secs(600);
/// Attempts of one execution on workers that fail it.
pub const ATTEMPTS_MAX: u32 = 2;
/// Rejections by full workers that one execution takes before it is turned away.
pub const REJECTIONS_MAX: u32 = 16;
/// Longest silence of a worker or cache server in one call that is not an execution: the next hop must say something.
pub const HOP_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest silence of a worker in an execution's stream: keepalive notices a dead one in 3 s, an action may take its timeout.
pub const RUN_SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Messages of a relayed stream held here: one on its way in, one on its way out.
pub const RELAY_MESSAGES: usize = 2;
/// Digests in one FindMissingBlobs request: 90 bytes each in a 4 MiB message.
pub const FIND_MAX: usize = 50_000;
/// Blobs in one batch request.
pub const BATCH_COUNT_MAX: usize = 10_000;
/// Workers that are home to blobs where there is no cache server. Every worker looks there before it calls a blob missing, so
/// there are few, and more than one.
pub const WORKER_HOMES: usize = 4;
/// Outputs whose worker is remembered, for reading them where there is no cache server: 100 bytes each, 6 MB.
pub const OUTPUTS_MAX: usize = 65_536;
/// How long a pass to a worker's blobs is used before a new one is made; it is good for [`TOKEN_LEASE`].
pub const PASS_KEEP: Duration = Duration::from_secs(20);
/// Passes to workers held at once.
pub const PASSES_MAX: usize = 4096;
/// Largest action or command message read here: REAPI's batch bound. Actions are under 1 KB.
pub const ACTION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Directories in one GetTree answer.
pub const TREE_DIRECTORIES_MAX: usize = 100_000;
/// Encoded directories in one page of it.
pub const TREE_PAGE_BYTES: usize = 1024 * 1024;
