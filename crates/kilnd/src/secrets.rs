//! `kilnd cert` and `kilnd token`: makes what a small farm needs to trust itself. Writes files of secrets with mode 0600.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use kiln_rpc::Role;
use kiln_rpc::Token;
use kiln_rpc::cert;

/// Names of the CA's files.
const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

pub(crate) fn cert_command() -> Command {
    let dir = || Arg::new("dir").long("dir").value_name("DIR").value_parser(clap::value_parser!(PathBuf)).default_value(".");
    Command::new("cert")
        .about("Make a private CA and certificates for a small farm")
        .subcommand_required(true)
        .subcommand(
            Command::new("ca")
                .about("Make a CA: ca.pem goes to every machine, ca.key stays here")
                .arg(dir().help("Where to write ca.pem and ca.key"))
                .arg(Arg::new("name").long("name").default_value("kiln farm").help("What to call it")),
        )
        .subcommand(
            Command::new("node")
                .about("Make a certificate: NAME.pem and NAME.key for a service, or for a user or worker to show")
                .arg(Arg::new("name").required(true).value_name("NAME").help("What to call its bearer"))
                .arg(dir().help("Where ca.pem and ca.key are, and where to write"))
                .arg(
                    Arg::new("host")
                        .long("host")
                        .value_name("HOST")
                        .action(ArgAction::Append)
                        .help("Name or address at which it is reached as a server; may be repeated"),
                )
                .arg(Arg::new("role").long("role").value_name("ROLE").help("What it may do as a client: user, worker or admin")),
        )
}

pub(crate) fn token_command() -> Command {
    Command::new("token").about("Make bearer tokens").subcommand_required(true).subcommand(
        Command::new("new")
            .about("Make a token: a line for the file of [auth] credentials")
            .arg(Arg::new("role").long("role").required(true).value_name("ROLE").help("user, worker or admin"))
            .arg(Arg::new("name").long("name").required(true).value_name("NAME").help("Who will show it"))
            .arg(
                Arg::new("file")
                    .long("file")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Append to this file, made with mode 600, instead of printing"),
            ),
    )
}

/// `kilnd cert ...`.
///
/// # Errors
/// A file is there already, is missing, or cannot be written.
pub(crate) fn cert(matches: &ArgMatches) -> anyhow::Result<()> {
    match matches.subcommand() {
        Some(("ca", matches)) => {
            let dir = dir(matches);
            let made = cert::make_ca(text(matches, "name"))?;
            write_new(&dir.join(CA_KEY), &made.key, 0o600)?;
            write_new(&dir.join(CA_CERT), &made.cert, 0o644)?;
            eprintln!("kiln: wrote {} (keep it here) and {}", dir.join(CA_KEY).display(), dir.join(CA_CERT).display());
            Ok(())
        }
        Some(("node", matches)) => node(matches),
        _ => bail!("cert ca or cert node"),
    }
}

fn node(matches: &ArgMatches) -> anyhow::Result<()> {
    let (dir, name) = (dir(matches), text(matches, "name"));
    if name.is_empty() || name.contains(['/', '\0']) || name == "ca" {
        bail!("`{name}` names the files as well: no slash, not `ca`");
    }
    let role = matches.get_one::<String>("role").map(|role| role.parse::<Role>().map_err(anyhow::Error::msg)).transpose()?;
    let hosts: Vec<String> = matches.get_many::<String>("host").unwrap_or_default().cloned().collect();
    if role.is_none() && hosts.is_empty() {
        bail!("a certificate is for a server (--host NAME), for a client (--role ROLE), or for both");
    }
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read_to_string(&path).with_context(|| format!("{}: make a CA first: kilnd cert ca", path.display()))
    };
    let ca = cert::Made { cert: read(CA_CERT)?, key: read(CA_KEY)? };
    let made = cert::make_node(&ca, name, role, &hosts)?;
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    write_new(&key, &made.key, 0o600)?;
    write_new(&cert, &made.cert, 0o644)?;
    eprintln!("kiln: wrote {} and {}", cert.display(), key.display());
    Ok(())
}

/// `kilnd token new ...`.
///
/// # Errors
/// The role is none; the file cannot be written or is not private.
pub(crate) fn token(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some(("new", matches)) = matches.subcommand() else { bail!("token new") };
    let role: Role = text(matches, "role").parse().map_err(anyhow::Error::msg)?;
    let name = text(matches, "name");
    if name.is_empty() || name.contains(char::is_whitespace) || name.starts_with('#') {
        bail!("`{name}`: a name is one word");
    }
    let line = format!("{role} {name} {}\n", Token::random().expose());
    let Some(path) = matches.get_one::<PathBuf>("file") else {
        print!("{line}");
        return Ok(());
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(line.as_bytes())?;
    // Says at once what the server would say.
    kiln_rpc::Credentials::from_file(path)?;
    Ok(())
}

fn dir(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("dir").cloned().unwrap_or_else(|| PathBuf::from("."))
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map(String::as_str).unwrap_or_default()
}

/// Writes a file that is not there yet: a key that is in use is not to be lost by a second call.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = open.with_context(|| format!("cannot make {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}
