//! Token buckets: failed credentials by peer address, log lines about bad peers. Time comes from the caller.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;
use std::time::Instant;

/// A bucket of `burst` that gains one each `refill`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    fn full(burst: u32, now: Instant) -> Bucket {
        Bucket { left: burst, since: now }
    }

    fn gain(&mut self, burst: u32, refill: Duration, now: Instant) {
        let gained = now.saturating_duration_since(self.since).as_nanos() / refill.as_nanos().max(1);
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        if gained == 0 {
            return;
        }
        self.left = self.left.saturating_add(gained).min(burst);
        self.since = if self.left == burst { now } else { self.since + refill * gained };
    }
}

/// One bucket for all.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: Bucket,
    burst: u32,
    refill: Duration,
}

impl Limiter {
    pub(crate) fn new(burst: u32, refill: Duration, now: Instant) -> Limiter {
        Limiter { bucket: Bucket::full(burst, now), burst, refill }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.bucket.gain(self.burst, self.refill, now);
        let some = self.bucket.left > 0;
        self.bucket.left = self.bucket.left.saturating_sub(1);
        some
    }
}

/// A bucket a peer, in a table of bounded size.
#[derive(Debug)]
pub(crate) struct PeerLimiter {
    peers: BTreeMap<IpAddr, Bucket>,
    burst: u32,
    refill: Duration,
    peers_max: usize,
}

impl PeerLimiter {
    pub(crate) fn new(burst: u32, refill: Duration, peers_max: usize) -> PeerLimiter {
        PeerLimiter { peers: BTreeMap::new(), burst, refill, peers_max: peers_max.max(1) }
    }

    /// Whether this peer has used up its failures.
    pub(crate) fn blocked(&mut self, peer: IpAddr, now: Instant) -> bool {
        let (burst, refill) = (self.burst, self.refill);
        let Some(bucket) = self.peers.get_mut(&key(peer)) else { return false };
        bucket.gain(burst, refill, now);
        bucket.left == 0
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, peer: IpAddr, now: Instant) {
        let peer = key(peer);
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.peers_max {
            self.forget(now);
        }
        let bucket = self.peers.entry(peer).or_insert_with(|| Bucket::full(self.burst, now));
        bucket.gain(self.burst, self.refill, now);
        bucket.left = bucket.left.saturating_sub(1);
    }

    /// Drops every peer with full credit, else the one with most.
    fn forget(&mut self, now: Instant) {
        let (burst, refill) = (self.burst, self.refill);
        self.peers.retain(|_, bucket| {
            bucket.gain(burst, refill, now);
            bucket.left < burst
        });
        if self.peers.len() >= self.peers_max {
            let best = self.peers.iter().max_by_key(|(_, bucket)| bucket.left).map(|(peer, _)| *peer);
            best.and_then(|peer| self.peers.remove(&peer));
        }
    }
}

/// An IPv4 address as itself; of an IPv6 address the /64, which is what one host can choose from.
fn key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_is_blocked_after_its_burst_and_let_in_again_later() {
        let now = Instant::now();
        let mut limiter = PeerLimiter::new(3, SECOND, 8);
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert!(!limiter.blocked(peer, now));
            limiter.failed(peer, now);
        }
        assert!(limiter.blocked(peer, now));
        assert!(!limiter.blocked("192.0.2.2".parse().unwrap(), now), "another peer is not blocked");
        assert!(limiter.blocked(peer, now + SECOND / 2));
        assert!(!limiter.blocked(peer, now + SECOND));
    }

    #[test]
    fn one_host_cannot_walk_its_ipv6_network() {
        let now = Instant::now();
        let mut limiter = PeerLimiter::new(1, SECOND, 8);
        limiter.failed("2001:db8::1".parse().unwrap(), now);
        assert!(limiter.blocked("2001:db8::ffff:1".parse().unwrap(), now));
        assert!(!limiter.blocked("2001:db8:0:1::1".parse().unwrap(), now));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let now = Instant::now();
        let mut limiter = PeerLimiter::new(2, SECOND, 4);
        let worst: IpAddr = "192.0.2.200".parse().unwrap();
        limiter.failed(worst, now);
        limiter.failed(worst, now);
        for last in 0..100u8 {
            limiter.failed(IpAddr::from([192, 0, 2, last]), now);
            assert!(limiter.peers.len() <= 4);
        }
        assert!(limiter.blocked(worst, now));
    }

    #[test]
    fn log_lines_come_in_bursts() {
        let now = Instant::now();
        let mut limiter = Limiter::new(2, SECOND, now);
        assert_eq!([limiter.take(now), limiter.take(now), limiter.take(now)], [true, true, false]);
        assert!(limiter.take(now + SECOND));
        assert!(!limiter.take(now + SECOND));
    }
}
