//! Messages in short form, a scheduler behind a real socket, and callers with each role.

use kiln_proto::v1;
use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_rpc::{Address, Auth, Channel, Credentials, Dial, Drained, Listener, Role, ServeOptions, Token};
use kiln_scheduler::{Farm, SchedulerService};
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::service::Routes;

pub(crate) const GIB: u64 = 1 << 30;

/// Says who somebody is.
pub(crate) fn token_of(name: &str) -> Token {
    Token::new(format!("token-of-{name}-0123456789")).unwrap()
}

/// Names with their roles, as the servers of these tests know them.
pub(crate) const CALLERS: [(&str, Role); 4] =
    [("ann", Role::User), ("bob", Role::User), ("w", Role::Worker), ("root", Role::Admin)];

/// A server on a socket.
pub(crate) struct Served {
    pub(crate) address: Address,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Drained>,
}

impl Served {
    pub(crate) async fn start(name: &'static str, at: &Address, routes: Routes) -> Served {
        Served::with_auth(name, at, routes, Served::callers()).await
    }

    fn callers() -> Auth {
        let credentials = CALLERS.map(|(name, role)| (role, name.to_owned(), token_of(name)));
        Auth::new(Arc::new(Credentials::from_tokens(credentials)))
    }

    async fn with_denials(name: &'static str, at: &Address, routes: Routes, denials: Arc<kiln_rpc::Denials>) -> Served {
        Served::with_options(at, routes, ServeOptions { denials, ..ServeOptions::new(name, Arc::new(Served::callers())) }).await
    }

    pub(crate) async fn with_auth(name: &'static str, at: &Address, routes: Routes, auth: Auth) -> Served {
        Served::with_options(at, routes, ServeOptions::new(name, Arc::new(auth))).await
    }

    async fn with_options(at: &Address, routes: Routes, options: ServeOptions) -> Served {
        let listener = Listener::bind(at, None, false).await.unwrap();
        let address = listener.address().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            kiln_rpc::serve(vec![listener], routes, options, async {
                let _ = stopped.await;
            })
            .await
        });
        Served { address, stop: Some(stop), task }
    }

    /// A channel with the credential of `name`.
    pub(crate) fn channel(&self, name: &str) -> Channel {
        let dial = Dial { token: Some(token_of(name)), ..Dial::default() };
        kiln_rpc::connect(&self.address, &dial).unwrap()
    }

    pub(crate) fn scheduler(&self, name: &str) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.channel(name))
    }

    /// Stops serving and waits until the socket is free.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

pub(crate) fn loopback() -> Address {
    Address::tcp("127.0.0.1", 0)
}

/// A scheduler at `at`.
pub(crate) async fn scheduler_at(at: &Address) -> (Served, Farm) {
    let farm = Farm::start("1.2.3").unwrap();
    let denials = Arc::new(kiln_rpc::Denials::default());
    let service = SchedulerService::new(farm.clone()).with_denials(denials.clone());
    (Served::with_denials("scheduler", at, Routes::new(service.into_server()), denials).await, farm)
}

pub(crate) fn worker(name: &str, slots: u32) -> v1::RegisterRequest {
    v1::RegisterRequest {
        name: name.to_owned(),
        address: format!("10.0.0.1:{}", 8000 + name.len()),
        kind: v1::NodeKind::Worker as i32,
        version: "1.2.3".to_owned(),
        boot_id: format!("boot of {name}"),
        machine: "x86_64".to_owned(),
        slots,
        cores: slots,
        dedicated: true,
        kiln_root: "chroot/1".to_owned(),
        sandbox: "overlay".to_owned(),
        toolchains: vec!["gcc-12".to_owned()],
        tls_name: String::new(),
        protocol: kiln_proto::PROTOCOL,
        substitutes: Vec::new(),
    }
}

pub(crate) fn beat(worker_id: &str, sequence: u64, leases: &[String]) -> v1::HeartbeatRequest {
    let load = v1::Load {
        memory_available_bytes: 60 * GIB,
        memory_total_bytes: 64 * GIB,
        running: leases.len() as u32,
        disk_free_bytes: GIB,
        ..Default::default()
    };
    let job = |lease: &String| v1::RunningJob { lease: lease.clone(), ..Default::default() };
    v1::HeartbeatRequest {
        worker_id: worker_id.to_owned(),
        sequence,
        load: Some(load),
        jobs: leases.iter().map(job).collect(),
        ..Default::default()
    }
}

/// A request for `count` grants that waits for `wait_ms`.
pub(crate) fn ask(count: usize, wait_ms: u32) -> v1::AcquireRequest {
    v1::AcquireRequest {
        client_id: "daemon".to_owned(),
        toolchain: "gcc-12".to_owned(),
        machine: "x86_64".to_owned(),
        kiln_root: "chroot/1".to_owned(),
        requests: vec![v1::GrantRequest::default(); count],
        wait_ms,
        client_cores: 8,
        instance: "main".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn returned(lease: &str, outcome: v1::Outcome) -> v1::Released {
    v1::Released { lease: lease.to_owned(), outcome: outcome as i32, ..Default::default() }
}

/// Registers a worker and has it report once; its registration.
pub(crate) async fn join(farm: &Farm, about: v1::RegisterRequest) -> v1::RegisterResponse {
    let registered = farm.register(about).await.unwrap();
    farm.heartbeat(beat(&registered.worker_id, 1, &[])).await.unwrap();
    registered
}

/// The status of one worker.
pub(crate) async fn status_of(farm: &Farm, name: &str) -> v1::WorkerStatus {
    let status = farm.status(false).await.unwrap();
    status.workers.into_iter().find(|worker| worker.name == name).expect("a known worker")
}
