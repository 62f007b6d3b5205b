//! What is done next with a unit that can run anywhere. Pure: a function of what has happened to it so far.

/// Remote attempts for one unit: the second is on another worker; after that it runs here.
pub(crate) const ATTEMPTS_MAX: u32 = 2;

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
    /// An input changed under the unit, or its result did not stand up to checking.
    Unfit { code: &'static str, detail: String },
}

/// What has happened to a unit so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    attempts: u32,
    rejections: u32,
    avoid: Vec<String>,
    blame: Option<(&'static str, String)>,
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
    /// What to do now.
    pub(crate) fn next(&self) -> Next {
        let unfit = self.blame.as_ref().is_some_and(|(code, _)| *code == "doubtful-end" || *code == "input-changed");
        match self.attempts < ATTEMPTS_MAX && self.rejections < REJECTIONS_MAX && !unfit {
            true => Next::Remote { attempt: self.attempts },
            false => Next::Here,
        }
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
            let mut course = Course::default();
            course.set_back("w1", setback);
            assert_eq!(course.next(), Next::Here);
        }
    }
}
