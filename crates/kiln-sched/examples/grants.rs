//! Measures the cost of a grant and its return as the farm grows: `cargo run --release -p kiln-sched --example grants`.

use kiln_sched::{
    Acquire, ClientId, Command, Event, Item, LeaseId, Load, MachineId, Micros, Need, Outcome, Report, RequestId, RootId, Scheduler,
    Spec, ToolchainId, UserId, WorkerId,
};
use std::time::Instant;

const CLIENTS: u32 = 200;
const BATCH: usize = 16;
const GRANTS: u64 = 400_000;

fn farm(workers: u32) -> (Scheduler, Vec<Command>) {
    let (mut core, mut out) = (Scheduler::new(), Vec::new());
    for number in 0..workers {
        let spec = Spec {
            slots: 32,
            cores: 32,
            dedicated: true,
            machine: MachineId(0),
            root: Some(RootId(0)),
            toolchains: (0..4).map(ToolchainId).collect(),
            runs_jobs: true,
        };
        core.step(Micros(1), Event::WorkerRegistered { worker: WorkerId(number), spec, restarted: true }, &mut out);
        let report = Report { load: Load::default(), ..Report::default() };
        core.step(Micros(1), Event::Heartbeat { worker: WorkerId(number), report }, &mut out);
    }
    (core, out)
}

/// Asks for a batch for one client; the leases.
fn ask(core: &mut Scheduler, request: u64, client: u32) -> Vec<LeaseId> {
    let mut out = Vec::new();
    let acquire = Acquire {
        request: RequestId(request),
        client: ClientId(client),
        user: UserId(client),
        need: Need::Root(RootId(0)),
        machine: Some(MachineId(0)),
        substitutes: Vec::new(),
        items: vec![Item::default(); BATCH],
        wait: Micros(0),
        backlog: 100,
        cores: 8,
        local: None,
        avoid: Vec::new(),
        batch: false,
    };
    core.step(Micros(2), Event::Acquire(acquire), &mut out);
    let grants = out.into_iter().filter_map(|command| match command {
        Command::Answer { grants, .. } => Some(grants),
        _ => None,
    });
    grants.flatten().map(|granted| granted.lease).collect()
}

#[expect(clippy::disallowed_methods, reason = "measures the core from outside")]
fn main() {
    println!("workers  grants/s  microseconds a grant and its return");
    for workers in [10, 100, 1_000, 10_000] {
        let (mut core, mut out) = farm(workers);
        let mut held: Vec<(u32, Vec<LeaseId>)> = Vec::new();
        // Half of the farm stays busy, so that workers differ in load.
        let busy = (workers as usize * 32 / 2 / BATCH).min(CLIENTS as usize * 100);
        for request in 0..busy as u64 {
            let client = request as u32 % CLIENTS;
            held.push((client, ask(&mut core, request, client)));
        }
        let started = Instant::now();
        let mut granted = 0;
        for request in 0.. {
            if granted >= GRANTS {
                break;
            }
            let client = request as u32 % CLIENTS;
            let leases = ask(&mut core, 1_000_000 + request, client);
            assert!(!leases.is_empty(), "the farm is full");
            granted += leases.len() as u64;
            let oldest = request as usize % held.len();
            let (client, old) = std::mem::replace(&mut held[oldest], (client, leases));
            for lease in old {
                out.clear();
                core.step(Micros(2), Event::Release { client: ClientId(client), lease, outcome: Outcome::Ok }, &mut out);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{workers:7}  {:8.0}  {:.2}", granted as f64 / seconds, seconds * 1e6 / granted as f64);
    }
}
