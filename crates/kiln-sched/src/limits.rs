//! Every bound and span of the scheduling core, with its arithmetic. Constants only.

use crate::Micros;

/// How often the driver sends [`Event::Tick`](crate::Event::Tick). Waits end and silence is noticed at most this late.
pub const TICK: Micros = Micros::from_ms(250);
/// How often workers send heartbeats.
pub const HEARTBEAT: Micros = Micros::from_secs(1);
/// A heartbeat half a period late: the worker is the last choice until it speaks again.
pub const SUSPECT_AFTER: Micros = Micros::from_ms(1500);
/// Three heartbeats missed: no grants, its leases are lost.
pub const SILENT_AFTER: Micros = Micros::from_secs(3);
/// A silent worker is shown in the status for this long, then forgotten.
pub const FORGET_AFTER: Micros = Micros::from_secs(600);
/// A tick this much later than [`TICK`] after the one before means that this process stood still (stopped, suspended, starved):
/// what looks like silence of the workers was its own.
pub const TICK_LATE: Micros = Micros::from_ms(500);
/// After the core's first event, requests that no worker serves wait this long instead of being refused: after a restart all
/// workers are still to come, each within one heartbeat and one more that tells its jobs, plus half a second.
pub const SETTLE: Micros = Micros::from_ms(2500);

/// A lease ends this long after it was given or renewed. Clients renew each second, so two renewals may be lost.
pub const LEASE: Micros = Micros::from_secs(3);
/// A lease that no heartbeat has shown to be in use for this long is taken back however often it is renewed: a prefetched
/// grant waits for seconds, an upload of 1 GB at 20 MB/s takes 50.
pub const IDLE_LEASE_MAX: Micros = Micros::from_secs(60);

/// Longest wait of a request, whatever it asks for.
pub const WAIT_MAX: Micros = Micros::from_secs(60);
/// Grants in one answer: what a build of `-j64` asks for at once. More is cut: the answer may hold fewer than asked for.
pub const ITEMS_MAX: usize = 64;
/// Workers that one request may exclude.
pub const AVOID_MAX: usize = 32;
/// Substitutes that one request may name: native compilers of a handful of architectures, two releases of each.
pub const SUBSTITUTES_MAX: usize = 8;
/// Slots one client may hold: `-j512`, and as many prefetched, twice over.
pub const HELD_PER_CLIENT_MAX: u32 = 2048;
/// Leases one client may have, with those that join another's run and take no slot.
pub const LEASES_PER_CLIENT_MAX: usize = 4096;
/// Requests one client may have waiting: a daemon keeps one or two for each toolchain.
pub const WAITING_PER_CLIENT_MAX: usize = 64;
/// Requests waiting in all: 1,000 clients at their bound; about 300 bytes each, 20 MB.
pub const WAITING_MAX: usize = 65_536;
/// Clients known at once: about 300 bytes each, 20 MB.
pub const CLIENTS_MAX: usize = 65_536;
/// A client that neither holds nor waits for anything is forgotten after this.
pub const CLIENT_FORGET_AFTER: Micros = Micros::from_secs(60);
/// Workers known at once, those that fell silent included: under 1 KB each, 16 MB.
pub const WORKERS_MAX: usize = 16_384;

/// Slots of one worker: more than any machine has hardware threads. A larger number is cut.
pub const SLOTS_MAX: u32 = 4096;
/// Toolchains of one worker.
pub const TOOLCHAINS_MAX: usize = 64;
/// Jobs in one heartbeat: all slots and as many queued.
pub const JOBS_MAX: usize = 2 * SLOTS_MAX as usize;

/// Memory that a job is expected to need when its request does not say: the 95th percentile of large C++ units at -O2 -g.
pub const JOB_MEMORY: u64 = 512 << 20;
/// And the least that is reckoned with for any job.
pub const JOB_MEMORY_MIN: u64 = 64 << 20;
/// Memory of a worker that is not given to jobs.
pub const MEMORY_RESERVE: u64 = 256 << 20;
/// A job younger than this has not grown to its size yet: its expected memory is still set aside though it is reported.
pub const MEMORY_GROWTH: Micros = Micros::from_secs(3);
/// Share of the last 10 s in which some process waited for memory, in hundredths of a per cent, above which a worker gets no
/// more work: 20 %.
pub const PRESSURE_MAX: u32 = 2000;

/// Failures in a row, as told by clients, after which a worker gets no work for a while.
pub const FAILURES_IN_A_ROW: u32 = 2;
/// The first such while; each further one is twice as long, up to [`QUARANTINE_MAX`].
pub const QUARANTINE: Micros = Micros::from_secs(5);
/// The longest while: 5 s doubled six times.
pub const QUARANTINE_MAX: Micros = Micros::from_secs(320);
/// A worker that did well for this long starts at [`QUARANTINE`] again.
pub const FORGIVE_AFTER: Micros = Micros::from_secs(600);
/// A client that failed on this many different workers in a row is itself the likelier cause: its word counts against none
/// until it succeeds somewhere.
pub const BLAMED_MAX: usize = 4;
/// Leases ended since a worker's last heartbeat that are remembered, so that a report made before is not taken for a job of
/// its own: 256 jobs a second on one worker.
pub const ENDED_MAX: usize = 256;

/// Workers looked at for one job when the first do not fit.
pub const SCAN_MAX: usize = 64;
/// Waiting requests of one user that no free worker fits, after which the user's others are passed over until next time. So
/// nobody can hold up the line with requests that exclude every free worker.
pub const MISFITS_PER_USER_MAX: u32 = 8;
/// And of all users together: 32 such users.
pub const MISFITS_MAX: usize = 32 * MISFITS_PER_USER_MAX as usize;
