//! The command line of `kilnd`, its flags made from the table of keys. Knows what each word starts, not what it does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;

use crate::config::KEYS;
use crate::config::Sources;
use crate::config::reference;
use crate::config::resolve;
use crate::exit::Exit;
use crate::exit::say;
use crate::manual;
use crate::roles::Role;
use crate::roles::Start;
use crate::secrets;

/// Runs a command line.
pub(crate) fn run(argv: Vec<OsString>) -> Exit {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) => {
            // Nothing can be done where the terminal does not take it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    match matches.subcommand() {
        Some(("reference", _)) => {
            print!("{}", reference());
            Exit::Success
        }
        Some(("host-root", _)) => ended(host_root()),
        Some(("manual", matches)) => {
            let dir = matches.get_one::<PathBuf>("dir").cloned().unwrap_or_else(|| PathBuf::from("."));
            ended(manual::write(&dir, command()))
        }
        Some(("cert", matches)) => ended(secrets::cert(matches)),
        Some(("token", matches)) => ended(secrets::token(matches)),
        Some((word, matches)) => match Role::ALL.into_iter().find(|role| role.name() == word) {
            Some(role) => start(role, matches),
            None => Exit::Usage,
        },
        None => Exit::Usage,
    }
}

fn ended(outcome: anyhow::Result<()>) -> Exit {
    match outcome {
        Ok(()) => Exit::Success,
        Err(error) => say(&format!("{error:#}"), Exit::Failure),
    }
}

fn host_root() -> anyhow::Result<()> {
    let seen = kiln_worker::HostRoot::of_plain_actions().look()?;
    println!("{}", seen.digest.hex());
    Ok(())
}

fn start(role: Role, matches: &ArgMatches) -> Exit {
    let ready_fd = matches.get_one::<i32>("ready-fd").copied();
    let sources = Sources::of_process(flags(role, matches), matches.get_one::<PathBuf>("config").cloned());
    let check = matches.get_flag("check");
    let outcome = resolve(&sources).map_err(anyhow::Error::from).and_then(|settings| {
        let unknown = sources.unknown_variables();
        let start = Start { role, settings, ready_fd, unknown };
        if check { start.check() } else { start.run() }
    });
    match outcome {
        Ok(()) => Exit::Success,
        Err(error) => {
            let line = format!("{error:#}");
            if let Some(fd) = ready_fd {
                // Whoever waits there has gone if it does not take it.
                let _ = kiln_frame::report_ready(fd, Err(&line));
            }
            say(&line, Exit::Failure)
        }
    }
}

/// Flags given, by their full name.
fn flags(role: Role, matches: &ArgMatches) -> BTreeMap<String, String> {
    let given = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned();
    let short = |flag: &str| flag.strip_prefix(role.name()).and_then(|rest| rest.strip_prefix('-')).and_then(given);
    let value = |flag: String| given(&flag).or_else(|| short(&flag)).map(|value| (flag, value));
    KEYS.iter().filter_map(|key| value(key.flag())).collect()
}

pub(crate) fn command() -> Command {
    let roles = Role::ALL.into_iter().map(role_command);
    Command::new("kilnd")
        .about("All services of kiln, a compile farm and compile cache for C and C++")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(roles)
        .subcommand(Command::new("host-root").about(
            "Print the digest of this machine's own files as plain REAPI actions see them, for the platform property kiln-host-root",
        ))
        .subcommand(secrets::cert_command())
        .subcommand(secrets::token_command())
        .subcommand(
            Command::new("manual")
                .about("Write the manual pages into a directory")
                .arg(Arg::new("dir").value_name("DIR").value_parser(clap::value_parser!(PathBuf)).default_value("."))
                .hide(true),
        )
        .subcommand(Command::new("reference").about("Print the reference of all settings").hide(true))
}

fn role_command(role: Role) -> Command {
    let mut command = Command::new(role.name())
        .about(role.about())
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Read this file alone"),
        )
        .arg(Arg::new("check").long("check").action(ArgAction::SetTrue).help("Read everything, say what is wrong, start nothing"))
        .arg(Arg::new("ready-fd").long("ready-fd").value_parser(clap::value_parser!(i32)).hide(true));
    for key in KEYS {
        let (flag, own) = (key.flag(), key.section == role.name());
        let full = Arg::new(flag.clone()).long(flag).value_name("VALUE").help(key.doc);
        if own {
            let name = key.name.replace('_', "-");
            command = command.arg(full.hide(true));
            command = command.arg(Arg::new(name.clone()).long(name).value_name("VALUE").help(key.doc));
        } else {
            command = command.arg(full.help_heading(format!("[{}]", key.section)));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Role, BTreeMap<String, String>) {
        let matches = command().try_get_matches_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        let (word, matches) = matches.subcommand().unwrap();
        let role = Role::ALL.into_iter().find(|role| role.name() == word).unwrap();
        (role, flags(role, matches))
    }

    #[test]
    fn the_commands_are_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_roles_own_keys_need_no_prefix() {
        let (_, flags) = read("kilnd worker --slots 8 --farm-schedulers a:1 --worker-dedicated true");
        let expect = [("farm-schedulers", "a:1"), ("worker-dedicated", "true"), ("worker-slots", "8")];
        assert_eq!(flags, expect.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        let (_, flags) = read("kilnd all --worker-slots 8 --daemon-slots 2");
        assert_eq!(flags.len(), 2);
        assert!(command().try_get_matches_from(["kilnd", "all", "--slots", "8"]).is_err(), "whose?");
    }
}
