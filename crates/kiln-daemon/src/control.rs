//! Answers questions about the daemon itself, as JSON. Changes nothing but counters and its own life.

use kiln_frame::{Control, Hello, Reply};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::daemon::Daemon;

/// Units listed by `explain --last` at most.
const LAST_MAX: usize = 1000;

/// Answers one control request.
pub(crate) async fn answer(daemon: &Arc<Daemon>, hello: &Hello, control: &Control) -> Reply {
    let args: Vec<String> = control.args.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
    let value = match control.name.as_str() {
        "stats" => to_json(&daemon.counters.snapshot()),
        "zero" => to_json(&daemon.counters.zero()),
        "capture" => crate::capture::capture(daemon, hello, &control.args).await,
        "explain" => explain(daemon, &args),
        "inputs" => crate::why::inputs(daemon, hello, &control.args).await,
        "status" => status(daemon).await,
        "doctor" => doctor(daemon).await,
        "settings" => to_json(&daemon.settings.configured),
        "slots" => json!({ "local": daemon.slots(), "farm": farm_slots(daemon).await }),
        "drain" => {
            daemon.drain.notify_one();
            json!({ "draining": true })
        }
        other => return Reply::Refuse(format!("this daemon does not know {other:?}")),
    };
    Reply::Answer(value.to_string())
}

fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn explain(daemon: &Daemon, args: &[String]) -> Value {
    match args {
        [flag, count] if flag == "--last" => to_json(&daemon.journal.last(count.parse().unwrap_or(1).min(LAST_MAX))),
        [name] => to_json(&daemon.journal.find(name, &|file| daemon.files.file_path(file))),
        _ => Value::Array(Vec::new()),
    }
}

async fn farm_slots(daemon: &Daemon) -> u64 {
    let Some(farm) = &daemon.farm else { return 0 };
    let Ok(status) = farm.status().await else { return 0 };
    status.workers.iter().map(|worker| u64::from(worker.capacity)).sum()
}

async fn status(daemon: &Daemon) -> Value {
    let (directories, files) = daemon.files.sizes();
    let farm = match &daemon.farm {
        None => Value::Null,
        Some(farm) => {
            let answer = farm.status().await;
            let schedulers: Vec<Value> =
                farm.schedulers().into_iter().map(|(address, state)| json!({ "address": address, "state": state })).collect();
            match answer {
                Ok(status) => json!({
                    "up": farm.is_up(),
                    "schedulers": schedulers,
                    "scheduler_version": status.version,
                    "waiting": status.waiting,
                    "grants": status.grants,
                    "rejected": status.rejected,
                    "workers": status.workers.iter().map(worker).collect::<Vec<_>>(),
                    "turned_away": status.turned_away.iter().map(turned_away).collect::<Vec<_>>(),
                    "avoided": farm.avoided(),
                    "caches": farm.caches().into_iter().map(|cache| cache.name).collect::<Vec<_>>(),
                }),
                Err(error) => json!({ "up": false, "schedulers": schedulers, "error": error }),
            }
        }
    };
    json!({
        "version": daemon.settings.version,
        "pid": std::process::id(),
        "uptime_s": daemon.started.elapsed().as_secs(),
        "requests_active": daemon.active.load(std::sync::atomic::Ordering::SeqCst).saturating_sub(1),
        "heavy_slots": { "used": daemon.heavy.used(), "capacity": daemon.heavy.capacity() },
        "remembered": { "directories": directories, "files": files },
        "compilers": daemon.toolchains.effort(),
        "files": daemon.files.effort(),
        "sandbox": sandbox(daemon),
        "store": { "bytes": daemon.local.store.stats().bytes, "max_bytes": daemon.local.store.max_bytes() },
        "toolchains": toolchains(daemon),
        "farm": farm,
    })
}

fn worker(worker: &kiln_proto::v1::WorkerStatus) -> Value {
    json!({
        "name": worker.name,
        "address": worker.address,
        "kind": if worker.kind == kiln_proto::v1::NodeKind::Cache as i32 { "cache" } else { "worker" },
        "state": worker.state,
        "trouble": worker.trouble,
        "slots": worker.slots,
        "capacity": worker.capacity,
        "leased": worker.leased,
        "silent_ms": worker.silent_ms,
        "sandbox": worker.sandbox,
        "version": worker.version,
        "done": worker.done,
        "failed": worker.failed,
    })
}

/// Who was refused by the scheduler lately: a worker with a wrong token or another protocol shows here alone.
fn turned_away(one: &kiln_proto::v1::TurnedAway) -> Value {
    json!({ "who": one.who, "why": one.why, "times": one.times, "ago_ms": one.ago_ms })
}

fn sandbox(daemon: &Daemon) -> Value {
    match &daemon.local.executor {
        Some(executor) => {
            let report = executor.report();
            json!({
                "rung": format!("{:?}", report.rung),
                "why_not_better": report.why_not_better,
                "how_to_improve": report.how_to_improve,
                "absent": report.absent,
            })
        }
        None => json!({ "rung": "None", "why_not_better": [daemon.local.no_executor] }),
    }
}

fn toolchains(daemon: &Daemon) -> Value {
    let list = daemon.toolchains.list();
    let one = |toolchain: &kiln_toolchain::Toolchain| {
        json!({
            "driver": toolchain.driver,
            "family": format!("{:?}", toolchain.family),
            "version": toolchain.version,
            "target": toolchain.target,
            "id": toolchain.id.hex(),
            "bytes": toolchain.size(),
        })
    };
    Value::Array(list.values().map(|toolchain| one(toolchain)).collect())
}

async fn doctor(daemon: &Arc<Daemon>) -> Value {
    let farm_error = daemon.farm.as_ref().filter(|farm| !farm.is_up()).map(|farm| farm.last_error());
    json!({ "sandbox": sandbox(daemon), "toolchains": toolchains(daemon), "farm_error": farm_error, "farm": daemon.farm.is_some(),
        "substitutes": crate::substitute::doctor(daemon).await })
}
