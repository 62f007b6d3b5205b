//! Notices that this process stood still (stopped, suspended, starved): a connection that broke meanwhile says nothing about
//! the other end. Knows no connection.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often the clock is looked at.
const STEP: Duration = Duration::from_millis(200);

/// A step that takes this much longer than it should was a standstill.
const STANDSTILL: Duration = Duration::from_millis(500);

/// Time since the machine started, that asleep included.
fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A moment of the watched clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Duration);

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When the clock was last looked at.
    step: Duration,
    /// When the last standstill ended.
    stood_still: Option<Duration>,
}

/// The watched clock.
#[derive(Debug)]
pub(crate) struct Clock {
    seen: Mutex<Seen>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { seen: Mutex::new(Seen { step: boottime(), stood_still: None }) }
    }

    /// Now.
    pub(crate) fn now(&self) -> Moment {
        Moment(boottime())
    }

    /// Looks at the clock for ever.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(STEP).await;
            self.look(boottime());
        }
    }

    fn look(&self, now: Duration) -> Option<Duration> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(seen.step) > STEP + STANDSTILL {
            seen.stood_still = Some(now);
        }
        seen.step = now;
        seen.stood_still
    }

    /// Whether this process stood still at some time after `since`. Asked at once after it goes on, the watching task may not
    /// have had its turn yet: a look that is overdue counts.
    pub(crate) fn stood_still_since(&self, since: Moment) -> bool {
        self.look(boottime()).is_some_and(|at| at >= since.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_is_a_standstill() {
        let clock = Clock::new();
        let start = clock.seen.lock().unwrap().step;
        assert_eq!(clock.look(start + STEP), None);
        assert_eq!(clock.look(start + 2 * STEP + STANDSTILL), None);
        let late = start + 10 * (STEP + STANDSTILL);
        assert_eq!(clock.look(late), Some(late));
        assert_eq!(clock.look(late + STEP), Some(late));
    }
}
