//! What is done next with a unit that can run anywhere. Pure: a function of what has happened to it so far.

use std::time::Duration;

/// Remote attempts for one unit: the second is on another worker; after that it runs here.
pub(crate) const ATTEMPTS_MAX: u32 = 2;

/// Remote attempts for a unit that may not run here for want of a farm: three workers lost in a row are bad luck, four are a
/// farm that cannot be used.
pub(crate) const STRICT_ATTEMPTS_MAX: u32 = 4;

/// How long such a unit waits for a farm that is not there, from when it was last seen: a scheduler that restarts knows its
/// workers after 2.5 s, a silent one is noticed after as long, and both may happen in a row.
pub(crate) const STRICT_WAIT: Duration = Duration::from_secs(10);

/// Between two looks of one that waits.
pub(crate) const STRICT_PAUSE: Duration = Duration::from_millis(250);

/// Grants that workers may turn down as full before the unit stops asking for a while: each costs one round trip.
pub(crate) const REJECTIONS_MAX: u32 = 3;

/// Why a remote attempt came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The worker had no room after all; says nothing about it.
    Rejected,
    /// The worker was lost or failed; the code is stable, the text is for people.
    Lost { code: &'static str, detail: String },
    /// The job's end is not believed (a limit, a signal, a crash).
    Doubtful(String),
    /// The compile read, or asked for, a file that was not found before it ran: no other machine would do better.
    Missed(String),
    /// An input changed under the unit, or its result did not stand up to checking.
    Unfit { code: &'static str, detail: String },
}

/// What has happened to a unit so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    /// It fails rather than run here for want of a farm.
    strict: bool,
    attempts: u32,
    rejections: u32,
    avoid: Vec<String>,
    blame: Option<(&'static str, String)>,
    /// When no worker could be had first, of the times that were not ended by one.
    absent_since: Option<Duration>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask for a grant and try on a worker.
    Remote { attempt: u32 },
    /// Run it here.
    Here,
}

impl Course {
    /// A unit to which nothing has happened. A `strict` one fails rather than run here for want of a farm.
    pub(crate) fn new(strict: bool) -> Course {
        Course { strict, ..Course::default() }
    }

    /// What to do now.
    pub(crate) fn next(&self) -> Next {
        let unfit = self.blame.as_ref().is_some_and(|(code, _)| ["doubtful-end", "input-changed", "scan-miss"].contains(code));
        let most = if self.strict { STRICT_ATTEMPTS_MAX } else { ATTEMPTS_MAX };
        match self.attempts < most && self.rejections < REJECTIONS_MAX && !unfit {
            true => Next::Remote { attempt: self.attempts },
            false => Next::Here,
        }
    }

    /// No worker could be had, `now` after the unit began. A pause after which to ask again, or nothing: asking is of no use.
    pub(crate) fn nowhere(&mut self, code: &'static str, detail: String, now: Duration) -> Option<Duration> {
        let since = *self.absent_since.get_or_insert(now);
        if self.strict && code != "unknown-toolchain" && now.saturating_sub(since) < STRICT_WAIT {
            // Those that failed it may be the only ones, and well again.
            self.avoid.clear();
            return Some(STRICT_PAUSE);
        }
        // What was lost says more than that nobody is left.
        self.blame.get_or_insert((code, detail));
        None
    }

    /// A worker was had.
    pub(crate) fn granted(&mut self) {
        self.absent_since = None;
    }

    /// An attempt came to nothing.
    pub(crate) fn set_back(&mut self, worker: &str, setback: Setback) {
        match setback {
            Setback::Rejected => {
                self.rejections += 1;
                return;
            }
            Setback::Lost { code, detail } => self.blame = Some((code, detail)),
            Setback::Doubtful(detail) => self.blame = Some(("doubtful-end", detail)),
            Setback::Unfit { code, detail } => self.blame = Some((code, detail)),
            Setback::Missed(detail) => self.blame = Some(("scan-miss", detail)),
        }
        self.attempts += 1;
        if !worker.is_empty() && !self.avoid.iter().any(|name| name == worker) {
            self.avoid.push(worker.to_owned());
        }
    }

    /// Workers not to be asked again for this unit.
    pub(crate) fn avoid(&self) -> &[String] {
        &self.avoid
    }

    /// Why the farm let this unit down, if it did: code and text.
    pub(crate) fn blame(&self) -> Option<(&'static str, &str)> {
        self.blame.as_ref().map(|(code, detail)| (*code, detail.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Setback {
        Setback::Lost { code: "worker-lost", detail: "connection reset".into() }
    }

    #[test]
    fn two_workers_then_here() {
        let mut course = Course::default();
        assert_eq!(course.next(), Next::Remote { attempt: 0 });
        course.set_back("w1", lost());
        assert_eq!(course.next(), Next::Remote { attempt: 1 });
        assert_eq!(course.avoid(), ["w1"]);
        course.set_back("w2", lost());
        assert_eq!(course.next(), Next::Here);
        assert_eq!(course.blame(), Some(("worker-lost", "connection reset")));
    }

    #[test]
    fn without_a_farm_it_runs_here_at_once() {
        let mut course = Course::default();
        assert_eq!(course.nowhere("no-farm", "refused".into(), Duration::ZERO), None);
        assert_eq!(course.blame(), Some(("no-farm", "refused")));
    }

    #[test]
    fn a_strict_one_fails_only_when_the_farm_cannot_serve_it() {
        let seconds = Duration::from_secs;
        let mut course = Course::new(true);
        for name in ["w1", "w2", "w3"] {
            course.set_back(name, lost());
        }
        assert_eq!(course.next(), Next::Remote { attempt: 3 });
        assert_eq!(course.nowhere("no-workers", String::new(), seconds(1)), Some(STRICT_PAUSE));
        assert!(course.avoid().is_empty(), "there is nobody else");
        course.granted();
        assert_eq!(course.nowhere("no-farm", String::new(), seconds(20)), Some(STRICT_PAUSE), "it was there meanwhile");
        assert_eq!(course.nowhere("no-farm", String::new(), seconds(29)), Some(STRICT_PAUSE));
        assert_eq!(course.nowhere("no-farm", String::new(), seconds(30)), None);
        course.set_back("w4", lost());
        assert_eq!(course.next(), Next::Here);
        assert_eq!(Course::new(true).nowhere("unknown-toolchain", String::new(), seconds(0)), None);
    }

    #[test]
    fn a_full_worker_is_no_lost_attempt() {
        let mut course = Course::default();
        for _ in 0..REJECTIONS_MAX - 1 {
            course.set_back("w1", Setback::Rejected);
            assert_eq!(course.next(), Next::Remote { attempt: 0 });
        }
        course.set_back("w1", Setback::Rejected);
        assert_eq!(course.next(), Next::Here);
        assert!(course.blame().is_none());
        assert!(course.avoid().is_empty());
    }

    #[test]
    fn what_another_worker_cannot_mend_is_not_tried_there() {
        for setback in
            [Setback::Doubtful("the compiler crashed".into()), Setback::Unfit { code: "input-changed", detail: "a.h".into() }]
        {
            for strict in [false, true] {
                let mut course = Course::new(strict);
                course.set_back("w1", setback.clone());
                assert_eq!(course.next(), Next::Here);
            }
        }
    }
}
