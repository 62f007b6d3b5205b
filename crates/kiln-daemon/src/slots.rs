//! Slots on this machine: how many heavy and light pieces of work run at once, and who holds one. Knows no compiler.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// Most requests waiting for a slot: `-j4096` on one machine.
const WAITERS_MAX: usize = 4096;

/// A bounded number of permits that can be changed while some are out. First come, first served.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
}

#[derive(Debug)]
struct GateState {
    capacity: usize,
    used: usize,
    waiters: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to run one thing; returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
}

impl Gate {
    pub(crate) fn new(capacity: usize) -> Arc<Gate> {
        Arc::new(Gate { state: Mutex::new(GateState { capacity, used: 0, waiters: VecDeque::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many may be out; those that are out stay.
    pub(crate) fn resize(self: &Arc<Gate>, capacity: usize) {
        self.lock().capacity = capacity.max(1);
        self.hand_out();
    }

    pub(crate) fn capacity(&self) -> usize {
        self.lock().capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.lock().used
    }

    /// A permit if one is free now and nobody waits before.
    #[cfg(test)]
    fn try_acquire(self: &Arc<Gate>) -> Option<Permit> {
        let mut state = self.lock();
        (state.used < state.capacity && state.waiters.is_empty()).then(|| {
            state.used += 1;
            Permit { gate: Arc::clone(self) }
        })
    }

    /// Waits for a permit; `None` when too many wait already. Dropping the future gives the place up.
    pub(crate) async fn acquire(self: &Arc<Gate>) -> Option<Permit> {
        let receiver = {
            let mut state = self.lock();
            if state.used < state.capacity && state.waiters.is_empty() {
                state.used += 1;
                return Some(Permit { gate: Arc::clone(self) });
            }
            if state.waiters.len() >= WAITERS_MAX {
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            state.waiters.push_back(sender);
            receiver
        };
        receiver.await.ok()
    }

    fn hand_out(self: &Arc<Gate>) {
        loop {
            let waiter = {
                let mut state = self.lock();
                if state.used >= state.capacity {
                    return;
                }
                let Some(waiter) = state.waiters.pop_front() else { return };
                if waiter.is_closed() {
                    continue;
                }
                state.used += 1;
                waiter
            };
            // A waiter that left just now drops the permit, which comes back here.
            let _ = waiter.send(Permit { gate: Arc::clone(self) });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.lock().used -= 1;
        self.gate.hand_out();
    }
}

/// Permits held by processes that are not ours, until those end.
#[derive(Default)]
pub(crate) struct Holders {
    tokens: Mutex<HashMap<Vec<u8>, Box<dyn Send>>>,
}

impl Holders {
    /// Lets process `pid` hold `permit` until it ends, and names the slot. `None`: the process is gone already.
    pub(crate) fn hold(self: &Arc<Holders>, pid: i32, permit: Permit) -> Option<Vec<u8>> {
        self.hold_then(pid, permit, || {})
    }

    /// The same, and does `then` when the process has ended; not if the daemon ends before.
    pub(crate) fn hold_then(
        self: &Arc<Holders>,
        pid: i32,
        held: impl Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Option<Vec<u8>> {
        let watch = pidfd(pid)?;
        let token = token()?;
        self.lock().insert(token.clone(), Box::new(held));
        let holders = Arc::clone(self);
        let name = token.clone();
        tokio::spawn(async move {
            // A pidfd becomes readable when its process ends.
            let _ = watch.ready(Interest::READABLE).await;
            holders.release(&name);
            then();
        });
        Some(token)
    }

    /// Whether `token` names a slot that is held now.
    pub(crate) fn is_held(&self, token: &[u8]) -> bool {
        self.lock().contains_key(token)
    }

    /// Takes the slot back before its process ends.
    pub(crate) fn release(&self, token: &[u8]) {
        // A permit that goes hands its place on: not under this lock.
        let held = self.lock().remove(token);
        drop(held);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Box<dyn Send>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pidfd(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok()?;
    #[expect(deprecated, reason = "its successor is an unsafe function; an owned descriptor is never closed under it")]
    AsyncFd::with_interest(fd, Interest::READABLE).ok()
}

/// 128 random bits as text.
fn token() -> Option<Vec<u8>> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).ok()?;
    Some(bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn permits_are_handed_on_in_order_and_never_lost() {
        let gate = Gate::new(1);
        let first = gate.acquire().await.unwrap();
        assert!(gate.try_acquire().is_none());
        let left = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await }
        });
        tokio::task::yield_now().await;
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(gate.used(), 1);
        gate.resize(2);
        assert!(gate.try_acquire().is_some());
        drop(second);
        assert_eq!(gate.used(), 0);
    }

    #[tokio::test]
    async fn a_slot_comes_back_when_its_process_ends() {
        let gate = Gate::new(1);
        let holders = Arc::new(Holders::default());
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let token = holders.hold(child.id() as i32, gate.acquire().await.unwrap()).unwrap();
        assert!(holders.is_held(&token));
        assert!(gate.try_acquire().is_none());
        drop(child.stdin.take());
        let permit = gate.acquire().await;
        assert!(permit.is_some());
        assert!(!holders.is_held(&token));
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_slot_can_be_given_back_before_its_process_ends() {
        let gate = Gate::new(1);
        let holders = Arc::new(Holders::default());
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let token = holders.hold(child.id() as i32, gate.acquire().await.unwrap()).unwrap();
        holders.release(b"another");
        assert_eq!((gate.used(), holders.is_held(&token)), (1, true));
        holders.release(&token);
        assert_eq!((gate.used(), holders.is_held(&token)), (0, false));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
