//! What a worker runs actions with, as its services see it. Knows no network and no way of running.

use kiln_cas::{Action, Command};
use kiln_sandbox::RungReport;
use kiln_store::DiskStore;
use std::sync::Arc;

use crate::executor::{CancelSwitch, ExecuteError, Executed, Executor};
use crate::host_root::HostRoot;

/// An action that needs nothing more to run; it waits for a slot.
pub type Job = Box<dyn FnOnce(&CancelSwitch) -> Result<Executed, ExecuteError> + Send>;

/// Runs actions. The sandbox's [`Executor`] is the one that workers have; the bench has one that answers from records.
pub trait Engine: Send + Sync + 'static {
    /// Makes an action ready. Blocks.
    ///
    /// # Errors
    /// [`ExecuteError::Missing`] names blobs to fetch before trying again.
    fn ready(self: Arc<Self>, action: &Action, command: &Command) -> Result<Job, ExecuteError>;

    /// Holds inputs and outputs.
    fn store(&self) -> &DiskStore;

    /// What kind of root it gives.
    fn report(&self) -> &RungReport;

    /// This machine's own files, where it shows no more of them to plain actions; else their results are nobody else's.
    fn host_root(&self) -> Option<&HostRoot> {
        None
    }

    /// Cores of an imagined machine that this one stands for; its memory then bounds nothing. `None`: this machine.
    fn imagined_cores(&self) -> Option<u32> {
        None
    }
}

impl Engine for Executor {
    fn ready(self: Arc<Self>, action: &Action, command: &Command) -> Result<Job, ExecuteError> {
        let prepared = self.prepare(action, command)?;
        Ok(Box::new(move |cancel| self.run(prepared, cancel)))
    }

    fn store(&self) -> &DiskStore {
        Executor::store(self)
    }

    fn report(&self) -> &RungReport {
        Executor::report(self)
    }

    fn host_root(&self) -> Option<&HostRoot> {
        self.gives_roots().then(|| Executor::host_root(self))
    }
}
