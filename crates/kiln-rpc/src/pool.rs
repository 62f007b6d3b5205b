//! Channels by address, bounded. Knows no service.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use crate::Address;
use crate::Channel;
use crate::Dial;
use crate::DialError;
use crate::connect;
use crate::limits::POOL_IDLE;
use crate::limits::POOL_MAX;

/// Channels to many services of one kind, made when first asked for.
#[derive(Debug)]
pub struct Pool {
    dial: Dial,
    channels_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By address and expected name, with when it was last asked for.
    channels: HashMap<(Address, String), (Instant, Channel)>,
}

impl Pool {
    /// A pool of at most [`POOL_MAX`] channels, each made as `dial` says.
    pub fn new(dial: Dial) -> Pool {
        Pool::with_capacity(dial, POOL_MAX)
    }

    /// A pool of at most `channels_max` (at least 1) channels.
    pub fn with_capacity(dial: Dial, channels_max: usize) -> Pool {
        Pool { dial, channels_max: channels_max.max(1), state: Mutex::default() }
    }

    /// The channel to `address`, whose certificate must hold `tls_name` (empty: the pool's own rule).
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn get(&self, address: &Address, tls_name: &str) -> Result<Channel, DialError> {
        let key = (address.clone(), tls_name.to_owned());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Instant::now();
        if let Some((last, channel)) = state.channels.get_mut(&key) {
            *last = asked;
            return Ok(channel.clone());
        }
        let mut dial = self.dial.clone();
        if !tls_name.is_empty() {
            dial.tls_name = Some(tls_name.to_owned());
        }
        let channel = connect(address, &dial)?;
        if state.channels.len() >= self.channels_max {
            let oldest = state.channels.iter().min_by_key(|(_, (last, _))| *last).map(|(key, _)| key.clone());
            oldest.and_then(|key| state.channels.remove(&key));
        }
        state.channels.insert(key, (asked, channel.clone()));
        Ok(channel)
    }

    /// Drops the channel to `address`, so that the next one connects anew; requests in flight go on.
    pub fn forget(&self, address: &Address) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).channels.retain(|(known, _), _| known != address);
    }

    /// Drops the channels that nobody asked for in [`POOL_IDLE`]; their connections close once their last request has ended.
    pub fn drop_idle(&self) {
        self.drop_idle_at(Instant::now());
    }

    fn drop_idle_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.channels.retain(|_, (last, _)| now.saturating_duration_since(*last) < POOL_IDLE);
    }

    /// How many channels are held.
    pub fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).channels.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn channels_that_nobody_asks_for_are_dropped() {
        let pool = Pool::new(Dial::default());
        let address = |port| Address::tcp("127.0.0.1", port);
        pool.get(&address(1), "").unwrap();
        pool.drop_idle_at(Instant::now() + POOL_IDLE / 2);
        assert_eq!(pool.len(), 1);
        pool.drop_idle_at(Instant::now() + POOL_IDLE + Duration::from_secs(1));
        assert!(pool.is_empty());
    }
}
