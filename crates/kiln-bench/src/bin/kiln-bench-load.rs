//! Loads one service and tells how much it served: a cache server with reads of blobs, or a scheduler with requests for slots.
//! Prints one line of JSON. Knows no other client of theirs, and compiles nothing.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use kiln_cas::Digest;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi::BatchReadBlobsRequest;
use kiln_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use kiln_proto::v1::scheduler_client::SchedulerClient;
use kiln_proto::v1::{AcquireRequest, GrantRequest, Outcome, ReleaseRequest, Released};
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_rpc::{Address, Channel, ClientTls, Dial, Role, TlsFiles, Token};
use kiln_worker::{BlobClient, Outgoing};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// Different blobs that are read in turn: 256 of 16 KiB are 4 MiB, as many as redis-benchmark's keys with `-r 256`.
const BLOBS: usize = 256;

#[derive(Debug, Parser)]
struct Options {
    /// The service.
    #[arg(long)]
    address: Address,
    /// A file with a user's token.
    #[arg(long)]
    token: Option<PathBuf>,
    /// The farm's CA; without one the connection is plain.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Clients at once, each with a connection of its own.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// BatchReadBlobs.
    Cache(Cache),
    /// Acquire and Release.
    Scheduler(Scheduler),
}

#[derive(Debug, Clone, Args)]
struct Cache {
    /// Blobs in one request.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Bytes of a blob.
    #[arg(long, default_value_t = 16 * 1024)]
    bytes: usize,
}

#[derive(Debug, Clone, Args)]
struct Scheduler {
    /// Slots in one request.
    #[arg(long, default_value_t = 1)]
    batch: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Arc::new(Options::parse());
    let digests = match &options.what {
        What::Cache(cache) => fill(&options, cache).await?,
        What::Scheduler(_) => Vec::new(),
    };
    let digests: Arc<[Digest]> = digests.into();
    let left = Arc::new(AtomicU64::new(options.requests));
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for client in 0..options.clients {
        let channel = connect(&options)?;
        let (options, left, digests) = (Arc::clone(&options), Arc::clone(&left), Arc::clone(&digests));
        clients.spawn(async move {
            match &options.what {
                What::Cache(cache) => read(channel, cache, &digests, client, &left).await,
                What::Scheduler(scheduler) => lend(channel, scheduler, client, &left).await,
            }
        });
    }
    let mut served = 0;
    while let Some(client) = clients.join_next().await {
        served += client??;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{{\"requests\": {}, \"served\": {served}, \"seconds\": {seconds:.6}}}", options.requests);
    Ok(())
}

fn connect(options: &Options) -> anyhow::Result<Channel> {
    let tls = match &options.ca {
        Some(ca) => ClientTls::from_files(&TlsFiles { ca: Some(ca.clone()), ..TlsFiles::default() })?,
        None => ClientTls::plain(),
    };
    let token = options.token.as_deref().map(|path| Token::from_file(path, Role::User)).transpose().context("--token")?;
    let dial = Dial { insecure: options.ca.is_none(), tls, token, tls_name: None };
    Ok(kiln_rpc::connect(&options.address, &dial)?)
}

/// Puts the blobs there that are read afterwards: text-like bytes, each blob different.
async fn fill(options: &Options, cache: &Cache) -> anyhow::Result<Vec<Digest>> {
    let blobs = BlobClient::new(connect(options)?, "main");
    let mut digests = Vec::with_capacity(BLOBS);
    for n in 0..BLOBS {
        let line = format!("line of blob {n}\n");
        let bytes: Vec<u8> = line.bytes().cycle().take(cache.bytes).collect();
        let digest = Digest::of(&bytes);
        blobs.update(vec![Outgoing { digest, bytes }]).await?;
        digests.push(digest);
    }
    Ok(digests)
}

/// Whether there is a request left to make; it is then this client's.
fn next(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

/// Reads blobs in turn; how many came.
async fn read(channel: Channel, cache: &Cache, digests: &[Digest], from: usize, left: &AtomicU64) -> anyhow::Result<u64> {
    let mut client = ContentAddressableStorageClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let (mut at, mut served) = (from, 0);
    while next(left) {
        let wanted = (0..cache.batch).map(|n| digest_to_wire(&digests[(at + n) % digests.len()]));
        let request = BatchReadBlobsRequest { instance_name: "main".to_owned(), digests: wanted.collect(), ..Default::default() };
        at += cache.batch;
        for response in client.batch_read_blobs(request).await?.into_inner().responses {
            if response.data.len() != cache.bytes {
                bail!("a blob of {} bytes: {:?}", response.data.len(), response.status);
            }
            served += 1;
        }
    }
    Ok(served)
}

/// Takes slots and gives them back; how many were granted.
async fn lend(channel: Channel, scheduler: &Scheduler, client: usize, left: &AtomicU64) -> anyhow::Result<u64> {
    let mut service = SchedulerClient::new(channel);
    let mut served = 0;
    let client_id = format!("load{client}");
    while next(left) {
        let request = AcquireRequest {
            client_id: client_id.clone(),
            toolchain: "load".to_owned(),
            machine: std::env::consts::ARCH.to_owned(),
            kiln_root: "chroot/1".to_owned(),
            requests: vec![GrantRequest::default(); scheduler.batch],
            wait_ms: 1000,
            client_cores: 8,
            instance: "main".to_owned(),
            ..Default::default()
        };
        let answer = service.acquire(request).await?.into_inner();
        if answer.grants.is_empty() {
            bail!("no grant: {:?}", answer.refusal());
        }
        served += answer.grants.len() as u64;
        let released = answer.grants.into_iter().map(|grant| Released {
            lease: grant.lease,
            outcome: Outcome::Ok as i32,
            ..Default::default()
        });
        service.release(ReleaseRequest { client_id: client_id.clone(), released: released.collect() }).await?;
    }
    Ok(served)
}
