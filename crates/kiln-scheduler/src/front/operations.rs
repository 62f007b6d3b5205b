//! The front door's executions by name: who joins, who watches, when an abandoned one ends. Knows no worker.

use crate::limits::{ABANDONED_AFTER, KEEP_FINISHED, OPERATIONS_MAX};
use kiln_cas::Digest;
use kiln_proto::longrunning;
use kiln_proto::reapi::ExecuteResponse;
use kiln_proto::reapi::execution_stage::Value as Stage;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where an execution stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) stage: Stage,
    pub(crate) response: Option<Arc<ExecuteResponse>>,
}

/// One execution.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) action: Digest,
    /// Who started it; only this user and admins can cancel it.
    pub(crate) user: String,
    standing: watch::Sender<Standing>,
    watchers: watch::Sender<usize>,
    cancelled: watch::Sender<bool>,
}

impl Operation {
    /// Moves to a stage; an end is final.
    pub(crate) fn set(&self, stage: Stage, response: Option<ExecuteResponse>) {
        self.standing.send_if_modified(|standing| {
            if standing.response.is_some() || (standing.stage == stage && response.is_none()) {
                return false;
            }
            *standing = Standing { stage, response: response.map(Arc::new) };
            true
        });
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.standing.borrow().response.is_some()
    }

    /// Ends it as soon as may be.
    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Completes when nobody wants the end any more: it was cancelled, or nobody watched it for [`ABANDONED_AFTER`].
    pub(crate) async fn given_up(&self) {
        let mut cancelled = self.cancelled.subscribe();
        let mut watchers = self.watchers.subscribe();
        loop {
            let unwatched = async {
                let _ = watchers.wait_for(|count| *count == 0).await;
                tokio::select! {
                    () = tokio::time::sleep(ABANDONED_AFTER) => true,
                    _ = watchers.wait_for(|count| *count > 0) => false,
                }
            };
            tokio::select! {
                _ = cancelled.wait_for(|cancelled| *cancelled) => return,
                abandoned = unwatched => if abandoned { return },
            }
        }
    }

    /// As REAPI has it.
    pub(crate) fn message(&self, standing: &Standing) -> longrunning::Operation {
        kiln_proto::status::operation(&self.name, standing.stage, &self.action, standing.response.as_deref())
    }
}

/// A caller that wants the end of an execution.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) operation: Arc<Operation>,
    pub(crate) changes: watch::Receiver<Standing>,
}

impl Watcher {
    fn new(operation: &Arc<Operation>) -> Watcher {
        operation.watchers.send_modify(|count| *count += 1);
        Watcher { operation: Arc::clone(operation), changes: operation.standing.subscribe() }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.operation.watchers.send_modify(|count| *count -= 1);
    }
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Arc<Operation>>,
    joinable: BTreeMap<Digest, Arc<Operation>>,
}

/// All executions.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<Table>);

impl Operations {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the execution of an equal action that goes on, if there is one.
    pub(crate) fn join(&self, action: &Digest) -> Option<Watcher> {
        let table = self.lock();
        let operation = table.joinable.get(action)?;
        (!operation.is_done() && !*operation.cancelled.borrow()).then(|| Watcher::new(operation))
    }

    /// Enters a new execution; `None` when there are too many.
    pub(crate) fn start(&self, name: String, action: Digest, user: String) -> Option<Watcher> {
        let mut table = self.lock();
        if table.by_name.len() >= OPERATIONS_MAX {
            return None;
        }
        let operation = Arc::new(Operation {
            name: name.clone(),
            action,
            user,
            standing: watch::Sender::new(Standing { stage: Stage::CacheCheck, response: None }),
            watchers: watch::Sender::new(0),
            cancelled: watch::Sender::new(false),
        });
        table.by_name.insert(name, Arc::clone(&operation));
        Some(Watcher::new(&operation))
    }

    /// From now on equal actions join this one, unless they join another already.
    pub(crate) fn offer(&self, operation: &Arc<Operation>) {
        let mut table = self.lock();
        let taken = table.joinable.get(&operation.action).is_some_and(|other| !other.is_done());
        if !taken {
            table.joinable.insert(operation.action, Arc::clone(operation));
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Operation>> {
        self.lock().by_name.get(name).cloned()
    }

    pub(crate) fn watch(&self, name: &str) -> Option<Watcher> {
        self.lock().by_name.get(name).map(Watcher::new)
    }

    /// An execution has ended: nobody joins it any more, and after a while nobody can ask for it.
    pub(crate) fn finished(shared: Arc<super::Shared>, operation: Arc<Operation>) {
        {
            let mut table = shared.operations.lock();
            if table.joinable.get(&operation.action).is_some_and(|other| Arc::ptr_eq(other, &operation)) {
                table.joinable.remove(&operation.action);
            }
        }
        tokio::spawn(async move {
            tokio::time::sleep(KEEP_FINISHED).await;
            shared.operations.lock().by_name.remove(&operation.name);
        });
    }
}
