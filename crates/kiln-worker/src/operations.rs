//! The runs of a worker by name: who joins, who watches, when an abandoned run is killed. Knows no action's content.

use kiln_cas::Digest;
use kiln_proto::reapi::ExecuteResponse;
use kiln_proto::reapi::execution_stage::Value as Stage;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

use crate::executor::CancelSwitch;

/// Most operations remembered, running and finished: slots and queue are some hundreds; finished ones stay for
/// [`KEEP_FINISHED`] so that a broken stream can be resumed.
pub(crate) const OPERATIONS_MAX: usize = 8192;

/// How long a finished operation can still be asked for.
pub(crate) const KEEP_FINISHED: Duration = Duration::from_secs(60);

/// How long a run nobody watches is kept for a kiln daemon: the length of its grant's lease.
pub(crate) const LEASE_DAEMON: Duration = Duration::from_secs(3);

/// How long a run nobody watches is kept for other REAPI clients, which reconnect at leisure.
pub(crate) const LEASE_OTHER: Duration = Duration::from_secs(60);

/// The name of the run under a lease.
pub fn name(instance: &str, lease: &str) -> String {
    format!("{instance}/operations/{lease}")
}

/// Where a run stands.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) stage: Stage,
    pub(crate) response: Option<Arc<ExecuteResponse>>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) action: Digest,
    pub(crate) cancel: CancelSwitch,
    pub(crate) abandoned_after: Duration,
    state: watch::Sender<State>,
    watchers: Mutex<usize>,
}

impl Operation {
    /// Moves to a stage, or to the end.
    pub(crate) fn set(&self, stage: Stage, response: Option<ExecuteResponse>) {
        self.state.send_replace(State { stage, response: response.map(Arc::new) });
    }

    /// An explicit cancel: the run ends now, unless others wait for it too.
    pub(crate) fn cancel_unless_joined(&self) {
        if *self.watchers.lock().unwrap_or_else(PoisonError::into_inner) <= 1 {
            self.cancel.cancel();
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.borrow().response.is_some()
    }
}

/// A caller that wants the end of a run. When the last one goes, the run's time is limited.
pub(crate) struct Watcher {
    pub(crate) operation: Arc<Operation>,
    pub(crate) changes: watch::Receiver<State>,
}

impl Watcher {
    fn new(operation: &Arc<Operation>) -> Watcher {
        *operation.watchers.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Watcher { operation: Arc::clone(operation), changes: operation.state.subscribe() }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let left = {
            let mut watchers = self.operation.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            *watchers -= 1;
            *watchers
        };
        if left > 0 || self.operation.is_done() {
            return;
        }
        let operation = Arc::clone(&self.operation);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            operation.cancel.cancel();
            return;
        };
        runtime.spawn(async move {
            tokio::time::sleep(operation.abandoned_after).await;
            let watchers = *operation.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            if watchers == 0 && !operation.is_done() {
                operation.cancel.cancel();
            }
        });
    }
}

/// All runs, by name and, for joining, by action.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<String, Arc<Operation>>,
    joinable: BTreeMap<Digest, Arc<Operation>>,
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the joinable run of `action`, if there is one that has not ended.
    pub(crate) fn join(&self, action: &Digest) -> Option<Watcher> {
        let inner = self.lock();
        let operation = inner.joinable.get(action)?;
        (!operation.is_done() && !operation.cancel.is_cancelled()).then(|| Watcher::new(operation))
    }

    /// Enters a new run; `None` when there are too many or the name is taken.
    pub(crate) fn start(&self, name: String, action: Digest, abandoned_after: Duration) -> Option<Watcher> {
        let mut inner = self.lock();
        if inner.by_name.len() >= OPERATIONS_MAX || inner.by_name.contains_key(&name) {
            return None;
        }
        let operation = Arc::new(Operation {
            name: name.clone(),
            action,
            cancel: CancelSwitch::new(),
            abandoned_after,
            state: watch::Sender::new(State { stage: Stage::Queued, response: None }),
            watchers: Mutex::new(0),
        });
        inner.by_name.insert(name, Arc::clone(&operation));
        Some(Watcher::new(&operation))
    }

    /// Lets others join a run: it is one for all who want the action.
    pub(crate) fn offer(&self, operation: &Arc<Operation>) {
        self.lock().joinable.insert(operation.action, Arc::clone(operation));
    }

    /// Watches a run by name.
    pub(crate) fn watch(&self, name: &str) -> Option<Watcher> {
        self.lock().by_name.get(name).map(Watcher::new)
    }

    /// The run of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Operation>> {
        self.lock().by_name.get(name).cloned()
    }

    /// A run has ended: nobody joins it any more.
    pub(crate) fn finished(&self, operation: &Arc<Operation>) {
        let mut inner = self.lock();
        if inner.joinable.get(&operation.action).is_some_and(|other| Arc::ptr_eq(other, operation)) {
            inner.joinable.remove(&operation.action);
        }
    }

    /// Forgets a finished run.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().by_name.remove(name);
    }

    /// Every run that has not ended.
    pub(crate) fn running(&self) -> Vec<Arc<Operation>> {
        self.lock().by_name.values().filter(|operation| !operation.is_done()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_is_kept_for_its_lease_and_no_longer() {
        let operations = Operations::default();
        let action = Digest::of(b"a");
        let first = operations.start("one".into(), action, LEASE_DAEMON).unwrap();
        let operation = Arc::clone(&first.operation);
        drop(first);
        tokio::time::sleep(LEASE_DAEMON / 2).await;
        let second = operations.watch("one").unwrap();
        tokio::time::sleep(LEASE_DAEMON).await;
        assert!(!operation.cancel.is_cancelled());
        drop(second);
        tokio::time::sleep(LEASE_DAEMON + Duration::from_millis(1)).await;
        assert!(operation.cancel.is_cancelled());
        assert!(operations.join(&action).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_waiters_leaving_cancels_nothing() {
        let operations = Operations::default();
        let action = Digest::of(b"a");
        let first = operations.start("one".into(), action, LEASE_DAEMON).unwrap();
        assert!(operations.join(&action).is_none(), "not offered yet");
        operations.offer(&first.operation);
        let joined = operations.join(&action).unwrap();
        drop(first);
        tokio::time::sleep(LEASE_DAEMON * 2).await;
        assert!(!joined.operation.cancel.is_cancelled());
        assert!(operations.start("one".into(), action, LEASE_DAEMON).is_none());
    }
}
