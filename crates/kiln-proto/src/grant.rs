//! Grants as they travel: signing, checking, and a worker's book of those it has seen. Knows no clock: time is passed in.
//!
//! A token is the bytes of a [`GrantToken`] followed by an HMAC-SHA256 over them. The scheduler makes a random key for each
//! registration of a worker; the worker learns it in the answer. A worker checks the signature, its own name in the token,
//! that the lease has not ended, and that no lease starts two runs. The first sight of a token starts its lease, so no two
//! clocks are compared.

use crate::v1::GrantToken;
use hmac::{Hmac, Mac};
use prost::Message as _;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Metadata that carries a token to a worker.
pub const GRANT_METADATA: &str = "kiln-grant-bin";
/// Bytes of a key: as many as the hash has.
pub const GRANT_KEY_BYTES: usize = 32;
/// Longest token that is looked at: three names of 100 bytes, an instance of 256 and the signature fit twice.
pub const GRANT_TOKEN_MAX: usize = 2048;
/// Schedulers whose keys a worker holds at once: a farm has two or three, and each restart of one adds a key.
pub const GRANT_KEYS_MAX: usize = 16;
/// A token this many serial numbers behind the newest seen of its key is refused as old. A worker has at most some hundreds
/// of leases out at once; what is further behind was lent long ago.
pub const SERIAL_WINDOW: u64 = 8192;
/// Longest time from first sight to the start of the run, however often the token is shown: an upload of 1 GB at 20 MB/s.
pub const UNSPENT_MAX: Duration = Duration::from_secs(60);
/// Longest lease a token may state; more is cut.
pub const LEASE_MAX: Duration = Duration::from_secs(60);

const MAC_BYTES: usize = 32;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Too long, too short or unreadable.
    #[error("the grant is malformed")]
    Malformed,
    /// Signed with a key that is not known here.
    #[error("the grant is signed with a key that is not known here")]
    UnknownKey,
    /// The signature is not that of its bytes.
    #[error("the grant's signature is wrong")]
    Forged,
    /// For another worker, or for an earlier registration of this one.
    #[error("the grant is for another worker")]
    OtherWorker,
    /// Its lease has ended.
    #[error("the grant's lease has ended")]
    Expired,
    /// A run was started with it already.
    #[error("the grant was used already")]
    Used,
    /// Far older than what this worker has seen.
    #[error("the grant is old")]
    Old,
}

/// Signs and checks the grants of one registration.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantKey {
    id: String,
    secret: [u8; GRANT_KEY_BYTES],
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantKey({})", self.id)
    }
}

impl GrantKey {
    /// A key of random bytes, under a name that is not secret.
    pub fn new(id: impl Into<String>, secret: [u8; GRANT_KEY_BYTES]) -> GrantKey {
        GrantKey { id: id.into(), secret }
    }

    /// The key in the answer to a registration.
    ///
    /// # Errors
    /// [`GrantError::Malformed`] when it is not of [`GRANT_KEY_BYTES`].
    pub fn from_wire(id: &str, secret: &[u8]) -> Result<GrantKey, GrantError> {
        let secret = secret.try_into().map_err(|_| GrantError::Malformed)?;
        Ok(GrantKey::new(id, secret))
    }

    /// The key's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key's bytes, for the answer to a registration.
    pub fn secret(&self) -> &[u8; GRANT_KEY_BYTES] {
        &self.secret
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // HMAC pads a key with zeros to the hash's block; done here, no length can be wrong.
        let mut block = [0; 64];
        block[..GRANT_KEY_BYTES].copy_from_slice(&self.secret);
        let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
        mac.update(message);
        mac
    }

    /// The token's bytes; its `key_id` is set to this key's.
    pub fn sign(&self, mut token: GrantToken) -> Vec<u8> {
        token.key_id.clone_from(&self.id);
        let mut bytes = token.encode_to_vec();
        let mac = self.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        bytes
    }

    /// What a token says, if this key signed it. Takes the same time wherever the signature differs.
    ///
    /// # Errors
    /// [`GrantError::Malformed`], [`GrantError::UnknownKey`] or [`GrantError::Forged`].
    pub fn verify(&self, bytes: &[u8]) -> Result<GrantToken, GrantError> {
        let (message, mac) = split(bytes)?;
        self.mac(message).verify_slice(mac).map_err(|_| GrantError::Forged)?;
        let token = GrantToken::decode(message).map_err(|_| GrantError::Malformed)?;
        if token.key_id == self.id { Ok(token) } else { Err(GrantError::UnknownKey) }
    }
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), GrantError> {
    if bytes.len() > GRANT_TOKEN_MAX {
        return Err(GrantError::Malformed);
    }
    let at = bytes.len().checked_sub(MAC_BYTES).ok_or(GrantError::Malformed)?;
    Ok(bytes.split_at(at))
}

/// Puts a token into a request's metadata.
pub fn attach(metadata: &mut MetadataMap, token: &[u8]) {
    metadata.insert_bin(GRANT_METADATA, MetadataValue::from_bytes(token));
}

/// The token in a request's metadata, if there is one.
///
/// # Errors
/// [`GrantError::Malformed`] when it is no base64 or too long.
pub fn attached(metadata: &MetadataMap) -> Result<Option<Vec<u8>>, GrantError> {
    let Some(value) = metadata.get_bin(GRANT_METADATA) else { return Ok(None) };
    if value.as_encoded_bytes().len() > GRANT_TOKEN_MAX * 4 / 3 + 4 {
        return Err(GrantError::Malformed);
    }
    value.to_bytes().map(|bytes| Some(bytes.to_vec())).map_err(|_| GrantError::Malformed)
}

/// The grants one worker has seen.
#[derive(Debug, Default)]
pub struct GrantBook {
    /// In the order in which they were learned.
    keys: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    key: GrantKey,
    worker_id: String,
    newest: u64,
    /// By serial; those further behind the newest than [`SERIAL_WINDOW`] are gone.
    seen: BTreeMap<u64, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Duration,
    ends: Duration,
    run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    NotBegun,
    Running,
    Ended,
}

impl GrantBook {
    /// A book without keys: nothing is accepted.
    pub fn new() -> GrantBook {
        GrantBook::default()
    }

    /// Accepts grants signed with `key` for the registration `worker_id` from now on. Keys of earlier registrations stay
    /// valid, so that a scheduler's restart kills no run; beyond [`GRANT_KEYS_MAX`] the oldest goes.
    pub fn learn(&mut self, key: GrantKey, worker_id: impl Into<String>) {
        self.keys.retain(|known| known.key.id != key.id);
        if self.keys.len() >= GRANT_KEYS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(Known { key, worker_id: worker_id.into(), newest: 0, seen: BTreeMap::new() });
    }

    /// Checks a token that accompanies a read or an upload. Each showing before the lease's end prolongs it, within
    /// [`UNSPENT_MAX`] until the run has begun; while the run lasts the lease does not end.
    ///
    /// # Errors
    /// Every [`GrantError`] but [`GrantError::Used`].
    pub fn present(&mut self, now: Duration, bytes: &[u8]) -> Result<GrantToken, GrantError> {
        self.look(now, bytes).map(|(token, _)| token)
    }

    /// Checks a token that starts a run, and uses it up. Call [`GrantBook::ended`] when the run is over, or
    /// [`GrantBook::returned`] when it never began. Until then the lease does not end, so call this before inputs are fetched.
    ///
    /// # Errors
    /// Any [`GrantError`].
    pub fn spend(&mut self, now: Duration, bytes: &[u8]) -> Result<GrantToken, GrantError> {
        let (token, seen) = self.look(now, bytes)?;
        if seen.run != Run::NotBegun {
            return Err(GrantError::Used);
        }
        seen.run = Run::Running;
        Ok(token)
    }

    /// The run under this token never began (inputs were missing): the token can start it again. Its lease begins anew.
    pub fn returned(&mut self, now: Duration, token: &GrantToken) {
        if let Some(seen) = self.seen(token).filter(|seen| seen.run == Run::Running) {
            *seen = Seen { first: now, ends: now + lease(token), run: Run::NotBegun };
        }
    }

    /// The run under this token is over: its results can be read for one more lease.
    pub fn ended(&mut self, now: Duration, token: &GrantToken) {
        if let Some(seen) = self.seen(token) {
            seen.run = Run::Ended;
            seen.ends = now + lease(token);
        }
    }

    fn seen(&mut self, token: &GrantToken) -> Option<&mut Seen> {
        let known = self.keys.iter_mut().find(|known| known.key.id == token.key_id)?;
        known.seen.get_mut(&token.serial)
    }

    fn look(&mut self, now: Duration, bytes: &[u8]) -> Result<(GrantToken, &mut Seen), GrantError> {
        let (message, _) = split(bytes)?;
        let named = GrantToken::decode(message).map_err(|_| GrantError::Malformed)?;
        let known = self.keys.iter_mut().find(|known| known.key.id == named.key_id).ok_or(GrantError::UnknownKey)?;
        let token = known.key.verify(bytes)?;
        if token.worker_id != known.worker_id {
            return Err(GrantError::OtherWorker);
        }
        if token.serial.saturating_add(SERIAL_WINDOW) <= known.newest {
            return Err(GrantError::Old);
        }
        known.forget(token.serial);
        let fresh = Seen { first: now, ends: now + lease(&token), run: Run::NotBegun };
        let seen = known.seen.entry(token.serial).or_insert(fresh);
        if seen.run != Run::Running {
            if now >= seen.ends {
                return Err(GrantError::Expired);
            }
            let latest = if seen.run == Run::NotBegun { seen.first + UNSPENT_MAX } else { Duration::MAX };
            seen.ends = (now + lease(&token)).min(latest);
        }
        Ok((token, seen))
    }
}

impl Known {
    /// Drops what falls out of the window when `serial` is seen; a run that still lasts stays.
    fn forget(&mut self, serial: u64) {
        if serial <= self.newest {
            return;
        }
        self.newest = serial;
        let keep = serial.saturating_sub(SERIAL_WINDOW - 1);
        let old: Vec<u64> = self.seen.range(..keep).filter(|(_, seen)| seen.run != Run::Running).map(|(at, _)| *at).collect();
        for at in old {
            self.seen.remove(&at);
        }
    }
}

fn lease(token: &GrantToken) -> Duration {
    Duration::from_millis(u64::from(token.lease_ms)).min(LEASE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(100);
    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> GrantKey {
        GrantKey::new("k1", [7; GRANT_KEY_BYTES])
    }

    fn token(serial: u64) -> GrantToken {
        GrantToken {
            lease: format!("l{serial}"),
            worker_id: "w1".into(),
            user: "ann".into(),
            instance: "main".into(),
            lease_ms: 3000,
            serial,
            ..Default::default()
        }
    }

    fn book() -> GrantBook {
        let mut book = GrantBook::new();
        book.learn(key(), "w1");
        book
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let signed = key().sign(token(5));
        let read = book().spend(T0, &signed).unwrap();
        assert_eq!(read, GrantToken { key_id: "k1".into(), ..token(5) });
        let mut metadata = MetadataMap::new();
        assert_eq!(attached(&metadata), Ok(None));
        attach(&mut metadata, &signed);
        assert_eq!(attached(&metadata), Ok(Some(signed)));
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let signed = key().sign(token(5));
        for at in 0..signed.len() * 8 {
            let mut forged = signed.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(book().present(T0, &forged).is_err(), "bit {at}");
        }
        for len in 0..signed.len() {
            assert!(book().present(T0, &signed[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn another_key_under_the_same_name_forges_nothing() {
        let other = GrantKey::new("k1", [8; GRANT_KEY_BYTES]).sign(token(1));
        assert_eq!(book().spend(T0, &other), Err(GrantError::Forged));
        let unknown = GrantKey::new("k2", [7; GRANT_KEY_BYTES]).sign(token(1));
        assert_eq!(book().spend(T0, &unknown), Err(GrantError::UnknownKey));
        assert_eq!(book().spend(T0, &[0xff; GRANT_TOKEN_MAX + 1]), Err(GrantError::Malformed));
        assert_eq!(GrantKey::from_wire("k", &[1; 31]), Err(GrantError::Malformed));
    }

    #[test]
    fn a_grant_for_another_worker_is_refused() {
        let signed = key().sign(GrantToken { worker_id: "w2".into(), ..token(1) });
        assert_eq!(book().spend(T0, &signed), Err(GrantError::OtherWorker));
    }

    #[test]
    fn a_grant_starts_one_run() {
        let (mut book, signed) = (book(), key().sign(token(1)));
        assert!(book.present(T0, &signed).is_ok());
        assert!(book.spend(T0, &signed).is_ok());
        assert_eq!(book.spend(T0, &signed), Err(GrantError::Used));
        assert!(book.present(T0 + 600 * SECOND, &signed).is_ok(), "the run lasts, so does the lease");
    }

    #[test]
    fn a_run_that_never_began_gives_its_grant_back() {
        let (mut book, signed) = (book(), key().sign(token(1)));
        let token = book.spend(T0, &signed).unwrap();
        book.returned(T0 + 100 * SECOND, &token);
        assert!(book.spend(T0 + 102 * SECOND, &signed).is_ok());
        book.ended(T0 + 103 * SECOND, &token);
        book.returned(T0 + 103 * SECOND, &token);
        assert_eq!(book.spend(T0 + 103 * SECOND, &signed), Err(GrantError::Used), "one that ended has begun");
    }

    #[test]
    fn a_lease_ends_when_it_is_not_shown() {
        let (mut book, signed) = (book(), key().sign(token(1)));
        assert!(book.present(T0, &signed).is_ok());
        assert!(book.present(T0 + 2 * SECOND, &signed).is_ok());
        assert!(book.present(T0 + 4 * SECOND, &signed).is_ok(), "prolonged at 2 s");
        assert_eq!(book.spend(T0 + 7 * SECOND, &signed), Err(GrantError::Expired));
    }

    #[test]
    fn showing_a_grant_for_ever_does_not_keep_it() {
        let (mut book, signed) = (book(), key().sign(token(1)));
        let shown = (0..100).take_while(|second| book.present(T0 + *second * SECOND, &signed).is_ok()).count();
        assert_eq!(shown as u64, UNSPENT_MAX.as_secs());
    }

    #[test]
    fn results_can_be_read_for_a_lease_after_the_run() {
        let (mut book, signed) = (book(), key().sign(token(1)));
        let token = book.spend(T0, &signed).unwrap();
        book.ended(T0 + 50 * SECOND, &token);
        assert!(book.present(T0 + 52 * SECOND, &signed).is_ok());
        assert_eq!(book.present(T0 + 56 * SECOND, &signed), Err(GrantError::Expired));
        assert_eq!(book.spend(T0 + 56 * SECOND, &signed), Err(GrantError::Expired));
    }

    #[test]
    fn an_old_serial_cannot_be_replayed_and_the_book_is_bounded() {
        let (mut book, first) = (book(), key().sign(token(1)));
        assert!(book.spend(T0, &first).is_ok());
        let spent = book.present(T0, &first).unwrap();
        book.ended(T0, &spent);
        for serial in 2..SERIAL_WINDOW + 10 {
            book.present(T0, &key().sign(token(serial))).unwrap();
        }
        assert!(book.keys[0].seen.len() as u64 <= SERIAL_WINDOW);
        assert_eq!(book.spend(T0, &first), Err(GrantError::Old), "what was forgotten is not taken for new");
        let late = key().sign(token(u64::MAX));
        assert!(book.spend(T0, &late).is_ok());
    }

    #[test]
    fn keys_of_earlier_registrations_stay_for_a_while() {
        let (mut book, before) = (book(), key().sign(token(1)));
        for number in 0..GRANT_KEYS_MAX - 1 {
            book.learn(GrantKey::new(format!("n{number}"), [1; GRANT_KEY_BYTES]), "w1b");
        }
        assert!(book.present(T0, &before).is_ok());
        book.learn(GrantKey::new("last", [1; GRANT_KEY_BYTES]), "w1b");
        assert_eq!(book.present(T0, &before), Err(GrantError::UnknownKey));
    }
}
