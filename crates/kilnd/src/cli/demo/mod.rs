//! `kiln demo`: an embedded farm, a build done plainly, cold and warm, and a comparison of all that was made. Knows how
//! to drive builds, not how units travel.

mod compare;
mod farm;
mod sample;

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use clap::Arg;
use clap::ArgMatches;
use clap::Command;

use super::links;
use super::place;
use super::print;
use super::stats::Stats;
use crate::exit::Exit;
use crate::lock;

/// Units of the sample project: three in five C, two in five C++.
const UNITS_DEFAULT: u32 = 200;
/// A sample that compiles for hours demonstrates nothing.
const UNITS_MAX: u32 = 5000;

pub(crate) fn command() -> Command {
    Command::new("demo")
        .about("A farm on this machine, a build plainly, cold and warm, and a comparison of every object")
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("A project to build, copied first; a generated one where none is named"),
        )
        .arg(
            Arg::new("units")
                .long("units")
                .value_name("N")
                .value_parser(clap::value_parser!(u32).range(2..=i64::from(UNITS_MAX)))
                .help("Units of the generated project"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(1..)
                .last(true)
                .value_parser(clap::value_parser!(OsString))
                .help("What builds the project; make where none is named"),
        )
}

/// `kiln demo [DIR] [-- COMMAND]`. Fails where a build fails or anything differs.
///
/// # Errors
/// The farm does not start, or a build cannot be run.
pub(crate) fn demo(matches: &ArgMatches) -> anyhow::Result<Exit> {
    let work = place::state_dir().join("demo");
    let _lock = lock::take(&work, "demo")?;
    for leftover in ["farm", "source", "build", "plain", "log"] {
        remove(&work.join(leftover))?;
    }
    let source = source(matches, &work)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let command: Vec<OsString> = match matches.get_many::<OsString>("command") {
        Some(words) => words.cloned().collect(),
        // Every core here, and the two workers' besides.
        None => vec!["make".into(), format!("-j{}", cores * 2).into()],
    };
    let build = Build { work: work.clone(), source, command };
    eprintln!("kiln: building plainly in {}", build.tree().display());
    let plain = build.run("plain", &[])?;
    compare::keep(&build.tree(), &work.join("plain"))?;
    eprintln!("kiln: plainly in {}; starting a scheduler, a cache, three workers and a daemon", print::time(plain));
    let farm = farm::Farm::start(&work.join("farm"), cores)?;
    let env = farm.environment()?;
    let mut rows = vec![row("plainly", plain, None, None)];
    let mut differing = Vec::new();
    for (name, what) in [("cold", "through kiln, nothing cached"), ("warm", "through kiln, again")] {
        let before = farm.counters()?;
        let took = build.run(name, &env)?;
        let stats = farm.counters()?.since(&before);
        let compared = compare::compare(&build.tree(), &work.join("plain"))?;
        eprintln!("kiln: {what}: {}", stats.summary(took));
        rows.push(row(what, took, Some(&stats), Some(&compared)));
        differing.extend(compared.differing);
    }
    farm.stop();
    let head = ["", "time", "on workers", "cached", "here", "plainly", "let down", "compared", "differing"];
    print!("{}", print::table(&head, &rows));
    for path in differing.iter().take(SHOWN_MAX) {
        println!("differs: {}", print::plain(&path.display().to_string()));
    }
    remove(&work.join("farm"))?;
    Ok(if differing.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Differing files named.
const SHOWN_MAX: usize = 20;

fn row(what: &str, took: Duration, stats: Option<&Stats>, compared: Option<&compare::Compared>) -> Vec<String> {
    let number = |pick: fn(&Stats) -> u64| stats.map(|stats| pick(stats).to_string()).unwrap_or_default();
    vec![
        what.to_owned(),
        print::time(took),
        number(|stats| stats.remote),
        number(Stats::hits),
        number(|stats| stats.local + stats.joined),
        number(|stats| stats.refused.values().sum()),
        number(|stats| stats.fallback.values().sum()),
        compared.map(|compared| compared.files.to_string()).unwrap_or_default(),
        compared.map(|compared| compared.differing.len().to_string()).unwrap_or_default(),
    ]
}

/// The project to build: the user's, or a generated one.
fn source(matches: &ArgMatches, work: &Path) -> anyhow::Result<PathBuf> {
    match matches.get_one::<PathBuf>("dir") {
        Some(dir) => {
            let dir = std::fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
            anyhow::ensure!(dir.is_dir(), "{} is no directory", dir.display());
            anyhow::ensure!(!work.starts_with(&dir), "{} holds kiln's own state", dir.display());
            Ok(dir)
        }
        None => {
            let dir = work.join("source");
            let units = matches.get_one::<u32>("units").copied().unwrap_or(UNITS_DEFAULT);
            let found = links::compilers(&place::kiln()?);
            anyhow::ensure!(found.contains("gcc") && found.contains("g++"), "the sample needs gcc and g++");
            sample::write(&dir, units)?;
            Ok(dir)
        }
    }
}

/// The same build, several times at the same place.
struct Build {
    work: PathBuf,
    source: PathBuf,
    command: Vec<OsString>,
}

impl Build {
    /// Where it is built: object files name this place.
    fn tree(&self) -> PathBuf {
        self.work.join("build")
    }

    /// Copies the source anew and builds it.
    fn run(&self, name: &str, env: &[(&str, OsString)]) -> anyhow::Result<Duration> {
        let tree = self.tree();
        remove(&tree)?;
        compare::copy(&self.source, &tree)?;
        let log = self.work.join(format!("log.{name}"));
        let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let (program, args) = self.command.split_first().context("a command is missing")?;
        let mut command = std::process::Command::new(program);
        command.args(args).current_dir(&tree).envs(env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begin = Instant::now();
        let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
        if !status.success() {
            bail!("the build {name} ended with {status}; see {}", log.display());
        }
        Ok(begin.elapsed())
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        _ => Ok(()),
    }
}
