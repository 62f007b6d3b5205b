//! Settings changed since the daemon was started: it goes by those of then. Changes nothing.

use std::collections::BTreeMap;

use super::talk::Asker;
use crate::config::{Sources, resolve};

/// A line where the running daemon was started with other settings than hold now; none where there is no daemon, or none can be
/// read.
pub(crate) fn line_of(asker: &Asker) -> Option<String> {
    let then = serde_json::from_value(asker.ask("settings", &[]).ok()??).ok()?;
    let now = resolve(&Sources::of_process(BTreeMap::new(), None)).ok()?;
    line(&then, &now.of_daemon)
}

fn line(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let other: Vec<&str> = now.iter().filter(|(key, value)| then.get(*key) != Some(value)).map(|(key, _)| key.as_str()).collect();
    let verb = if other.len() == 1 { "is" } else { "are" };
    (!other.is_empty()).then(|| {
        format!(
            "settings: {} {verb} not what the daemon was started with; kiln daemon restart takes what holds now",
            other.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_differ_are_named() {
        let settings = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let then = settings(&[("farm.schedulers", ""), ("tls.ca", "/a"), ("daemon.slots", "0")]);
        assert_eq!(line(&then, &then), None);
        let now = settings(&[("farm.schedulers", "s:1"), ("tls.ca", "/b"), ("daemon.slots", "0")]);
        let said = line(&then, &now).expect("two differ");
        assert!(said.starts_with("settings: farm.schedulers, tls.ca are not"), "{said}");
        let one = settings(&[("farm.schedulers", ""), ("tls.ca", "/a"), ("daemon.slots", "4")]);
        assert!(line(&then, &one).expect("one differs").starts_with("settings: daemon.slots is not"));
    }
}
