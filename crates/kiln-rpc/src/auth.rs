//! Turns what a request shows into a [`Caller`], or refuses. Knows headers and peers; reads no socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Caller;
use crate::Credentials;
use crate::Network;
use crate::Peer;
use crate::Role;
use crate::credentials::Known;
use crate::limiter::PeerLimiter;
use crate::limits::FAILURE_PEERS_MAX;
use crate::limits::FAILURE_REFILL;
use crate::limits::FAILURES_BURST;
use crate::token::TokenHash;
use crate::token::hash;
use crate::token::same;

/// A check of the service's own for requests that show no credential: a worker looks for a grant.
pub trait Extra: Send + Sync {
    /// The bearer's name, if the headers hold something this service accepts. Called for each such request, so it must be
    /// quick; what exactly the bearer may do is the service's to check again in the call.
    fn check(&self, headers: &HeaderMap, peer: &Peer) -> Option<String>;
}

/// Who may call a server.
pub struct Auth {
    credentials: Arc<Credentials>,
    networks: Vec<Network>,
    extra: Option<Arc<dyn Extra>>,
    failures: Mutex<PeerLimiter>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("a credential is needed: a bearer token or a client certificate")]
    Missing,
    #[error("unknown credential")]
    Unknown,
    #[error("too many failed credentials from this address; try again later")]
    Blocked,
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) peer: Peer,
    /// From a verified client certificate.
    pub(crate) certificate: Option<(String, Role)>,
    remembered: Mutex<Option<Remembered>>,
}

/// The token that this connection last showed, so that the table is searched once a connection.
#[derive(Debug)]
struct Remembered {
    hash: TokenHash,
    generation: u64,
    known: Known,
}

impl Connected {
    pub(crate) fn new(peer: Peer, certificate: Option<(String, Role)>) -> Connected {
        Connected { peer, certificate, remembered: Mutex::new(None) }
    }
}

impl Auth {
    /// Callers must show one of `credentials`, a certificate with a role, or be the same user on a Unix socket.
    pub fn new(credentials: Arc<Credentials>) -> Auth {
        let failures = PeerLimiter::new(FAILURES_BURST, FAILURE_REFILL, FAILURE_PEERS_MAX);
        Auth { credentials, networks: Vec::new(), extra: None, failures: Mutex::new(failures) }
    }

    /// Only these networks may connect over TCP; an empty list allows all.
    #[must_use]
    pub fn with_networks(mut self, networks: Vec<Network>) -> Auth {
        self.networks = networks;
        self
    }

    /// A request without a credential is shown to `extra`.
    #[must_use]
    pub fn with_extra(mut self, extra: Arc<dyn Extra>) -> Auth {
        self.extra = Some(extra);
        self
    }

    /// The credentials, for reloading them.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Whether a peer of this address may connect at all.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(address))
    }

    /// Who makes this request.
    pub(crate) fn identify(&self, connected: &Connected, headers: &HeaderMap) -> Result<Caller, Denied> {
        let as_caller = |name: String, role| Caller { name, role, via: connected.peer.clone() };
        if let Some(shown) = headers.get(AUTHORIZATION) {
            let token = bearer(shown.as_bytes());
            return self.by_token(connected, token).map(|known| as_caller(known.name, known.role));
        }
        if let Some((name, role)) = &connected.certificate {
            return Ok(as_caller(name.clone(), *role));
        }
        // Checked at accept: it is this user or root.
        if let Peer::Unix { uid, .. } = connected.peer {
            return Ok(as_caller(format!("uid:{uid}"), Role::Local));
        }
        let extra = self.extra.as_ref().and_then(|extra| extra.check(headers, &connected.peer));
        extra.map(|name| as_caller(name, Role::Granted)).ok_or(Denied::Missing)
    }

    fn by_token(&self, connected: &Connected, token: Option<&[u8]>) -> Result<Known, Denied> {
        let generation = self.credentials.generation();
        if let Some(token) = token {
            let hash = hash(token);
            let remembered = connected.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = remembered.as_ref().filter(|last| last.generation == generation && same(&last.hash, &hash)) {
                return Ok(last.known.clone());
            }
        }
        let address = match connected.peer {
            Peer::Tcp { address, .. } => Some(address.ip()),
            Peer::Unix { .. } => None,
        };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if address.is_some_and(|address| failures.blocked(address, Instant::now())) {
            return Err(Denied::Blocked);
        }
        match token.and_then(|token| Some((hash(token), self.credentials.find(token)?))) {
            Some((hash, known)) => {
                let entry = Remembered { hash, generation, known: known.clone() };
                *connected.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
                Ok(known)
            }
            None => {
                if let Some(address) = address {
                    failures.failed(address, Instant::now());
                }
                Err(Denied::Unknown)
            }
        }
    }
}

/// The token of an `Authorization: Bearer TOKEN` field.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    const GOOD: &str = "correct-horse-battery";

    fn auth() -> Auth {
        let token = Token::new(GOOD).unwrap();
        Auth::new(Arc::new(Credentials::from_tokens([(Role::Worker, "w1".to_owned(), token)])))
    }

    fn tcp() -> Connected {
        Connected::new(Peer::Tcp { address: "192.0.2.1:5".parse().unwrap(), tls: true }, None)
    }

    fn headers(field: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, field.parse().unwrap())])
    }

    #[test]
    fn a_token_names_the_caller() {
        let caller = auth().identify(&tcp(), &headers(&format!("Bearer {GOOD}"))).unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("w1", Role::Worker));
        assert!(auth().identify(&tcp(), &headers(&format!("bearer {GOOD}"))).is_ok());
    }

    #[test]
    fn what_is_no_known_token_is_refused() {
        for field in ["", "Bearer", "Bearer ", "Basic eDp5", GOOD, "Bearer correct-horse-batter", "Bearer \u{e9}"] {
            assert_eq!(auth().identify(&tcp(), &headers(field)), Err(Denied::Unknown), "{field:?}");
        }
        assert_eq!(auth().identify(&tcp(), &HeaderMap::new()), Err(Denied::Missing));
    }

    #[test]
    fn failures_block_the_address_but_not_who_was_known_before() {
        let (auth, known, stranger) = (auth(), tcp(), tcp());
        let good = headers(&format!("Bearer {GOOD}"));
        assert!(auth.identify(&known, &good).is_ok());
        for _ in 0..FAILURES_BURST {
            assert_eq!(auth.identify(&stranger, &headers("Bearer wrong")), Err(Denied::Unknown));
        }
        assert_eq!(auth.identify(&stranger, &headers("Bearer wrong")), Err(Denied::Blocked));
        assert_eq!(auth.identify(&stranger, &good), Err(Denied::Blocked), "guessing right is of no use then");
        assert!(auth.identify(&known, &good).is_ok());
    }

    #[test]
    fn a_certificate_or_the_same_user_needs_no_token_and_a_wrong_token_spoils_both() {
        let certificate = Connected::new(tcp().peer, Some(("alice".to_owned(), Role::User)));
        assert_eq!(auth().identify(&certificate, &HeaderMap::new()).unwrap().role, Role::User);
        let unix = Connected::new(Peer::Unix { uid: 7, pid: None }, None);
        assert_eq!(auth().identify(&unix, &HeaderMap::new()).unwrap().role, Role::Local);
        for connected in [certificate, unix] {
            assert_eq!(auth().identify(&connected, &headers("Bearer wrong")), Err(Denied::Unknown));
        }
    }

    #[test]
    fn the_services_own_check_is_asked_last() {
        struct Grant;
        impl Extra for Grant {
            fn check(&self, headers: &HeaderMap, _: &Peer) -> Option<String> {
                headers.get("kiln-grant-bin").map(|_| "lease".to_owned())
            }
        }
        let auth = auth().with_extra(Arc::new(Grant));
        let granted = HeaderMap::from_iter([("kiln-grant-bin".parse().unwrap(), "x".parse().unwrap())]);
        assert_eq!(auth.identify(&tcp(), &granted).unwrap().role, Role::Granted);
        assert_eq!(auth.identify(&tcp(), &HeaderMap::new()), Err(Denied::Missing));
    }
}
