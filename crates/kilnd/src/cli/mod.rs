//! The heavy words of `kiln`: `kiln WORD ARGS` becomes `kilnd cli WORD ARGS`. Knows the words; each has a file of its own.

mod capture;
mod child;
mod daemon;
mod demo;
mod doctor;
mod inputs;
mod links;
mod place;
mod print;
mod run;
mod show;
mod slots;
mod stale;
mod stats;
mod status;
mod talk;
mod verify;

use std::ffi::OsString;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;

use crate::exit::Exit;
use crate::exit::say;
use crate::secrets;

pub(crate) use verify::is_shim;
pub(crate) use verify::shim;

/// Runs `ARGS` of `kilnd cli ARGS`. Called while the process has one thread.
pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Nothing can be done where the terminal does not take it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let outcome = match matches.subcommand() {
        Some(("run", matches)) => run::run(&words(matches, "command")),
        Some(("stats", matches)) => show::stats(matches.get_flag("json"), matches.get_flag("zero")),
        Some(("status", matches)) => show::status(matches.get_flag("json")),
        Some(("explain", matches)) => match matches.get_one::<String>("inputs") {
            Some(file) => inputs::inputs(file, matches.get_flag("json")),
            None => {
                show::explain(matches.get_one::<String>("file"), matches.get_one::<u32>("last").copied(), matches.get_flag("json"))
            }
        },
        Some(("doctor", _)) => doctor::doctor(),
        Some(("slots", matches)) => slots::slots(matches.get_flag("json")),
        Some(("links", matches)) => links::links(matches),
        Some(("daemon", matches)) => daemon::daemon(matches),
        Some(("verify", matches)) => verify::verify(&words(matches, "command")),
        Some(("capture", matches)) => capture::capture(matches),
        Some(("demo", matches)) => demo::demo(matches),
        Some(("cert", matches)) => secrets::cert(matches).map(|()| Exit::Success),
        _ => return Exit::Usage,
    };
    outcome.unwrap_or_else(|error| say(&format!("{error:#}"), Exit::Failure))
}

fn words(matches: &ArgMatches, name: &str) -> Vec<OsString> {
    matches.get_many::<OsString>(name).unwrap_or_default().cloned().collect()
}

fn command() -> Command {
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
    let rest = || {
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(1..)
            .required(true)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
            .value_parser(clap::value_parser!(OsString))
            .help("The build")
    };
    Command::new("kiln")
        .bin_name("kiln")
        .about("A compile farm and compile cache for C and C++")
        .subcommand_required(true)
        .subcommand(Command::new("run").about("Run a build with kiln as its compilers, and say how it went").arg(rest()))
        .subcommand(
            Command::new("stats")
                .about("Counters since zero")
                .arg(json())
                .arg(Arg::new("zero").long("zero").action(ArgAction::SetTrue).help("Set them to zero, after showing them")),
        )
        .subcommand(Command::new("status").about("Daemon, schedulers, workers").arg(json()))
        .subcommand(
            Command::new("explain")
                .about("Why a unit went where it went")
                .arg(Arg::new("file").value_name("FILE").help("A source or an output"))
                .arg(
                    Arg::new("last")
                        .long("last")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u32))
                        .conflicts_with("file")
                        .help("The last N units"),
                )
                .arg(
                    Arg::new("inputs")
                        .long("inputs")
                        .value_name("FILE")
                        .conflicts_with_all(["file", "last"])
                        .help("Each file that the unit of FILE reads, what names it and where, and what was sent of it"),
                )
                .arg(json()),
        )
        .subcommand(Command::new("doctor").about("What is wrong, and how to mend it"))
        .subcommand(Command::new("slots").about("The -j to use").arg(json()))
        .subcommand(links::command())
        .subcommand(daemon::command())
        .subcommand(Command::new("verify").about("Run a build, compiling each unit both ways and comparing").arg(rest()))
        .subcommand(capture::command())
        .subcommand(demo::command())
        .subcommand(secrets::cert_command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_builds_own_words_are_left_alone() {
        for line in [["kiln", "run", "make", "-j4", "--json"].as_slice(), &["kiln", "run", "--", "make", "-j4", "--json"]] {
            let matches = command().try_get_matches_from(line).unwrap();
            let words = words(matches.subcommand().unwrap().1, "command");
            assert_eq!(words, ["make", "-j4", "--json"]);
        }
    }
}
