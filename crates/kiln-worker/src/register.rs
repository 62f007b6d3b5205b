//! A worker's place at one scheduler: register, one heartbeat a second, register again when forgotten, goodbye.

use kiln_proto::grant::GrantKey;
use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_proto::v1::{GoodbyeRequest, HeartbeatRequest, NodeKind, RegisterRequest, RegisterResponse, RunningJob};
use kiln_rpc::{Address, Channel, retry_after};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::{Code, Status};

use crate::load::{self, CpuMeter};
use crate::worker::Worker;

/// Heartbeats at most this far apart, whatever a scheduler asks for.
const HEARTBEAT_MAX_MS: u32 = 5000;

/// Longest wait for a scheduler's answer to a heartbeat: the next one is due.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long a worker that met a full disk or a broken sandbox takes no work; then it tries one job.
const UNWELL_FOR: Duration = Duration::from_secs(10);

/// Less disk than this, and no job fits: a compiler is 150 MB, but it may be there already; a unit's own files and outputs
/// are under 32 MB.
const DISK_FREE_MIN: u64 = 32 << 20;

/// How long people are told of a job whose end was not believed.
const NOTE_FOR: Duration = Duration::from_secs(60);

/// Stays registered for ever; abort to end.
pub(crate) async fn keep_registered(worker: Worker, scheduler: Address) {
    let channel = match kiln_rpc::connect(&scheduler, &worker.settings.dial) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::error!("scheduler {scheduler}: {error}");
            return;
        }
    };
    let mut client = SchedulerClient::new(channel);
    let mut told = false;
    loop {
        let pause = match register(&worker, &mut client).await {
            Ok(registered) => {
                tracing::info!("registered with {scheduler} as {}", worker.settings.name);
                told = false;
                remember(&worker, &scheduler, &registered.worker_id);
                let status = beat(&worker, &mut client, registered).await;
                if worker.shared.leaving.is_cancelled() {
                    return;
                }
                tracing::warn!("scheduler {scheduler}: {}", status.message());
                retry_after(&status)
            }
            Err(status) => {
                if !told {
                    tracing::warn!("scheduler {scheduler}: {}", status.message());
                    told = true;
                }
                retry_after(&status)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn remember(worker: &Worker, scheduler: &Address, worker_id: &str) {
    let mut registrations = worker.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
    registrations.insert(scheduler.to_string(), worker_id.to_owned());
}

async fn register(worker: &Worker, client: &mut SchedulerClient<Channel>) -> Result<RegisterResponse, Status> {
    let settings = &worker.settings;
    let substitutes = match worker.kiln_root().is_empty() {
        true => Vec::new(),
        false => worker.shared.offers.offered.clone(),
    };
    let own = std::env::consts::ARCH;
    let request = RegisterRequest {
        name: settings.name.clone(),
        address: settings.advertise.to_string(),
        kind: NodeKind::Worker as i32,
        version: settings.version.clone(),
        boot_id: worker.boot_id.to_string(),
        machine: if settings.machine.is_empty() { own.to_owned() } else { settings.machine.clone() },
        slots: worker.shared.slots_count as u32,
        cores: worker.cores(),
        dedicated: settings.dedicated,
        kiln_root: worker.kiln_root(),
        sandbox: format!("{:?}", worker.report().rung),
        toolchains: substitutes.iter().map(|substitute| substitute.id.clone()).collect(),
        tls_name: settings.tls_name.clone(),
        protocol: kiln_proto::PROTOCOL,
        substitutes,
    };
    let answer = tokio::time::timeout(ANSWER_WAIT, client.register(request)).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer to the registration"))??.into_inner();
    let key = GrantKey::from_wire(&answer.grant_key_id, &answer.grant_key);
    let key = key.map_err(|error| Status::internal(error.to_string()))?;
    worker.shared.grants.lock().unwrap_or_else(PoisonError::into_inner).learn(key, answer.worker_id.clone());
    if let Some(nodes) = &answer.nodes {
        worker.shared.fetcher.set_nodes(nodes.nodes.clone());
    }
    Ok(answer)
}

/// Heartbeats until the scheduler forgets this worker or does not answer.
async fn beat(worker: &Worker, client: &mut SchedulerClient<Channel>, registered: RegisterResponse) -> Status {
    let period = Duration::from_millis(u64::from(registered.heartbeat_ms.clamp(100, HEARTBEAT_MAX_MS)));
    let mut every = tokio::time::interval(period);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut meter = CpuMeter::default();
    let mut failures = 0;
    for sequence in 1.. {
        every.tick().await;
        let request = heartbeat(worker, &registered.worker_id, sequence, &mut meter);
        let answer = tokio::time::timeout(ANSWER_WAIT, client.heartbeat(request)).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer to a heartbeat"))) {
            Ok(answer) => {
                failures = 0;
                let answer = answer.into_inner();
                if let (true, Some(nodes)) = (answer.nodes_changed, answer.nodes) {
                    worker.shared.fetcher.set_nodes(nodes.nodes);
                }
            }
            Err(status) if status.code() == Code::NotFound => return status,
            Err(status) => {
                failures += 1;
                if failures >= 3 {
                    return status;
                }
            }
        }
    }
    Status::internal("more heartbeats than numbers")
}

fn heartbeat(worker: &Worker, worker_id: &str, sequence: u64, meter: &mut CpuMeter) -> HeartbeatRequest {
    let shared = &worker.shared;
    let running = shared.counters.running.load(Ordering::Relaxed);
    let queued = shared.counters.queued.load(Ordering::Relaxed);
    let foreign = if worker.settings.yields { meter.sample(worker.job_cpu_us(), running) } else { 0 };
    let jobs = shared.operations.running().into_iter().map(|operation| RunningJob {
        lease: operation.name.rsplit('/').next().unwrap_or_default().to_owned(),
        action: operation.action.to_string(),
        ..Default::default()
    });
    let mut load = load::read(&worker.settings.dir, running, queued, foreign);
    if shared.engine.imagined_cores().is_some() {
        (load.memory_available_bytes, load.memory_total_bytes, load.memory_pressure_centi) = (0, 0, 0);
    }
    HeartbeatRequest {
        worker_id: worker_id.to_owned(),
        sequence,
        load: Some(load),
        jobs: jobs.collect(),
        toolchains: Vec::new(),
        toolchains_changed: false,
        unwell: unwell(worker, load.disk_free_bytes),
        note: note(worker),
    }
}

/// Why this worker should get no work now; empty when it should.
fn unwell(worker: &Worker, disk_free_bytes: u64) -> String {
    if worker.shared.leaving.is_cancelled() {
        return "draining".to_owned();
    }
    if disk_free_bytes < DISK_FREE_MIN {
        return format!("{} MB of disk left at {}", disk_free_bytes >> 20, worker.settings.dir.display());
    }
    let mut unwell = worker.shared.unwell.lock().unwrap_or_else(PoisonError::into_inner);
    match &*unwell {
        Some((since, why)) if since.elapsed() < UNWELL_FOR => why.clone(),
        _ => {
            *unwell = None;
            String::new()
        }
    }
}

/// What people should know: the last job whose end was not believed, or else a compiler that cannot be offered.
fn note(worker: &Worker) -> String {
    let doubted = worker.shared.doubted.lock().unwrap_or_else(PoisonError::into_inner);
    match &*doubted {
        Some((since, why)) if since.elapsed() < NOTE_FOR => format!("{why}, {} s ago", since.elapsed().as_secs()),
        _ => worker.shared.offers.trouble.clone(),
    }
}

/// Tells a scheduler that this worker leaves.
pub(crate) async fn say_goodbye(worker: &Worker, scheduler: &Address) {
    let registrations = worker.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let known = registrations.get(&scheduler.to_string()).cloned();
    let (Some(worker_id), Ok(channel)) = (known, kiln_rpc::connect(scheduler, &worker.settings.dial)) else { return };
    let mut client = SchedulerClient::new(channel);
    let goodbye = tokio::time::timeout(ANSWER_WAIT, client.goodbye(GoodbyeRequest { worker_id }));
    if !matches!(goodbye.await, Ok(Ok(_))) {
        tracing::debug!("scheduler {scheduler} did not hear the goodbye");
    }
}
