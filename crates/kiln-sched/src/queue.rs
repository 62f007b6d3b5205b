//! Requests that wait, and whose turn it is. Knows how many slots each user holds, nothing of workers.

use crate::event::{Acquire, Granted, Item};
use crate::id::{ClientId, Micros, RequestId, UserId, WorkerId};
use crate::limits::{MISFITS_MAX, MISFITS_PER_USER_MAX};
use crate::pool::PoolKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Requests that turned out not to fit any free worker, within one round of serving.
#[derive(Debug, Default)]
pub(crate) struct Misfits {
    requests: BTreeSet<RequestId>,
    by_user: BTreeMap<UserId, u32>,
}

impl Misfits {
    pub(crate) fn add(&mut self, request: RequestId, user: UserId) {
        self.requests.insert(request);
        *self.by_user.entry(user).or_default() += 1;
    }

    /// Whether to look on at all.
    pub(crate) fn too_many(&self) -> bool {
        self.requests.len() >= MISFITS_MAX
    }

    fn passes_over(&self, user: UserId) -> bool {
        self.by_user.get(&user).is_some_and(|count| *count >= MISFITS_PER_USER_MAX)
    }
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) client: ClientId,
    pub(crate) user: UserId,
    /// Those that can serve it, the preferred first. It stands in the line of each.
    pub(crate) pools: Vec<PoolKey>,
    /// What it still wants, with the place of each in the request.
    pub(crate) items: VecDeque<(usize, Item)>,
    pub(crate) granted: Vec<Granted>,
    pub(crate) backlog: u32,
    pub(crate) cores: u32,
    pub(crate) local: Option<WorkerId>,
    pub(crate) avoid: Vec<WorkerId>,
    pub(crate) since: Micros,
    batch: bool,
    deadline: Micros,
    seq: u64,
}

/// A user's place in a pool's line; the least is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    batch: bool,
    held: u32,
    served: u64,
    user: UserId,
}

#[derive(Debug, Default)]
struct Line {
    order: BTreeSet<Turn>,
    requests: BTreeMap<(bool, UserId), BTreeSet<(u64, RequestId)>>,
}

#[derive(Debug, Default)]
struct Share {
    held: u32,
    served: u64,
    /// Lines it stands in.
    lines: BTreeSet<(PoolKey, bool)>,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    requests: BTreeMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Micros, RequestId)>,
    lines: BTreeMap<PoolKey, Line>,
    users: BTreeMap<UserId, Share>,
    seq: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn get(&self, request: RequestId) -> Option<&Waiting> {
        self.requests.get(&request)
    }

    /// Puts a request at the end of its user's line. Its number must be new; `times` are now and the end of its wait.
    pub(crate) fn push(&mut self, acquire: &Acquire, pools: Vec<PoolKey>, items: VecDeque<(usize, Item)>, times: (Micros, Micros)) {
        let (since, deadline) = times;
        self.seq += 1;
        let waiting = Waiting {
            client: acquire.client,
            user: acquire.user,
            pools,
            items,
            granted: Vec::new(),
            backlog: acquire.backlog,
            cores: acquire.cores,
            local: acquire.local,
            avoid: acquire.avoid.clone(),
            since,
            batch: acquire.batch,
            deadline,
            seq: self.seq,
        };
        let (user, batch) = (waiting.user, waiting.batch);
        self.deadlines.insert((deadline, acquire.request));
        let share = self.users.entry(user).or_default();
        for pool in &waiting.pools {
            let line = self.lines.entry(*pool).or_default();
            line.requests.entry((batch, user)).or_default().insert((waiting.seq, acquire.request));
            share.lines.insert((*pool, batch));
            line.order.insert(Turn { batch, held: share.held, served: share.served, user });
        }
        self.requests.insert(acquire.request, waiting);
    }

    /// Takes a request out.
    pub(crate) fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.requests.remove(&request)?;
        self.deadlines.remove(&(waiting.deadline, request));
        waiting.pools.iter().for_each(|pool| self.leave(*pool, request, &waiting));
        self.forget(waiting.user);
        Some(waiting)
    }

    /// Takes a request out of one line.
    fn leave(&mut self, pool: PoolKey, request: RequestId, waiting: &Waiting) {
        let Some(line) = self.lines.get_mut(&pool) else { return };
        let key = (waiting.batch, waiting.user);
        let Some(requests) = line.requests.get_mut(&key) else { return };
        requests.remove(&(waiting.seq, request));
        if !requests.is_empty() {
            return;
        }
        line.requests.remove(&key);
        if let Some(share) = self.users.get_mut(&waiting.user) {
            let turn = Turn { batch: waiting.batch, held: share.held, served: share.served, user: waiting.user };
            line.order.remove(&turn);
            share.lines.remove(&(pool, waiting.batch));
        }
        if line.order.is_empty() {
            self.lines.remove(&pool);
        }
    }

    /// The request whose turn it is in any of `pools`, but for those in `not`.
    pub(crate) fn next(&self, pools: impl Iterator<Item = PoolKey>, not: &Misfits) -> Option<RequestId> {
        let first = |pool: PoolKey| {
            let line = self.lines.get(&pool)?;
            line.order.iter().filter(|turn| !not.passes_over(turn.user)).find_map(|turn| {
                let requests = line.requests.get(&(turn.batch, turn.user))?;
                let request = requests.iter().map(|(_, request)| *request).find(|request| !not.requests.contains(request))?;
                Some((*turn, request))
            })
        };
        pools.filter_map(first).min().map(|(_, request)| request)
    }

    /// Notes a grant to a waiting request; `None` when it is not waiting.
    pub(crate) fn granted(&mut self, request: RequestId, granted: Granted) -> Option<&Waiting> {
        let waiting = self.requests.get_mut(&request)?;
        waiting.items.pop_front();
        waiting.granted.push(granted);
        Some(waiting)
    }

    /// A user holds one slot more, and was served.
    pub(crate) fn take(&mut self, user: UserId) {
        self.seq += 1;
        let served = self.seq;
        self.reorder(user, |share| {
            share.held = share.held.saturating_add(1);
            share.served = served;
        });
    }

    /// A user holds one slot less.
    pub(crate) fn give_back(&mut self, user: UserId) {
        self.reorder(user, |share| share.held = share.held.saturating_sub(1));
        self.forget(user);
    }

    fn reorder(&mut self, user: UserId, change: impl FnOnce(&mut Share)) {
        let share = self.users.entry(user).or_default();
        let (held, served) = (share.held, share.served);
        change(share);
        for (pool, batch) in &share.lines {
            let Some(line) = self.lines.get_mut(pool) else { continue };
            line.order.remove(&Turn { batch: *batch, held, served, user });
            line.order.insert(Turn { batch: *batch, held: share.held, served: share.served, user });
        }
    }

    fn forget(&mut self, user: UserId) {
        if self.users.get(&user).is_some_and(|share| share.held == 0 && share.lines.is_empty()) {
            self.users.remove(&user);
        }
    }

    /// A request whose wait is over.
    pub(crate) fn overdue(&self, now: Micros) -> Option<RequestId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, request)| *request)
    }

    /// Every request of a pool.
    pub(crate) fn waiting_in(&self, pool: &PoolKey) -> Vec<RequestId> {
        let requests = self.lines.get(pool).into_iter().flat_map(|line| line.requests.values().flatten());
        requests.map(|(_, request)| *request).collect()
    }

    /// The pools for which something waits.
    pub(crate) fn pools(&self) -> Vec<PoolKey> {
        self.lines.keys().copied().collect()
    }
}
