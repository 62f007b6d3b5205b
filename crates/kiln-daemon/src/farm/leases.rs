//! Leases in hand: kept alive while they are held, told of when they are lost, returned in batches. Knows no unit.

use kiln_proto::v1::{Outcome, ReleaseRequest, Released, RenewRequest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use super::schedulers::Schedulers;

/// How often leases are renewed: they last three times as long, so two renewals may be lost.
const RENEW: Duration = Duration::from_secs(1);

/// Most returned leases waiting to be sent: 1,000 units a second for four seconds. Beyond it they end by themselves.
const RETURNS_MAX: usize = 4096;

/// Most returned leases in one call.
const RETURN_BATCH: usize = 64;

/// A lease that somebody holds.
struct Held {
    scheduler: usize,
    /// Dropped when the lease is lost.
    _told: oneshot::Sender<()>,
}

/// All leases in hand.
pub(crate) struct Leases {
    held: Mutex<HashMap<String, Held>>,
    returns: mpsc::Sender<(usize, Released)>,
}

/// One lease in hand; returned when it is dropped, as unused if nothing else was said.
pub(crate) struct Lease {
    name: String,
    scheduler: usize,
    outcome: Option<Released>,
    lost: Option<oneshot::Receiver<()>>,
    leases: Arc<Leases>,
}

impl Leases {
    /// An empty hand; what comes back is to be sent by [`send_returns`].
    pub(crate) fn new() -> (Arc<Leases>, mpsc::Receiver<(usize, Released)>) {
        let (returns, returned) = mpsc::channel(RETURNS_MAX);
        (Arc::new(Leases { held: Mutex::default(), returns }), returned)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease that `scheduler` gave.
    pub(crate) fn take(self: &Arc<Leases>, name: &str, scheduler: usize) -> Lease {
        let (told, lost) = oneshot::channel();
        self.held().insert(name.to_owned(), Held { scheduler, _told: told });
        Lease { name: name.to_owned(), scheduler, outcome: None, lost: Some(lost), leases: Arc::clone(self) }
    }

    /// Names of those that `scheduler` gave.
    fn of(&self, scheduler: usize) -> Vec<String> {
        let held = self.held();
        held.iter().filter(|(_, held)| held.scheduler == scheduler).map(|(name, _)| name.clone()).collect()
    }

    /// Their workers are gone: whoever waits for them is told.
    fn lose(&self, lost: &[String]) {
        let mut held = self.held();
        for name in lost {
            held.remove(name);
        }
    }
}

impl Lease {
    /// What became of it.
    pub(crate) fn used(&mut self, outcome: Outcome, run_ms: u64, memory_bytes: u64, detail: &str) {
        self.outcome = Some(Released {
            lease: self.name.clone(),
            outcome: outcome as i32,
            run_ms: u32::try_from(run_ms).unwrap_or(u32::MAX),
            memory_bytes,
            detail: detail.chars().take(200).collect(),
        });
    }

    /// Completes when the scheduler says that the lease's worker is gone.
    pub(crate) async fn lost(&mut self) {
        match &mut self.lost {
            // Nothing is ever sent: the other end is dropped.
            Some(lost) => drop(lost.await),
            None => std::future::pending().await,
        }
        self.lost = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let unused = || Released { lease: self.name.clone(), outcome: Outcome::Unused as i32, ..Default::default() };
        let released = self.outcome.take().unwrap_or_else(unused);
        self.leases.held().remove(&self.name);
        // A full queue means that thousands wait for a scheduler that does not answer.
        let _ = self.leases.returns.try_send((self.scheduler, released));
    }
}

/// Keeps the leases in hand alive, for ever.
pub(crate) async fn renew(leases: Arc<Leases>, schedulers: Arc<Schedulers>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let renewals = (0..schedulers.count()).map(|index| renew_at(&leases, &schedulers, index));
        futures::future::join_all(renewals).await;
    }
}

async fn renew_at(leases: &Leases, schedulers: &Schedulers, index: usize) {
    let held = leases.of(index);
    if held.is_empty() {
        return;
    }
    let request = RenewRequest { client_id: schedulers.client_id().to_owned(), leases: held };
    let mut client = schedulers.client(index);
    // One that does not answer must not hold up the others' next renewal.
    match tokio::time::timeout(RENEW, client.renew(request)).await {
        Ok(Ok(answer)) => leases.lose(&answer.into_inner().lost),
        Ok(Err(status)) => tracing::debug!("leases not renewed: {}", status.message()),
        Err(_) => tracing::debug!("leases not renewed: no answer"),
    }
}

/// Sends what is returned, until nobody returns anything any more.
pub(crate) async fn send_returns(schedulers: Arc<Schedulers>, mut returned: mpsc::Receiver<(usize, Released)>) {
    let mut batch = Vec::with_capacity(RETURN_BATCH);
    while returned.recv_many(&mut batch, RETURN_BATCH).await > 0 {
        for index in 0..schedulers.count() {
            let released: Vec<Released> = batch.iter().filter(|(at, _)| *at == index).map(|(_, one)| one.clone()).collect();
            if released.is_empty() {
                continue;
            }
            let request = ReleaseRequest { client_id: schedulers.client_id().to_owned(), released };
            if let Err(status) = schedulers.client(index).release(request).await {
                tracing::debug!("grants not returned: {}", status.message());
            }
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_lost_lease_is_told_and_every_lease_comes_back() {
        let (leases, mut returned) = Leases::new();
        let mut lost = leases.take("a", 0);
        let mut kept = leases.take("b", 1);
        assert_eq!((leases.of(0), leases.of(1)), (vec!["a".to_owned()], vec!["b".to_owned()]));
        leases.lose(&["a".to_owned(), "nobody's".to_owned()]);
        lost.lost().await;
        let waits = tokio::time::timeout(Duration::from_millis(20), kept.lost()).await;
        assert!(waits.is_err(), "the other one goes on");
        kept.used(Outcome::Ok, 7, 0, "");
        drop((lost, kept));
        assert!(leases.of(1).is_empty());
        let outcomes = [returned.recv().await.unwrap(), returned.recv().await.unwrap()];
        let told = outcomes.map(|(scheduler, released)| (scheduler, released.lease.clone(), released.outcome(), released.run_ms));
        assert_eq!(told, [(0, "a".to_owned(), Outcome::Unused, 0), (1, "b".to_owned(), Outcome::Ok, 7)]);
    }
}
