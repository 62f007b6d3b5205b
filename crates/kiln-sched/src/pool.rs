//! Which workers can serve what, in order of preference. Knows keys only, nothing of why a worker stands where it does.

use crate::event::{Acquire, Need, Spec};
use crate::id::{MachineId, WorkerId};
use crate::limits::{SUBSTITUTES_MAX, TOOLCHAINS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// What a pool's workers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    pub(crate) need: Need,
    pub(crate) machine: Option<MachineId>,
}

impl PoolKey {
    /// The pools that can serve a request: first its own, then those of its substitutes.
    pub(crate) fn all_of(acquire: &Acquire) -> Vec<PoolKey> {
        let own = PoolKey { need: acquire.need, machine: acquire.machine };
        let substitutes = acquire.substitutes.iter().take(SUBSTITUTES_MAX);
        let mut pools = vec![own];
        for pool in substitutes.map(|toolchain| PoolKey { need: Need::Toolchain(*toolchain), machine: None }) {
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
        pools
    }
}

/// A worker's place in the order of preference: the least is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadyKey {
    pub(crate) tier: u8,
    pub(crate) load: u64,
    pub(crate) stamp: u64,
    pub(crate) worker: WorkerId,
}

/// As what a worker is entered in its pools.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) pools: Vec<PoolKey>,
    present: bool,
    able: bool,
    key: Option<ReadyKey>,
}

impl Standing {
    /// The pools of a worker that is entered nowhere yet.
    pub(crate) fn of(spec: &Spec) -> Standing {
        let mut pools = Vec::new();
        if spec.runs_jobs {
            let root = spec.root.map(Need::Root);
            let toolchains: BTreeSet<_> = spec.toolchains.iter().take(TOOLCHAINS_MAX).copied().collect();
            let needs = [Need::Any].into_iter().chain(root).chain(toolchains.into_iter().map(Need::Toolchain));
            for need in needs {
                pools.push(PoolKey { need, machine: None });
                pools.push(PoolKey { need, machine: Some(spec.machine) });
            }
        }
        Standing { pools, ..Standing::default() }
    }

    /// Whether it counts as one to wait for.
    pub(crate) fn is_able(&self) -> bool {
        self.able
    }
}

#[derive(Debug, Default)]
struct Pool {
    ready: BTreeSet<ReadyKey>,
    present: usize,
    able: usize,
}

/// All pools.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<PoolKey, Pool>,
    present: usize,
}

impl Pools {
    /// Enters a worker as it stands now, in place of how it stood.
    pub(crate) fn enter(&mut self, standing: &mut Standing, present: bool, able: bool, key: Option<ReadyKey>) {
        if (standing.present, standing.able, standing.key) == (present, able, key) {
            return;
        }
        if !standing.pools.is_empty() {
            self.present = self.present + usize::from(present) - usize::from(standing.present);
        }
        for name in &standing.pools {
            let pool = self.pools.entry(*name).or_default();
            if standing.key != key {
                if let Some(old) = &standing.key {
                    pool.ready.remove(old);
                }
                pool.ready.extend(key);
            }
            pool.present = pool.present + usize::from(present) - usize::from(standing.present);
            pool.able = pool.able + usize::from(able) - usize::from(standing.able);
            if pool.present == 0 && pool.able == 0 && pool.ready.is_empty() {
                self.pools.remove(name);
            }
        }
        (standing.present, standing.able, standing.key) = (present, able, key);
    }

    /// Workers of a pool that can take work now, best first.
    pub(crate) fn ready(&self, pool: &PoolKey) -> impl Iterator<Item = WorkerId> + '_ {
        self.pools.get(pool).into_iter().flat_map(|pool| pool.ready.iter().map(|key| key.worker))
    }

    /// Whether any worker of a pool can take work now.
    pub(crate) fn has_ready(&self, pool: &PoolKey) -> bool {
        self.pools.get(pool).is_some_and(|pool| !pool.ready.is_empty())
    }

    /// Workers of a pool that are worth waiting for.
    pub(crate) fn able(&self, pool: &PoolKey) -> usize {
        self.pools.get(pool).map_or(0, |pool| pool.able)
    }

    /// Workers of a pool that are there.
    pub(crate) fn present(&self, pool: &PoolKey) -> usize {
        self.pools.get(pool).map_or(0, |pool| pool.present)
    }

    /// Workers that are there and run jobs.
    pub(crate) fn present_in_all(&self) -> usize {
        self.present
    }
}
