//! Every bound of the wire, with its arithmetic. Constants only.

use std::time::Duration;

/// A quiet connection is asked for a sign of life this often.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// And given up when none comes for this long: 1 s + 1.5 s from silence to notice, which leaves half a second of the three
/// in which a lost attempt is to run elsewhere.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A server has more patience: a client that uses all its processors may be late, and what it asked for goes on meanwhile.
pub const CLIENT_SILENCE_MAX: Duration = Duration::from_secs(3);
/// A peer that does not take a connection within this is taken for absent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// TLS handshake and the first bytes of HTTP: several round trips of the worst link served (500 ms), and some.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once on one server. 200 clients and 200 workers, each with a few, is under 2,000.
pub const CONNECTIONS_MAX: usize = 4096;
/// Requests at once on one connection: a client of `-j512`, twice over for its reads and writes.
pub const STREAMS_MAX: u32 = 1024;
/// Requests at once on one server: over [`CONNECTIONS_MAX`] connections that is 4 each; a request above it is answered
/// `RESOURCE_EXHAUSTED`.
pub const REQUESTS_MAX: usize = 16 * 1024;
/// All header fields of one request: a grant is under 1 KiB, a token under 1 KiB; the rest is room.
pub const HEADERS_MAX: u32 = 16 * 1024;
/// One gRPC message. Batches are at most 4 MiB of blobs (the size every REAPI client assumes), plus their framing.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;
/// Blobs in one batch request or response: what Capabilities announces as `max_batch_total_size_bytes`.
pub const BATCH_MAX: usize = 4 * 1024 * 1024;
/// Bytes a peer may send on one stream before it is read: one batch message's half, so that 1,024 streams of one
/// connection are bounded by [`CONNECTION_WINDOW`], not by this.
pub const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes a peer may send on one connection before they are read: eight streams at full window.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// One HTTP/2 frame; the default of 16 KiB costs a wake-up for each 16 KiB.
pub const FRAME_MAX: u32 = 256 * 1024;
/// Streams reset by the peer before they were accepted ("rapid reset"): the whole connection is dropped beyond it.
pub const PENDING_RESETS_MAX: usize = 256;
/// Failed credentials a peer address may present in a burst.
pub const FAILURES_BURST: u32 = 10;
/// And one more after each of these.
pub const FAILURE_REFILL: Duration = Duration::from_secs(1);
/// Peer addresses remembered for that: 1,024 x about 64 bytes. Beyond it the one with most credit is forgotten.
pub const FAILURE_PEERS_MAX: usize = 1024;
/// Log lines about bad peers in a burst, over all peers.
pub const BAD_PEER_LINES: u32 = 20;
/// Tokens in a credentials file: 1,024 x 200 bytes.
pub const CREDENTIALS_MAX: usize = 1024;
/// Bytes of a credentials file.
pub const CREDENTIALS_BYTES_MAX: u64 = 256 * 1024;
/// Shortest token: 16 characters of the 64 that base64 has are 96 bits.
pub const TOKEN_MIN: usize = 16;
/// Longest token, so that it fits a header field.
pub const TOKEN_MAX: usize = 512;
/// How often the credentials file is looked at for a change.
pub const CREDENTIALS_CHECK: Duration = Duration::from_secs(1);
/// Channels kept by a [`Pool`](crate::Pool): a farm of 256 nodes; beyond it the least recently used is dropped (its
/// requests in flight go on).
pub const POOL_MAX: usize = 256;
/// Between two tries to reach a service that is away.
pub const RETRY: Duration = Duration::from_secs(1);
/// Between two tries at one that turned this caller away: what is wrong has to be mended by somebody.
pub const RETRY_REFUSED: Duration = Duration::from_secs(10);
/// A channel of a [`Pool`](crate::Pool) that nobody asked for in this long is closed: an idle client costs its peers nothing.
pub const POOL_IDLE: Duration = Duration::from_secs(60);
/// Peers turned away that are remembered for the status: enough to see what is wrong, 200 bytes each.
pub const DENIALS_MAX: usize = 16;
/// And for this long after the last time.
pub const DENIALS_KEEP: Duration = Duration::from_secs(600);
/// How long a node that failed is left alone at first: a scheduler knows of a silent one after the same time.
pub const REST: Duration = Duration::from_secs(3);
/// And at most, doubled with each failure.
pub const REST_MAX: Duration = Duration::from_secs(48);
/// Nodes left alone at once: all that a pool knows.
pub const RESTING_MAX: usize = POOL_MAX;
/// How long a draining server waits for requests in flight before it cuts them: longer than the longest ordinary compile.
pub const DRAIN_MAX: Duration = Duration::from_secs(600);
