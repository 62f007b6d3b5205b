//! Over real sockets with the real client: roles, tokens that workers accept, calls that are given up, restarts.

use crate::support::{Served, ask, beat, loopback, returned, scheduler_at, worker};
use kiln_proto::grant::{GrantBook, GrantError, GrantKey};
use kiln_proto::{PROTOCOL, v1};
use kiln_rpc::Address;
use std::time::Duration;
use tonic::Code;

async fn join(served: &Served, about: v1::RegisterRequest) -> v1::RegisterResponse {
    let mut client = served.scheduler("w");
    let registered = client.register(about).await.unwrap().into_inner();
    client.heartbeat(beat(&registered.worker_id, 1, &[])).await.unwrap();
    registered
}

#[tokio::test]
async fn grants_are_tokens_that_the_worker_accepts_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = [loopback(), Address::Unix(dir.path().join("s/scheduler.sock"))];
    for at in at {
        let (served, _farm) = scheduler_at(&at).await;
        let registered = join(&served, worker("w1", 2)).await;
        let granted = served.scheduler("ann").acquire(ask(2, 0)).await.unwrap().into_inner().grants;
        assert_eq!(granted.len(), 2);
        let mut book = GrantBook::new();
        let key = GrantKey::from_wire(&registered.grant_key_id, &registered.grant_key).unwrap();
        book.learn(key, registered.worker_id.clone());
        for grant in &granted {
            let token = book.spend(Duration::ZERO, &grant.token).unwrap();
            assert_eq!((token.lease.as_str(), token.user.as_str()), (grant.lease.as_str(), "ann"));
            assert_eq!((token.worker_id.as_str(), token.instance.as_str()), (registered.worker_id.as_str(), "main"));
            assert_eq!(book.spend(Duration::ZERO, &grant.token), Err(GrantError::Used));
            assert_eq!((grant.worker_name.as_str(), grant.lease_ms), ("w1", 3000));
        }
        let other = join(&served, worker("w2", 2)).await;
        let mut other_book = GrantBook::new();
        other_book.learn(GrantKey::from_wire(&other.grant_key_id, &other.grant_key).unwrap(), other.worker_id);
        assert_eq!(other_book.spend(Duration::ZERO, &granted[0].token), Err(GrantError::UnknownKey));
        served.stop().await;
    }
}

#[tokio::test]
async fn each_call_needs_its_role() {
    let (served, _farm) = scheduler_at(&loopback()).await;
    #[track_caller]
    fn denied<T: std::fmt::Debug>(result: Result<T, tonic::Status>) {
        assert_eq!(result.unwrap_err().code(), Code::PermissionDenied);
    }
    for name in ["ann", "root"] {
        let mut client = served.scheduler(name);
        denied(client.register(worker("w", 1)).await);
        denied(client.heartbeat(beat("x", 1, &[])).await);
        denied(client.goodbye(v1::GoodbyeRequest::default()).await);
    }
    for name in ["w", "root"] {
        let mut client = served.scheduler(name);
        denied(client.acquire(ask(1, 0)).await);
        denied(client.renew(v1::RenewRequest::default()).await);
        denied(client.release(v1::ReleaseRequest::default()).await);
    }
    denied(served.scheduler("w").status(v1::StatusRequest::default()).await);
    for name in ["ann", "root"] {
        served.scheduler(name).status(v1::StatusRequest::default()).await.unwrap();
    }
    let disguised = v1::AcquireRequest { client_id: "@front".into(), ..ask(1, 0) };
    let status = served.scheduler("ann").acquire(disguised).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    served.stop().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_frees_its_place() {
    let (served, farm) = scheduler_at(&loopback()).await;
    join(&served, worker("w", 1)).await;
    let held = served.scheduler("ann").acquire(ask(1, 0)).await.unwrap().into_inner().grants.remove(0);
    let gone = tokio::spawn({
        let mut client = served.scheduler("bob");
        async move { client.acquire(ask(1, 60_000)).await }
    });
    while farm.stats().await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    while farm.stats().await.unwrap().waiting == 1 {
        tokio::task::yield_now().await;
    }
    let mut ann = served.scheduler("ann");
    let release = v1::ReleaseRequest { client_id: "daemon".into(), released: vec![returned(&held.lease, v1::Outcome::Ok)] };
    ann.release(release).await.unwrap();
    let again = ann.acquire(ask(1, 0)).await.unwrap().into_inner();
    assert_eq!(again.grants.len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn a_restart_at_the_same_address_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let at = Address::Unix(dir.path().join("s/scheduler.sock"));
    let (served, farm) = scheduler_at(&at).await;
    let (mut worker_client, mut client) = (served.scheduler("w"), served.scheduler("ann"));
    let before = join(&served, worker("w", 2)).await;
    let lease = client.acquire(ask(1, 0)).await.unwrap().into_inner().grants.remove(0).lease;
    farm.stop().await;
    served.stop().await;
    drop(farm);
    assert_eq!(client.acquire(ask(1, 0)).await.unwrap_err().code(), Code::Unavailable);

    let (served, _farm) = scheduler_at(&at).await;
    let beaten = worker_client.heartbeat(beat(&before.worker_id, 9, std::slice::from_ref(&lease))).await;
    assert_eq!(beaten.unwrap_err().code(), Code::NotFound);
    let after = worker_client.register(worker("w", 2)).await.unwrap().into_inner();
    worker_client.heartbeat(beat(&after.worker_id, 1, std::slice::from_ref(&lease))).await.unwrap();
    let granted = client.acquire(ask(2, 0)).await.unwrap().into_inner().grants;
    assert_eq!(granted.len(), 1, "the job from before still takes its slot");
    served.stop().await;
}

#[tokio::test]
async fn waiting_at_a_full_farm_is_over_the_wire_too() {
    let (served, farm) = scheduler_at(&loopback()).await;
    join(&served, worker("w", 1)).await;
    let mut ann = served.scheduler("ann");
    let held = ann.acquire(ask(1, 0)).await.unwrap().into_inner().grants.remove(0).lease;
    let full = ann.acquire(ask(1, 0)).await.unwrap().into_inner();
    assert_eq!(full.refusal(), v1::Refusal::Full);
    let waiting = tokio::spawn({
        let mut client = served.scheduler("bob");
        async move { client.acquire(ask(1, 30_000)).await.unwrap().into_inner() }
    });
    while farm.stats().await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    ann.release(v1::ReleaseRequest { client_id: "daemon".into(), released: vec![returned(&held, v1::Outcome::Ok)] }).await.unwrap();
    assert_eq!(waiting.await.unwrap().grants.len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn news_come_as_they_happen_and_end_with_the_scheduler() {
    let (served, farm) = scheduler_at(&loopback()).await;
    let request = v1::WatchRequest { client_id: "daemon".into(), protocol: PROTOCOL };
    let mut news = served.scheduler("ann").watch(request.clone()).await.unwrap().into_inner();
    let first = news.message().await.unwrap().unwrap();
    assert_eq!((first.able, first.version.as_str(), first.nodes), (0, "1.2.3", Some(v1::Nodes::default())));
    join(&served, worker("w", 1)).await;
    let mut last = v1::News::default();
    while last.able == 0 {
        last = news.message().await.unwrap().unwrap();
    }
    let mut late = served.scheduler("bob").watch(request).await.unwrap().into_inner();
    assert_eq!(late.message().await.unwrap().unwrap().nodes.unwrap().nodes[0].name, "w");
    farm.stop().await;
    assert_eq!(news.message().await.unwrap(), None, "no error: it said goodbye");
    served.stop().await;
}

#[tokio::test]
async fn who_is_turned_away_is_shown_with_the_reason() {
    let (served, _farm) = scheduler_at(&loopback()).await;
    let mut other = served.scheduler("w");
    for _ in 0..2 {
        let refused = other.register(v1::RegisterRequest { protocol: PROTOCOL + 1, ..worker("new", 1) }).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    let watch = v1::WatchRequest { client_id: "daemon".into(), protocol: PROTOCOL + 1 };
    assert_eq!(served.scheduler("ann").watch(watch).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(served.scheduler("stranger").register(worker("s", 1)).await.unwrap_err().code(), Code::Unauthenticated);
    let status = served.scheduler("ann").status(v1::StatusRequest::default()).await.unwrap().into_inner();
    let told: Vec<String> = status.turned_away.iter().map(|one| format!("{} {}x: {}", one.who, one.times, one.why)).collect();
    let two = format!("it speaks protocol {}, this scheduler speaks {PROTOCOL}: update the older of the two", PROTOCOL + 1);
    let expect = [format!("new at 10.0.0.1:8003 2x: {two}"), "127.0.0.1 1x: unknown credential".to_owned()];
    assert_eq!(told, expect);
    served.stop().await;
}
