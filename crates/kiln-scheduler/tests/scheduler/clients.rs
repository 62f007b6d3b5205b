//! Odd callers: too long, too many, unknown, somebody else's.

use crate::support::{ask, beat, join, returned, worker};
use kiln_proto::v1;
use kiln_scheduler::{CallError, Farm, limits};

async fn farm() -> Farm {
    let farm = Farm::start("1.2.3").unwrap();
    join(&farm, worker("w", 4)).await;
    farm
}

#[tokio::test]
async fn registrations_that_cannot_be_are_refused() {
    let farm = farm().await;
    let long = "x".repeat(limits::NAME_MAX + 1);
    let w = || worker("other", 1);
    let cases = [
        (v1::RegisterRequest { name: String::new(), ..w() }, "name is empty"),
        (v1::RegisterRequest { name: long.clone(), ..w() }, "name is longer than 128 bytes"),
        (v1::RegisterRequest { name: "a\nb".into(), ..w() }, "name holds control characters"),
        (v1::RegisterRequest { boot_id: String::new(), ..w() }, "boot_id is empty"),
        (v1::RegisterRequest { kind: 0, ..w() }, "kind is neither worker nor cache"),
        (v1::RegisterRequest { kind: 77, ..w() }, "kind is neither worker nor cache"),
        (v1::RegisterRequest { toolchains: vec!["t".into(); 65], ..w() }, "more than 64 toolchains"),
        (v1::RegisterRequest { toolchains: vec![long], ..w() }, "toolchain is longer than 128 bytes"),
    ];
    for (message, why) in cases {
        assert_eq!(farm.register(message).await, Err(CallError::Bad(why.to_owned())));
    }
    let nowhere = farm.register(v1::RegisterRequest { address: "nowhere".into(), ..w() }).await;
    assert!(matches!(nowhere, Err(CallError::Bad(why)) if why.starts_with("address")));
    assert_eq!(farm.status(false).await.unwrap().workers.len(), 1);
}

#[tokio::test]
async fn leases_of_others_cannot_be_returned_or_renewed() {
    let farm = farm().await;
    let lease = farm.acquire("ann", "d", ask(1, 0)).await.unwrap().grants.remove(0).lease;
    for (user, client) in [("bob", "d"), ("ann", "other")] {
        farm.release(user, client, vec![returned(&lease, v1::Outcome::Ok)]).await.unwrap();
        let renewed = farm.renew(user, client, vec![lease.clone()]).await.unwrap();
        assert_eq!(renewed.unknown, std::slice::from_ref(&lease));
    }
    for nonsense in ["", "-", "1", "x-1", &format!("{lease}x"), &lease.replace('-', "-99"), "\u{1F600}"] {
        farm.release("ann", "d", vec![returned(nonsense, v1::Outcome::WorkerFailed)]).await.unwrap();
        assert_eq!(farm.renew("ann", "d", vec![nonsense.to_owned()]).await.unwrap().unknown, [nonsense]);
    }
    assert_eq!(farm.stats().await.unwrap().leased, 1);
    farm.release("ann", "d", vec![returned(&lease, v1::Outcome::Ok), returned(&lease, v1::Outcome::Ok)]).await.unwrap();
    assert_eq!(farm.stats().await.unwrap().leased, 0);
}

#[tokio::test]
async fn calls_beyond_bounds_are_refused_and_harm_nobody() {
    let farm = farm().await;
    let many = vec!["x".to_owned(); limits::LEASES_PER_CALL_MAX + 1];
    assert_eq!(farm.renew("ann", "d", many).await, Err(CallError::TooMany("leases")));
    let many = vec![returned("x", v1::Outcome::Ok); limits::LEASES_PER_CALL_MAX + 1];
    assert_eq!(farm.release("ann", "d", many).await, Err(CallError::TooMany("leases")));
    let long = "x".repeat(1000);
    for message in [
        v1::AcquireRequest { toolchain: long.clone(), ..ask(1, 0) },
        v1::AcquireRequest { machine: long.clone(), ..ask(1, 0) },
        v1::AcquireRequest { kiln_root: long.clone(), ..ask(1, 0) },
        v1::AcquireRequest { instance: long.clone(), ..ask(1, 0) },
    ] {
        assert!(matches!(farm.acquire("ann", "d", message).await, Err(CallError::Bad(_))));
    }
    assert!(matches!(farm.acquire("ann", &long, ask(1, 0)).await, Err(CallError::Bad(_))));
    let greedy = farm.acquire("ann", "d", ask(1_000_000, 0)).await.unwrap();
    assert_eq!(greedy.grants.len(), 4);
    let status = farm.status(false).await.unwrap();
    assert_eq!(status.clients[0].trouble, "asked 1 times for more than it may");
}

#[tokio::test]
async fn names_of_requests_are_dropped_with_them() {
    let farm = farm().await;
    // More different toolchains than are held at once; each is refused and forgotten.
    for number in 0..100 {
        let message = v1::AcquireRequest { toolchain: format!("t{number}"), kiln_root: String::new(), ..ask(1, 0) };
        let response = farm.acquire("ann", "d", message).await.unwrap();
        assert!(response.grants.is_empty());
    }
    let known = v1::AcquireRequest { kiln_root: String::new(), ..ask(1, 0) };
    assert_eq!(farm.acquire("ann", "d", known).await.unwrap().grants.len(), 1);
}

#[tokio::test]
async fn overtaken_heartbeats_tell_nothing() {
    let farm = Farm::start("1.2.3").unwrap();
    let registered = join(&farm, worker("w", 4)).await;
    let jobs = ["x-1".to_owned(), "x-2".to_owned()];
    farm.heartbeat(beat(&registered.worker_id, 5, &jobs)).await.unwrap();
    farm.heartbeat(beat(&registered.worker_id, 4, &[])).await.unwrap();
    assert_eq!(farm.stats().await.unwrap().foreign, 2);
    farm.heartbeat(beat(&registered.worker_id, 6, &[])).await.unwrap();
    assert_eq!(farm.stats().await.unwrap().foreign, 0);
}
