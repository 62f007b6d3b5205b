//! The schedulers of a farm: which answer, which is used, and what they tell of nodes. Gives no grant.

use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_proto::v1::{Node, NodeKind, WatchRequest};
use kiln_proto::{PROTOCOL, v1};
use kiln_rpc::{Address, Channel, Dial};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::{Code, Status};

/// Between two tries to reach a scheduler: how soon one that came back is noticed.
const RETRY: Duration = Duration::from_secs(1);

/// A daemon that nobody needs for this long lets go of its schedulers: an idle one costs nothing, and the first unit after it
/// waits a round trip.
const IDLE: Duration = Duration::from_secs(60);

/// Longest wait for schedulers that have not been looked at yet: a connection takes as long to be given up.
const LOOK_MAX: Duration = kiln_rpc::limits::CONNECT_TIMEOUT;

/// Longest wait for a second look at a scheduler that failed just now: one that is there answers in milliseconds.
const SECOND_LOOK_MAX: Duration = Duration::from_millis(300);

/// What is known of one scheduler.
#[derive(Debug, Clone)]
enum View {
    /// Nobody needs it.
    Idle,
    /// It is being looked for; until then waiting for it makes sense.
    Unknown { until: Instant },
    /// It does not answer, and why.
    Away(String),
    /// It answers: workers worth waiting for, and all nodes.
    There { able: u32, nodes: Arc<Vec<Node>> },
}

impl View {
    fn unknown(limit: Duration) -> View {
        View::Unknown { until: Instant::now() + limit }
    }

    fn is_up(&self) -> bool {
        matches!(self, View::There { able: 1.., .. })
    }
}

/// What is known of all.
#[derive(Debug, Clone)]
struct Views {
    views: Vec<View>,
    /// The one in use: kept as long as it is up.
    current: usize,
}

impl Views {
    fn set(&mut self, index: usize, view: View) {
        self.views[index] = view;
        if !self.views[self.current].is_up()
            && let Some(up) = self.views.iter().position(View::is_up)
        {
            self.current = up;
        }
    }

    fn up(&self) -> Option<usize> {
        self.views.get(self.current).filter(|view| view.is_up()).map(|_| self.current)
    }

    /// Until when waiting may bring something new.
    fn unknown_until(&self) -> Option<Instant> {
        let until = self.views.iter().filter_map(|view| match view {
            View::Unknown { until } => Some(*until),
            _ => None,
        });
        until.max().filter(|_| self.up().is_none())
    }
}

/// The schedulers, in order of preference.
pub(crate) struct Schedulers {
    addresses: Vec<Address>,
    channels: Vec<Channel>,
    client_id: String,
    views: watch::Sender<Views>,
    up: watch::Sender<bool>,
    /// Cache servers that the scheduler in use tells of.
    caches: Mutex<Arc<Vec<Node>>>,
    /// When the farm was last needed.
    used: Mutex<Option<Instant>>,
    /// Somebody needs the farm again.
    needed: Notify,
    /// A scheduler failed a call: its follower looks again.
    look_again: Vec<Notify>,
}

impl Schedulers {
    /// # Errors
    /// When an address or the TLS settings cannot be used.
    pub(crate) fn new(addresses: &[Address], dial: &Dial, client_id: String) -> Result<Schedulers, String> {
        let connect = |address: &Address| kiln_rpc::connect(address, dial).map_err(|error| format!("{address}: {error}"));
        let channels = addresses.iter().map(connect).collect::<Result<Vec<_>, String>>()?;
        Ok(Schedulers {
            addresses: addresses.to_vec(),
            client_id,
            views: watch::Sender::new(Views { views: vec![View::Idle; channels.len()], current: 0 }),
            up: watch::Sender::new(false),
            caches: Mutex::default(),
            used: Mutex::new(None),
            needed: Notify::new(),
            look_again: channels.iter().map(|_| Notify::new()).collect(),
            channels,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.channels.len()
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn address(&self, index: usize) -> &Address {
        &self.addresses[index]
    }

    pub(crate) fn client(&self, index: usize) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.channels[index].clone())
    }

    /// The scheduler to ask; `None` when none answers that has workers.
    pub(crate) fn current(&self) -> Option<usize> {
        self.views.borrow().up()
    }

    /// The scheduler to put questions to: the one in use, else any that answers.
    pub(crate) fn in_use(&self) -> Option<usize> {
        let views = self.views.borrow();
        views.up().or_else(|| views.views.iter().position(|view| matches!(view, View::There { .. })))
    }

    /// Whether a scheduler answers and has workers; changes can be awaited.
    pub(crate) fn watch_up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// The cache servers that are there.
    pub(crate) fn caches(&self) -> Arc<Vec<Node>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Each scheduler's address and how it stands, for people.
    pub(crate) fn each(&self) -> Vec<(String, String)> {
        let views = self.views.borrow();
        let up = views.up();
        let of = |(index, view): (usize, &View)| match view {
            View::Idle => "not needed now".to_owned(),
            View::Unknown { .. } => "no answer yet".to_owned(),
            View::Away(why) => why.clone(),
            View::There { able: 0, .. } => "no worker takes work".to_owned(),
            View::There { .. } if up == Some(index) => "in use".to_owned(),
            View::There { .. } => "there".to_owned(),
        };
        let states = views.views.iter().enumerate().map(of);
        self.addresses.iter().map(ToString::to_string).zip(states).collect()
    }

    /// Why there is no farm, for people.
    pub(crate) fn why_not(&self) -> String {
        let each: Vec<String> = self.each().into_iter().map(|(address, state)| format!("{address}: {state}")).collect();
        if each.is_empty() { "no scheduler is configured".to_owned() } else { each.join("; ") }
    }

    /// Somebody needs the farm: looks at the schedulers if that was let go, and waits until something is known of them.
    pub(crate) async fn look(&self) {
        self.touch();
        self.until_known().await;
    }

    async fn until_known(&self) {
        let mut views = self.views.subscribe();
        loop {
            let Some(until) = views.borrow_and_update().unknown_until() else { return };
            if !matches!(tokio::time::timeout_at(until, views.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn touch(&self) {
        let before = self.used.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() < IDLE)
            && !self.views.borrow().views.iter().any(|view| matches!(view, View::Idle))
        {
            return;
        }
        self.views.send_modify(|views| {
            for view in views.views.iter_mut().filter(|view| matches!(view, View::Idle)) {
                *view = View::unknown(LOOK_MAX);
            }
        });
        self.needed.notify_waiters();
    }

    /// How long nobody will have needed the farm before it is let go; `None` when it is time.
    fn idle_in(&self) -> Option<Duration> {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        IDLE.checked_sub(used?.elapsed()).filter(|left| !left.is_zero())
    }

    /// A call to a scheduler failed. It may be gone, or only its connection: looks again, and waits for what comes of it, or
    /// for another scheduler.
    pub(crate) async fn failed(&self, index: usize, status: &Status) {
        if status.code() != Code::Unavailable {
            return;
        }
        self.set(index, View::unknown(SECOND_LOOK_MAX));
        self.look_again[index].notify_one();
        self.until_known().await;
    }

    fn set(&self, index: usize, view: View) {
        let mut up = false;
        self.views.send_modify(|views| {
            views.set(index, view);
            up = views.up().is_some();
            if let View::There { nodes, .. } = &views.views[views.current] {
                let caches = nodes.iter().filter(|node| node.kind == NodeKind::Cache as i32).cloned().collect();
                *self.caches.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(caches);
            }
        });
        self.up.send_if_modified(|was| std::mem::replace(was, up) != up);
    }

    /// Follows one scheduler for ever: its news while somebody needs the farm, tries to reach it while it is away.
    pub(crate) async fn follow(&self, index: usize) {
        loop {
            while self.idle_in().is_none() {
                self.set(index, View::Idle);
                let needed = self.needed.notified();
                tokio::pin!(needed);
                needed.as_mut().enable();
                if self.idle_in().is_none() {
                    needed.await;
                }
            }
            let began = Instant::now();
            let End::Status(status) = self.hear(index).await else { continue };
            // One that was there for a while may only have lost the connection.
            if began.elapsed() > RETRY && matches!(self.views.borrow().views[index], View::There { .. }) {
                tracing::warn!("scheduler {}: {}", self.addresses[index], status.message());
                self.set(index, View::unknown(SECOND_LOOK_MAX));
                continue;
            }
            self.set(index, View::Away(status.message().to_owned()));
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.look_again[index].notified() => {}
            }
        }
    }

    /// Takes news from one scheduler until they end.
    async fn hear(&self, index: usize) -> End {
        let request = WatchRequest { client_id: self.client_id.clone(), protocol: PROTOCOL };
        let mut client = self.client(index);
        let mut news = match client.watch(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return End::Status(status),
        };
        let mut nodes = Arc::new(Vec::new());
        loop {
            let heard = tokio::select! {
                heard = news.message() => heard,
                () = self.look_again[index].notified() => return End::LookAgain,
                () = tokio::time::sleep(self.idle_in().unwrap_or_default()) => match self.idle_in() {
                    None => return End::Idle,
                    Some(_) => continue,
                },
            };
            match heard {
                Ok(Some(v1::News { nodes: changed, able, .. })) => {
                    if let Some(changed) = changed {
                        nodes = Arc::new(changed.nodes);
                    }
                    self.set(index, View::There { able, nodes: Arc::clone(&nodes) });
                }
                Ok(None) => return End::Status(Status::unavailable("it has ended")),
                Err(status) => return End::Status(status),
            }
        }
    }
}

/// Why a scheduler is heard no more.
enum End {
    /// Nobody needs it.
    Idle,
    /// A call to it failed.
    LookAgain,
    Status(Status),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(able: u32) -> View {
        View::There { able, nodes: Arc::default() }
    }

    #[tokio::test]
    async fn the_one_in_use_is_kept_while_it_is_up() {
        let mut views = Views { views: vec![View::unknown(LOOK_MAX); 3], current: 0 };
        assert!(views.unknown_until().is_some());
        views.set(2, there(1));
        assert!(views.unknown_until().is_none(), "one is enough");
        assert_eq!(views.up(), Some(2));
        views.set(0, there(5));
        assert_eq!(views.up(), Some(2), "no reason to change");
        views.set(2, there(0));
        assert_eq!(views.up(), Some(0), "one without workers is no farm");
        views.set(0, View::Away("refused".into()));
        assert_eq!(views.up(), None);
        assert!(views.unknown_until().is_some(), "the second was not heard of yet");
        views.set(1, View::Away("refused".into()));
        assert!(views.unknown_until().is_none());
    }

    #[tokio::test]
    async fn an_absent_scheduler_is_known_to_be_away_and_says_why() {
        let address = "unix:/nonexistent/kiln.sock".parse().unwrap();
        let schedulers = Arc::new(Schedulers::new(&[address], &Dial::default(), "me".into()).unwrap());
        let follower = tokio::spawn({
            let schedulers = Arc::clone(&schedulers);
            async move { schedulers.follow(0).await }
        });
        schedulers.look().await;
        assert_eq!(schedulers.current(), None);
        assert!(schedulers.why_not().starts_with("unix:/nonexistent/kiln.sock: "), "{}", schedulers.why_not());
        follower.abort();
    }
}
