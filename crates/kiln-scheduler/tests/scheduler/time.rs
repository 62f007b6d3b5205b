//! What time does, with tokio's clock paused: silence, waits, leases, settling.

use crate::support::{ask, beat, join, returned, status_of, worker};
use kiln_proto::v1;
use kiln_scheduler::{CallError, Farm};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A farm past its settling time.
async fn settled() -> Farm {
    let farm = Farm::start("1.2.3").unwrap();
    tokio::time::sleep(3 * SECOND).await;
    farm
}

fn refusal(response: &v1::AcquireResponse) -> v1::Refusal {
    assert!(response.grants.is_empty());
    response.refusal()
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_gets_nothing_and_its_leases_are_told_lost() {
    let farm = settled().await;
    let silent = join(&farm, worker("silent", 1)).await;
    let lively = join(&farm, worker("lively", 1)).await;
    let granted = farm.acquire("ann", "d", ask(2, 0)).await.unwrap().grants;
    assert_eq!(granted.len(), 2);
    let leases: Vec<String> = granted.iter().map(|grant| grant.lease.clone()).collect();
    let on = |name: &str| granted.iter().find(|grant| grant.worker_name == name).unwrap().lease.clone();
    let mut lost_after = None;
    for second in 1..=5_u64 {
        tokio::time::sleep(SECOND).await;
        farm.heartbeat(beat(&lively.worker_id, 1 + second, &[on("lively")])).await.unwrap();
        let renewed = farm.renew("ann", "d", leases.clone()).await.unwrap();
        if !renewed.lost.is_empty() {
            assert_eq!(renewed.lost, [on("silent")]);
            assert!(lost_after.replace(second).is_none(), "told once");
        }
    }
    assert!(matches!(lost_after, Some(3 | 4)), "{lost_after:?}");
    let status = status_of(&farm, "silent").await;
    assert_eq!(status.state, "silent");
    assert!(status.trouble.starts_with("silent for 5."), "{}", status.trouble);
    assert_eq!(farm.nodes().await.unwrap().nodes.len(), 1, "nobody is told to fetch from it");
    farm.heartbeat(beat(&silent.worker_id, 9, &[])).await.unwrap();
    assert_eq!(status_of(&farm, "silent").await.state, "well");
    assert_eq!(farm.acquire("ann", "d", ask(5, 0)).await.unwrap().grants.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_farm_blocks_until_a_slot_is_returned() {
    let farm = settled().await;
    join(&farm, worker("w", 1)).await;
    let first = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0);
    let waiting = tokio::spawn({
        let farm = farm.clone();
        async move { farm.acquire("bob", "d", ask(1, 2000)).await }
    });
    tokio::time::sleep(SECOND).await;
    assert!(!waiting.is_finished());
    farm.release("ann", "d", vec![returned(&first.lease, v1::Outcome::Ok)]).await.unwrap();
    let second = waiting.await.unwrap().unwrap().grants.remove(0);
    assert_ne!(second.lease, first.lease);
    let started = tokio::time::Instant::now();
    let response = farm.acquire("ann", "d", ask(1, 1500)).await.unwrap();
    assert_eq!(refusal(&response), v1::Refusal::Full);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(1500) && waited < Duration::from_millis(1800), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_given_up_call_is_taken_back() {
    let farm = settled().await;
    join(&farm, worker("w", 1)).await;
    let held = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0);
    let gone = tokio::spawn({
        let farm = farm.clone();
        async move { farm.acquire("bob", "d", ask(1, 60_000)).await }
    });
    while farm.stats().await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    while farm.stats().await.unwrap().waiting == 1 {
        tokio::task::yield_now().await;
    }
    farm.release("ann", "d", vec![returned(&held.lease, v1::Outcome::Ok)]).await.unwrap();
    assert_eq!(farm.acquire("eve", "d", ask(1, 0)).await.unwrap().grants.len(), 1, "the slot is not lost with bob");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_scheduler_waits_for_workers_and_counts_their_jobs() {
    let before = settled().await;
    join(&before, worker("w", 4)).await;
    let grants = before.acquire("ann", "d", ask(3, 0)).await.unwrap().grants;
    let leases: Vec<String> = grants.iter().map(|grant| grant.lease.clone()).collect();
    drop(before);

    let after = Farm::start("1.2.3").unwrap();
    let early = tokio::spawn({
        let farm = after.clone();
        async move { farm.acquire("bob", "d", ask(4, 10_000)).await }
    });
    let forgotten = after.heartbeat(beat("0.0011223344556677", 7, &leases)).await;
    assert_eq!(forgotten, Err(CallError::NotRegistered));
    tokio::time::sleep(SECOND).await;
    let registered = after.register(worker("w", 4)).await.unwrap();
    assert!(!early.is_finished(), "what runs there is not known yet");
    after.heartbeat(beat(&registered.worker_id, 1, &leases)).await.unwrap();
    let granted = early.await.unwrap().unwrap().grants;
    assert_eq!(granted.len(), 1, "three of four slots are taken by jobs from before");
    assert!(leases.iter().all(|lease| *lease != granted[0].lease));
    let renewed = after.renew("ann", "d", leases.clone()).await.unwrap();
    assert_eq!(renewed, v1::RenewResponse::default(), "runs from before go on");
    after.heartbeat(beat(&registered.worker_id, 2, &leases[..1])).await.unwrap();
    let renewed = after.renew("ann", "d", leases.clone()).await.unwrap();
    assert_eq!(renewed.unknown, leases[1..]);
    let status = status_of(&after, "w").await;
    assert_eq!((status.leased, status.foreign), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn two_schedulers_count_each_others_jobs() {
    let (one, two) = (settled().await, settled().await);
    let (at_one, at_two) = (join(&one, worker("w", 4)).await, join(&two, worker("w", 4)).await);
    let from_one = one.acquire("ann", "d", ask(3, 0)).await.unwrap().grants;
    let mut jobs: Vec<String> = from_one.iter().map(|grant| grant.lease.clone()).collect();
    one.heartbeat(beat(&at_one.worker_id, 2, &jobs)).await.unwrap();
    two.heartbeat(beat(&at_two.worker_id, 2, &jobs)).await.unwrap();
    let from_two = two.acquire("bob", "d", ask(3, 0)).await.unwrap().grants;
    assert_eq!(from_two.len(), 1);
    jobs.push(from_two[0].lease.clone());
    one.heartbeat(beat(&at_one.worker_id, 3, &jobs)).await.unwrap();
    assert!(one.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.is_empty());
    assert_ne!(at_one.grant_key, at_two.grant_key);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_shows_as_overcommit_and_blames_nobody() {
    let farm = settled().await;
    join(&farm, worker("w", 2)).await;
    let lease = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0).lease;
    farm.release("ann", "d", vec![returned(&lease, v1::Outcome::Rejected)]).await.unwrap();
    let status = farm.status(false).await.unwrap();
    assert_eq!((status.rejected, status.workers[0].failed), (1, 0));
    assert_eq!(status.workers[0].trouble, "turned a job away as full: gets no more until it reports");
    assert!(farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.is_empty());
}

#[tokio::test(start_paused = true)]
async fn status_says_in_words_what_is_wrong() {
    let farm = settled().await;
    let unwell = join(&farm, worker("full-disk", 2)).await;
    let absurd = join(&farm, worker("liar", 2)).await;
    let short = join(&farm, worker("short", 4)).await;
    let busy = join(&farm, worker("busy", 4)).await;
    join(&farm, worker("broken", 1)).await;
    farm.register(worker("new", 1)).await.unwrap();
    for round in 0..2 {
        let avoid = ["full-disk", "liar", "short", "busy"].map(str::to_owned).to_vec();
        let grants = farm.acquire("ann", "d", v1::AcquireRequest { avoid, ..ask(1, 0) }).await.unwrap().grants;
        let detail = "connection\nreset".to_owned();
        let failed = v1::Released { detail, ..returned(&grants[0].lease, v1::Outcome::WorkerFailed) };
        farm.release("ann", "d", vec![failed]).await.unwrap();
        if round == 0 {
            assert_eq!(status_of(&farm, "broken").await.trouble, "failed its last job (connection reset)");
        }
    }
    let said = v1::HeartbeatRequest { unwell: "disk full: /var".to_owned(), ..beat(&unwell.worker_id, 2, &[]) };
    farm.heartbeat(said).await.unwrap();
    let with = |registered: &v1::RegisterResponse, change: fn(&mut v1::Load)| {
        let mut message = beat(&registered.worker_id, 2, &[]);
        change(message.load.as_mut().unwrap());
        message
    };
    farm.heartbeat(with(&absurd, |load| load.memory_available_bytes *= 3)).await.unwrap();
    farm.heartbeat(with(&short, |load| load.memory_available_bytes = 3 << 29)).await.unwrap();
    farm.heartbeat(with(&busy, |load| load.foreign_load_milli = 3000)).await.unwrap();
    let status = farm.status(false).await.unwrap();
    let lines: Vec<String> = status
        .workers
        .iter()
        .map(|worker| format!("{}: {} {}/{}: {}", worker.name, worker.state, worker.capacity, worker.slots, worker.trouble))
        .collect();
    assert_eq!(
        lines,
        [
            "broken: quarantined 0/1: failed 2 jobs (connection reset): gets no work, is tried again in 5.0 s",
            "busy: well 1/4: other work takes 3.0 of its cores: room for 1 jobs",
            "full-disk: unwell 0/2: takes no work: disk full: /var",
            "liar: unwell 0/2: reports what cannot be: 180.0 GiB of memory free of 64.0 GiB",
            "new: fresh 0/1: registered, no heartbeat yet",
            "short: well 2/4: 1.5 GiB of memory left: room for 2 jobs",
        ]
    );
    let client = &status.clients[0];
    assert_eq!((client.user.as_str(), client.client_id.as_str()), ("ann", "d"));
    let brief = farm.status(true).await.unwrap();
    assert!(brief.workers.is_empty() && brief.clients.is_empty());
    assert_eq!((brief.able, brief.nodes.unwrap().nodes.len(), brief.version.as_str()), (3, 6, "1.2.3"));
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_among_the_living() {
    let farm = settled().await;
    let first = join(&farm, worker("w", 2)).await;
    let other = v1::RegisterRequest { address: "10.9.9.9:1".into(), boot_id: "other".into(), ..worker("w", 2) };
    let taken = CallError::NameTaken { name: "w".into(), address: worker("w", 2).address };
    assert_eq!(farm.register(other.clone()).await, Err(taken));
    farm.heartbeat(beat(&first.worker_id, 2, &[])).await.unwrap();
    let again = farm.register(v1::RegisterRequest { boot_id: "restarted".into(), ..worker("w", 2) }).await.unwrap();
    assert_ne!(again.worker_id, first.worker_id);
    assert_eq!(farm.heartbeat(beat(&first.worker_id, 3, &[])).await, Err(CallError::NotRegistered));
    tokio::time::sleep(4 * SECOND).await;
    farm.register(other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_worker_has_lost_its_jobs_and_one_that_only_reconnects_has_not() {
    let farm = settled().await;
    join(&farm, worker("w", 2)).await;
    let lease = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0).lease;
    farm.register(worker("w", 2)).await.unwrap();
    assert_eq!(farm.renew("ann", "d", vec![lease.clone()]).await.unwrap(), v1::RenewResponse::default());
    farm.register(v1::RegisterRequest { boot_id: "restarted".into(), ..worker("w", 2) }).await.unwrap();
    assert_eq!(farm.renew("ann", "d", vec![lease.clone()]).await.unwrap().lost, [lease]);
}

#[tokio::test(start_paused = true)]
async fn nodes_are_told_when_they_change() {
    let farm = settled().await;
    let first = join(&farm, worker("w1", 1)).await;
    assert_eq!(first.nodes.unwrap().nodes.len(), 1);
    let unchanged = farm.heartbeat(beat(&first.worker_id, 2, &[])).await.unwrap();
    assert_eq!(unchanged, v1::HeartbeatResponse::default());
    let cache = v1::RegisterRequest { kind: v1::NodeKind::Cache as i32, ..worker("cache", 0) };
    let cache = join(&farm, cache).await;
    let changed = farm.heartbeat(beat(&first.worker_id, 3, &[])).await.unwrap();
    assert!(changed.nodes_changed);
    let names: Vec<String> = changed.nodes.unwrap().nodes.into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["cache", "w1"], "cache servers first");
    let told = farm.acquire("ann", "d", ask(1, 0)).await.unwrap();
    assert_eq!(told.nodes.unwrap().nodes.len(), 2);
    assert_eq!(farm.acquire("ann", "d", ask(1, 0)).await.unwrap().nodes, None, "told already");
    assert_eq!(status_of(&farm, "cache").await.leased, 0, "a cache server gets no jobs");
    farm.goodbye(v1::GoodbyeRequest { worker_id: cache.worker_id }).await.unwrap();
    assert_eq!(farm.nodes().await.unwrap().nodes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_scheduler_answers_who_waits() {
    let farm = settled().await;
    join(&farm, worker("w", 1)).await;
    let held = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0).lease;
    let waiting = tokio::spawn({
        let farm = farm.clone();
        async move { farm.acquire("bob", "d", ask(1, 60_000)).await }
    });
    while farm.stats().await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    farm.stop().await;
    assert_eq!(waiting.await.unwrap(), Err(CallError::Stopping));
    assert_eq!(farm.acquire("ann", "d", ask(1, 0)).await, Err(CallError::Stopping));
    assert_eq!(farm.renew("ann", "d", vec![held.clone()]).await.unwrap(), v1::RenewResponse::default());
    farm.release("ann", "d", vec![returned(&held, v1::Outcome::Ok)]).await.unwrap();
    assert_eq!(farm.stats().await.unwrap().leased, 0);
}

#[tokio::test(start_paused = true)]
async fn metrics_show_states_and_counters() {
    let farm = settled().await;
    join(&farm, worker("w", 4)).await;
    farm.acquire("ann", "d", ask(3, 0)).await.unwrap();
    // Suspect since 1.5 s, and the numbers are at most a second old.
    tokio::time::sleep(Duration::from_millis(2700)).await;
    let registry = kiln_rpc::metrics::Registry::default();
    registry.register(farm.metrics());
    let page = registry.text();
    for line in [
        "kiln_scheduler_grants_total 3",
        "kiln_scheduler_workers{state=\"suspect\"} 1",
        "kiln_scheduler_workers{state=\"silent\"} 0",
        "kiln_scheduler_leased 3",
        "kiln_scheduler_slots 4",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
    }
}
