//! The daemon's counters: read from its JSON, subtracted, told in a line or a table. Knows no socket.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::print;

/// Counters, as `kiln stats --json` names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) requests: u64,
    pub(crate) remote: u64,
    pub(crate) hits_local: u64,
    pub(crate) hits_memory: u64,
    pub(crate) hits_remote: u64,
    pub(crate) joined: u64,
    pub(crate) local: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) fallback: BTreeMap<String, u64>,
    pub(crate) failed: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) downloaded_bytes: u64,
    pub(crate) client_cpu_ms: u64,
    pub(crate) errors: u64,
}

impl Stats {
    /// Reads the daemon's answer; what is missing counts as nothing.
    pub(crate) fn read(answer: &Value) -> Stats {
        let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let reasons = |path: &str| {
            let map = answer.pointer(path).and_then(Value::as_object);
            let counted = |(reason, count): (&String, &Value)| Some((print::plain(reason), count.as_u64()?));
            map.map(|map| map.iter().filter_map(counted).collect()).unwrap_or_default()
        };
        Stats {
            requests: number("/requests"),
            remote: number("/remote"),
            hits_local: number("/hits/local"),
            hits_memory: number("/hits/memory"),
            hits_remote: number("/hits/remote"),
            joined: number("/joined"),
            local: number("/local"),
            refused: reasons("/refused"),
            fallback: reasons("/fallback"),
            failed: number("/failed"),
            uploaded_bytes: number("/uploaded_bytes"),
            downloaded_bytes: number("/downloaded_bytes"),
            client_cpu_ms: number("/client_cpu_ms"),
            errors: number("/errors"),
        }
    }

    /// What was counted since `before`. Counters that were set to zero in between give what they have now.
    pub(crate) fn since(&self, before: &Stats) -> Stats {
        let less = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let reasons = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let counted =
                now.iter().map(|(reason, count)| (reason.clone(), less(*count, before.get(reason).copied().unwrap_or(0))));
            counted.filter(|(_, count)| *count > 0).collect()
        };
        Stats {
            requests: less(self.requests, before.requests),
            remote: less(self.remote, before.remote),
            hits_local: less(self.hits_local, before.hits_local),
            hits_memory: less(self.hits_memory, before.hits_memory),
            hits_remote: less(self.hits_remote, before.hits_remote),
            joined: less(self.joined, before.joined),
            local: less(self.local, before.local),
            refused: reasons(&self.refused, &before.refused),
            fallback: reasons(&self.fallback, &before.fallback),
            failed: less(self.failed, before.failed),
            uploaded_bytes: less(self.uploaded_bytes, before.uploaded_bytes),
            downloaded_bytes: less(self.downloaded_bytes, before.downloaded_bytes),
            client_cpu_ms: less(self.client_cpu_ms, before.client_cpu_ms),
            errors: less(self.errors, before.errors),
        }
    }

    /// Results reused.
    pub(crate) fn hits(&self) -> u64 {
        self.hits_local + self.hits_memory + self.hits_remote
    }

    /// Units that kiln could have sent away: all that it handled as results.
    pub(crate) fn units(&self) -> u64 {
        self.remote + self.hits() + self.joined + self.local
    }

    /// What to think of where a build compiled nothing by kiln, if it compiled at all.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let nothing = self.requests == 0 && self.units() == 0 && self.refused.is_empty();
        nothing.then_some(
            "no compiler was called through kiln. A build that calls its compiler by a path it keeps, or sets a PATH of its own, needs \
             kiln run when it is configured, kiln as its compiler launcher, or CC='kiln gcc'",
        )
    }

    /// How a build went, in one line.
    pub(crate) fn summary(&self, took: Duration) -> String {
        let mut places = Vec::new();
        let mut place = |number: u64, what: &str| {
            if number > 0 {
                places.push(format!("{number} {what}"));
            }
        };
        place(self.remote, "on workers");
        place(self.hits_local + self.hits_memory, "cached here");
        place(self.hits_remote, "cached in the farm");
        place(self.joined, "joined");
        place(self.local, "compiled here");
        let mut line = format!("{} in {}", print::count(self.units(), "unit"), print::time(took));
        if !places.is_empty() {
            line.push_str(&format!(": {}", places.join(", ")));
        }
        for (reasons, what) in [(&self.refused, "run plainly"), (&self.fallback, "let down by the farm")] {
            let total: u64 = reasons.values().sum();
            if total > 0 {
                line.push_str(&format!("; {total} {what} ({})", by_count(reasons)));
            }
        }
        if self.failed > 0 {
            line.push_str(&format!("; {} failed to compile", self.failed));
        }
        if self.errors > 0 {
            line.push_str(&format!("; {} in kiln itself (kiln doctor)", print::count(self.errors, "error")));
        }
        line
    }

    /// All counters, for people.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
        row("requests", self.requests.to_string());
        row("compiled on workers", self.remote.to_string());
        row("hits, this machine", self.hits_local.to_string());
        row("hits, daemon's memory", self.hits_memory.to_string());
        row("hits, the farm's cache", self.hits_remote.to_string());
        row("joined a running compile", self.joined.to_string());
        row("compiled here", self.local.to_string());
        row("failed (compiler's own errors)", self.failed.to_string());
        for (what, reasons) in [("run plainly", &self.refused), ("let down by the farm", &self.fallback)] {
            row(what, reasons.values().sum::<u64>().to_string());
            for (reason, count) in sorted(reasons) {
                row(&format!("  {reason}"), count.to_string());
            }
        }
        row("sent", print::bytes(self.uploaded_bytes));
        row("received", print::bytes(self.downloaded_bytes));
        row("daemon's CPU time", format!("{:.1} s", self.client_cpu_ms as f64 / 1000.0));
        row("errors in kiln", self.errors.to_string());
        print::table(&["", ""], &rows)
    }
}

/// Most frequent first.
fn sorted(reasons: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut reasons: Vec<(&str, u64)> = reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    reasons
}

/// `link 20, probe 3`, the rarest together: a line stays a line.
fn by_count(reasons: &BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 5;
    let sorted = sorted(reasons);
    let mut parts: Vec<String> = sorted.iter().take(SHOWN).map(|(reason, count)| format!("{reason} {count}")).collect();
    let rest: u64 = sorted.iter().skip(SHOWN).map(|(_, count)| count).sum();
    if rest > 0 {
        parts.push(format!("others {rest}"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Stats {
        Stats::read(&json!({
            "requests": 120, "remote": 90, "hits": {"local": 3, "memory": 1, "remote": 6}, "joined": 0, "local": 4,
            "refused": {"link": 10, "asm": 1}, "fallback": {"worker-lost": 2}, "failed": 1, "errors": 0,
            "uploaded_bytes": 2048, "later_key": 7,
        }))
    }

    #[test]
    fn a_build_is_told_in_one_line() {
        assert_eq!(
            sample().summary(Duration::from_millis(12_300)),
            "104 units in 12.3 s: 90 on workers, 4 cached here, 6 cached in the farm, 4 compiled here; \
             11 run plainly (link 10, asm 1); 2 let down by the farm (worker-lost 2); 1 failed to compile"
        );
        assert_eq!(Stats::default().summary(Duration::ZERO), "0 units in 0.0 s");
        assert!(Stats::default().hint().is_some() && sample().hint().is_none());
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut now = sample();
        now.remote += 5;
        now.refused.insert("stdin".into(), 2);
        let new = now.since(&sample());
        assert_eq!((new.remote, new.units(), new.requests), (5, 5, 0));
        assert_eq!(new.refused, BTreeMap::from([("stdin".to_owned(), 2)]));
        assert_eq!(Stats::default().since(&sample()), Stats::default());
        assert_eq!(sample().since(&Stats { remote: 1000, ..Stats::default() }).remote, 90, "counters were set to zero");
    }

    #[test]
    fn a_build_with_many_reasons_stays_one_line() {
        let refused: BTreeMap<String, u64> = (0..9).map(|n| (format!("r{n}"), 9 - n)).collect();
        let line = Stats { refused, ..Stats::default() }.summary(Duration::ZERO);
        assert!(line.ends_with("45 run plainly (r0 9, r1 8, r2 7, r3 6, r4 5, others 10)"), "{line}");
    }
}
