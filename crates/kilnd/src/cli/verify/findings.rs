//! What the stand-ins of `kiln verify` found, as lines of a file and as a summary. Knows no compiler.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use crate::cli::print;
use crate::exit::Exit;
use crate::exit::say;

/// Most bytes of findings read: 100,000 units of a long path each.
const FINDINGS_MAX: u64 = 64 << 20;

/// One thing that a stand-in found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding<'a> {
    /// A unit whose two results are the same.
    Equal(&'a str),
    /// A unit that two plain compiles make different.
    Unstable(&'a str),
    /// A unit whose two results differ.
    Differs(&'a str),
    /// A command that is no single compile.
    Plain(&'a str),
    /// A unit whose inputs were listed by the compiler, too: files on its list, and files that kiln found.
    Inputs { listed: usize, found: usize },
    /// A unit and a file that the compiler lists and kiln did not find.
    Missed(&'a str),
}

impl Finding<'_> {
    /// Notes it in the file of findings: one line, written at once.
    pub(super) fn note(&self, dir: &Path) {
        let line = match self {
            Finding::Equal(what) => format!("equal\t{}", print::plain(what)),
            Finding::Unstable(what) => format!("unstable\t{}", print::plain(what)),
            Finding::Differs(what) => format!("differs\t{}", print::plain(what)),
            Finding::Plain(what) => format!("plain\t{}", print::plain(what)),
            Finding::Inputs { listed, found } => format!("inputs\t{listed} {found}"),
            Finding::Missed(what) => format!("missed\t{}", print::plain(what)),
        };
        let file = OpenOptions::new().append(true).create(true).open(dir.join(FILE));
        if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
            say(&format!("verify: a finding is lost: {error}: {line}"), Exit::Failure);
        }
    }
}

/// Name of the file of findings.
const FILE: &str = "findings";

/// All that the stand-ins found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    equal: usize,
    unstable: usize,
    not_compared: usize,
    pub(super) differing: Vec<String>,
    /// Units whose inputs were listed too; files on those lists; files that kiln found for them.
    listed_units: usize,
    listed: usize,
    found: usize,
    pub(super) missed: Vec<String>,
}

impl Findings {
    pub(super) fn read(dir: &Path) -> Findings {
        let mut text = Vec::new();
        if let Ok(file) = File::open(dir.join(FILE)) {
            let _ = file.take(FINDINGS_MAX).read_to_end(&mut text);
        }
        Findings::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Findings {
        let mut findings = Findings::default();
        for line in text.lines() {
            match line.split_once('\t') {
                Some(("equal", _)) => findings.equal += 1,
                Some(("unstable", _)) => findings.unstable += 1,
                Some(("differs", what)) => findings.differing.push(print::plain(what)),
                Some(("missed", what)) => findings.missed.push(print::plain(what)),
                Some(("inputs", counts)) => {
                    let mut counts = counts.split(' ').map(|count| count.parse().unwrap_or(0_usize));
                    findings.listed_units += 1;
                    findings.listed += counts.next().unwrap_or(0);
                    findings.found += counts.next().unwrap_or(0);
                }
                _ => findings.not_compared += 1,
            }
        }
        findings
    }

    /// Nothing differs and nothing was missed.
    pub(super) fn is_clean(&self) -> bool {
        self.differing.is_empty() && self.missed.is_empty()
    }

    pub(super) fn summary(&self) -> String {
        let mut line = format!(
            "{} compiled both ways: {} equal, {} differ",
            print::count((self.equal + self.unstable + self.differing.len()) as u64, "unit"),
            self.equal,
            self.differing.len()
        );
        if self.unstable > 0 {
            line.push_str(&format!(", {} differ between two plain compiles too", self.unstable));
        }
        if self.not_compared > 0 {
            line.push_str(&format!(
                "; {} no single compile and only run by kiln",
                print::count(self.not_compared as u64, "command")
            ));
        }
        if self.listed_units > 0 {
            line.push_str(&format!(
                "; inputs of {}: {} on the compiler's own lists, {} found by kiln, {} missed",
                print::count(self.listed_units as u64, "unit"),
                self.listed,
                self.found,
                self.missed.len()
            ));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_by_kind() {
        let text = "equal\ta.c (gcc)\nequal\tb.c (gcc)\nplain\tgcc\nunstable\tc.c (gcc)\ndiffers\td.c (g++): d.o: content\n\
                    inputs\t10 14\ninputs\t5 5\nmissed\ta.c (gcc): x.h\n";
        let findings = Findings::parse(text);
        assert_eq!(findings.missed, ["a.c (gcc): x.h"]);
        assert_eq!(findings.differing, ["d.c (g++): d.o: content"]);
        assert_eq!(
            findings.summary(),
            "4 units compiled both ways: 2 equal, 1 differ, 1 differ between two plain compiles too; \
             1 command no single compile and only run by kiln; \
             inputs of 2 units: 15 on the compiler's own lists, 19 found by kiln, 1 missed"
        );
    }
}
