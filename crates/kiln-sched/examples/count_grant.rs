//! Grants and takes back one slot at a time on a farm of 100 workers, for instructions to be counted: `count_grant GRANTS`.

use kiln_sched::{
    Acquire, ClientId, Command, Event, Item, Load, MachineId, Micros, Need, Outcome, Report, RequestId, RootId, Scheduler, Spec,
    ToolchainId, UserId, WorkerId,
};

const WORKERS: u32 = 100;

fn main() {
    let grants: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a number of grants");
    let (mut core, mut out) = (Scheduler::new(), Vec::new());
    for number in 0..WORKERS {
        let spec = Spec {
            slots: 32,
            cores: 32,
            dedicated: number % 2 == 0,
            machine: MachineId(0),
            root: Some(RootId(0)),
            toolchains: vec![ToolchainId(0)],
            runs_jobs: true,
        };
        core.step(Micros(1), Event::WorkerRegistered { worker: WorkerId(number), spec, restarted: true }, &mut out);
        let report = Report { load: Load::default(), ..Report::default() };
        core.step(Micros(1), Event::Heartbeat { worker: WorkerId(number), report }, &mut out);
    }
    for request in 0..grants {
        let client = ClientId(request as u32 % 8);
        let acquire = Acquire {
            request: RequestId(request),
            client,
            user: UserId(client.0),
            need: Need::Root(RootId(0)),
            machine: Some(MachineId(0)),
            substitutes: Vec::new(),
            items: vec![Item::default()],
            wait: Micros(0),
            backlog: 10,
            cores: 8,
            local: None,
            avoid: Vec::new(),
            batch: false,
        };
        out.clear();
        core.step(Micros(2 + request), Event::Acquire(acquire), &mut out);
        let lease = out.iter().find_map(|command| match command {
            Command::Answer { grants, .. } => grants.first().map(|granted| granted.lease),
            _ => None,
        });
        let lease = lease.expect("the farm has room");
        out.clear();
        core.step(Micros(2 + request), Event::Release { client, lease, outcome: Outcome::Ok }, &mut out);
    }
}
