//! The scheduler's numbers and nodes at a moment, and how `/metrics` shows the numbers. Decides nothing.

use kiln_proto::v1::Node;
use kiln_rpc::metrics::{Metrics, Snapshot};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Numbers of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Counters since the start, by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Workers by state.
    pub workers: Vec<(&'static str, u64)>,
    /// Slots of workers that take work.
    pub slots: u64,
    /// Jobs at once that these can do now.
    pub capacity: u64,
    /// Slots lent.
    pub leased: u64,
    /// Jobs that run under no lease of this scheduler.
    pub foreign: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Clients known.
    pub clients: u64,
}

/// What those who use the farm are told of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    pub(crate) nodes: Arc<Vec<Node>>,
    /// Workers worth waiting for.
    pub(crate) able: u32,
    /// This scheduler ends.
    pub(crate) stopping: bool,
}

/// The latest numbers and news, for whoever needs them without asking.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    stats: Arc<Mutex<Stats>>,
    news: watch::Sender<News>,
}

impl Published {
    pub(crate) fn set(&self, stats: Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    pub(crate) fn get(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_nodes(&self, nodes: Vec<Node>) {
        self.news.send_modify(|news| news.nodes = Arc::new(nodes));
    }

    pub(crate) fn set_able(&self, able: u32) {
        self.news.send_if_modified(|news| std::mem::replace(&mut news.able, able) != able);
    }

    pub(crate) fn set_stopping(&self) {
        self.news.send_modify(|news| news.stopping = true);
    }

    pub(crate) fn nodes(&self) -> Arc<Vec<Node>> {
        self.news.borrow().nodes.clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }
}

impl Snapshot for Published {
    fn write(&self, out: &mut Metrics<'_>) {
        let stats = self.get();
        for (name, value) in &stats.counters {
            let help = format!("Scheduling events: {}", name.replace('_', " "));
            out.counter(&format!("kiln_scheduler_{name}"), &help, &[], *value);
        }
        for (state, count) in &stats.workers {
            out.gauge("kiln_scheduler_workers", "Workers by state", &[("state", state)], *count as i64);
        }
        let gauges = [
            ("slots", "Slots of workers that take work", stats.slots),
            ("capacity", "Jobs at once that workers can do now", stats.capacity),
            ("leased", "Slots lent", stats.leased),
            ("foreign", "Jobs that run under no lease of this scheduler", stats.foreign),
            ("waiting", "Requests that wait", stats.waiting),
            ("clients", "Clients known", stats.clients),
        ];
        for (name, help, value) in gauges {
            out.gauge(&format!("kiln_scheduler_{name}"), help, &[], i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
