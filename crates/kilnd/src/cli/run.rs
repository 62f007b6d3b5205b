//! `kiln run -- COMMAND`: the build with kiln's links first in PATH, and a line at the end. Knows no unit.

use std::ffi::OsString;
use std::time::Duration;
use std::time::Instant;

use super::child;
use super::child::Ended;
use super::links;
use super::place;
use super::stale;
use super::stats::Stats;
use super::talk::Asker;
use crate::exit::Exit;

/// `kiln run`.
///
/// # Errors
/// The user wants builds to fail where kiln cannot help, and there are no links to run with.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<Exit> {
    let dir = match links::run_dir() {
        Ok(dir) => dir,
        Err(error) if place::variable("KILN_FALLBACK").is_some_and(|fallback| fallback == "fail") => return Err(error),
        Err(error) => {
            // The build goes on as it would without kiln.
            eprintln!("kiln: no links to run with, compiling plainly: {error:#}");
            return Ok(match child::run(command, &[])? {
                Ended::Ran(status) => child::end_as(status),
                Ended::Not(exit) => exit,
            });
        }
    };
    let asker = Asker::new();
    if let Err(error) = asker.ensure_daemon() {
        // The build goes on as it would without kiln.
        eprintln!("kiln: no daemon, compiling plainly: {error:#}");
    }
    if let Some(line) = stale::line_of(&asker) {
        eprintln!("kiln: {line}");
    }
    let before = counters(&asker);
    let begin = Instant::now();
    let ended = child::run(command, &[("PATH", place::path_with(&dir)?)])?;
    let took = begin.elapsed();
    let Ended::Ran(status) = ended else {
        let Ended::Not(exit) = ended else { unreachable!("it ran or it did not") };
        return Ok(exit);
    };
    match (before, counters(&asker)) {
        (before, Some(after)) => tell(&after.since(&before.unwrap_or_default()), took),
        (_, None) => match super::talk::last_error() {
            Some(why) => eprintln!("kiln: no daemon: {why}"),
            None => eprintln!("kiln: no daemon ran; everything was compiled plainly"),
        },
    }
    Ok(child::end_as(status))
}

/// Says how a build went.
pub(crate) fn tell(stats: &Stats, took: Duration) {
    eprintln!("kiln: {}", stats.summary(took));
    if let Some(hint) = stats.hint() {
        eprintln!("kiln: {hint}");
    }
}

/// The daemon's counters, if it answers.
pub(crate) fn counters(asker: &Asker) -> Option<Stats> {
    asker.ask("stats", &[]).ok().flatten().map(|answer| Stats::read(&answer))
}
