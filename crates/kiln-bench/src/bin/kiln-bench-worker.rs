//! Workers of a farm that answer from a recording: registered, called and granted to like any. Knows no client.

use anyhow::Context;
use clap::Parser;
use kiln_bench::{Recording, Replay};
use kiln_rpc::{Address, Auth, ClientTls, Credentials, Dial, Listener, Role, ServeOptions, ServerTls, TlsFiles, Token};
use kiln_sandbox::Limits;
use kiln_store::{DiskStore, StoreConfig};
use kiln_worker::{Settings, Worker};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Room for a toolchain, the headers and the objects of a project, many times over.
const STORE_MAX: u64 = 8 << 30;

/// Workers that answer from a recording.
#[derive(Debug, Parser)]
struct Args {
    /// The recording's directory.
    #[arg(long)]
    recording: PathBuf,
    /// Where the workers keep what they are sent; one store for all of them.
    #[arg(long)]
    dir: PathBuf,
    /// An address for each worker.
    #[arg(long, required = true)]
    listen: Vec<Address>,
    /// The scheduler.
    #[arg(long)]
    scheduler: Address,
    /// Jobs at once of each worker.
    #[arg(long, default_value_t = 2)]
    slots: usize,
    /// Answer after the time that the compile took, not at once.
    #[arg(long)]
    sleep: bool,
    /// Answer with empty objects.
    #[arg(long)]
    empty: bool,
    /// The farm's CA.
    #[arg(long, requires = "cert")]
    ca: Option<PathBuf>,
    /// The workers' certificate.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// A file with the workers' token.
    #[arg(long)]
    token: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(args.slots * args.listen.len() + 64)
        .build()?;
    runtime.block_on(serve(args))
}

/// Serves until SIGTERM.
async fn serve(args: Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let store = DiskStore::open(StoreConfig::new(args.dir.join("store"), STORE_MAX))?;
    let recording = Recording::open(&args.recording)?;
    let engine = Arc::new(Replay::new(store, recording, args.slots as u32, args.sleep, args.empty));
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    for (n, address) in args.listen.iter().enumerate() {
        let (worker, listener, auth) = worker(&args, n, address, Arc::clone(&engine)).await?;
        let server =
            kiln_rpc::serve(vec![listener], worker.routes(), ServeOptions::new("worker", auth), stop.clone().cancelled_owned());
        let stop = stop.clone();
        running.spawn(async move {
            let server = tokio::spawn(server);
            worker.run(stop.cancelled()).await;
            server.abort();
        });
    }
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    stop.cancel();
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn worker(args: &Args, n: usize, address: &Address, engine: Arc<Replay>) -> anyhow::Result<(Worker, Listener, Arc<Auth>)> {
    let files = TlsFiles { ca: args.ca.clone(), cert: args.cert.clone(), key: args.key.clone() };
    let (server_tls, tls) = match files.ca {
        Some(_) => (Some(Arc::new(ServerTls::from_files(&files)?)), ClientTls::from_files(&files)?),
        None => (None, ClientTls::plain()),
    };
    let token = args.token.as_deref().map(|path| Token::from_file(path, Role::Worker)).transpose().context("--token")?;
    let insecure = args.ca.is_none();
    let listener = Listener::bind(address, server_tls, insecure).await?;
    let settings = Settings {
        name: format!("replay{n}"),
        dir: args.dir.clone(),
        advertise: listener.address().clone(),
        tls_name: String::new(),
        slots: args.slots,
        dedicated: true,
        yields: false,
        schedulers: vec![args.scheduler.clone()],
        dial: Dial { tls, token, tls_name: None, insecure },
        helper_argv: Vec::new(),
        store_bytes_max: STORE_MAX,
        limits: Limits::default(),
        rung: None,
        cgroups: Vec::new(),
        machine: String::new(),
        substitutes: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let worker = Worker::with_engine(settings, engine);
    let auth = Auth::new(Arc::new(Credentials::none())).with_extra(worker.admission());
    Ok((worker, listener, Arc::new(auth)))
}
