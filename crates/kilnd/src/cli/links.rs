//! Masquerade directories: links to `kiln` under the names of the compilers that PATH has. Knows names, runs nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;

use super::place;
use crate::exit::Exit;

/// Names that the wrapper takes for compilers but that gain nothing yet.
const LEFT_ALONE: [&str; 2] = ["nvcc", "rustc"];

/// Entries looked at in one directory of PATH: ten times a full `/usr/bin`.
const ENTRIES_MAX: usize = 50_000;

pub(crate) fn command() -> Command {
    Command::new("links")
        .about("Make links (gcc, g++, ...) to put first in PATH")
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where; made if it is missing"),
        )
        .arg(
            Arg::new("local")
                .long("local")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Also link this other command (ld, moc, python3), to run here under a slot; may be repeated"),
        )
}

/// `kiln links DIR`.
///
/// # Errors
/// A link cannot be made.
pub(crate) fn links(matches: &ArgMatches) -> anyhow::Result<Exit> {
    let dir = matches.get_one::<PathBuf>("dir").context("DIR is missing")?;
    let dir = std::path::absolute(dir)?;
    let target = place::kiln()?;
    let mut names = compilers(&target);
    let local = matches.get_many::<String>("local").unwrap_or_default();
    for name in local {
        anyhow::ensure!(!name.is_empty() && !name.contains('/'), "`{name}` is no name of a command");
        names.insert(name.clone());
    }
    make(&dir, &target, &names, false)?;
    println!("{}", names.into_iter().collect::<Vec<_>>().join(" "));
    eprintln!("kiln: links are in {}: put it first in PATH", dir.display());
    Ok(Exit::Success)
}

/// The directory of links that `kiln run` puts first in PATH, brought up to date.
///
/// # Errors
/// It cannot be made, or there is no wrapper to link to.
pub(crate) fn run_dir() -> anyhow::Result<PathBuf> {
    let dir = place::state_dir().join("links");
    make_for(&dir)?;
    Ok(dir)
}

/// Makes `dir` hold a link for each compiler in PATH, and none besides.
///
/// # Errors
/// As [`run_dir`].
pub(crate) fn make_for(dir: &Path) -> anyhow::Result<()> {
    let target = place::kiln()?;
    make(dir, &target, &compilers(&target), true)
}

/// Names of compilers in PATH, wherever they do not lead to the wrapper itself.
pub(crate) fn compilers(wrapper: &Path) -> BTreeSet<String> {
    let wrapper = std::fs::canonicalize(wrapper).ok();
    let mut names = BTreeSet::new();
    for dir in std::env::split_paths(&place::variable("PATH").unwrap_or_default()).filter(|dir| dir.is_absolute()) {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.take(ENTRIES_MAX).flatten() {
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            if names.contains(text) || LEFT_ALONE.contains(&text) || !kiln::is_compiler(name.as_bytes()) {
                continue;
            }
            let file = entry.path();
            let own = wrapper.is_some() && std::fs::canonicalize(&file).ok() == wrapper;
            if !own && file.is_file() && kiln_frame::sys::may_execute(&file) {
                names.insert(text.to_owned());
            }
        }
    }
    names
}

/// Makes `dir` hold links to `target` under `names`. Where `exactly`, other links in it go; nothing but links is touched.
fn make(dir: &Path, target: &Path, names: &BTreeSet<String>, exactly: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut there: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)?.take(ENTRIES_MAX).flatten() {
        if let (Ok(name), Ok(link)) = (entry.file_name().into_string(), std::fs::read_link(entry.path())) {
            there.insert(name, link);
        }
    }
    for name in names.iter().filter(|name| there.get(*name).map(PathBuf::as_path) != Some(target)) {
        // Renamed into place: a build that runs from this directory never misses its compiler.
        let aside = dir.join(format!(".{name}.{}", std::process::id()));
        let _ = std::fs::remove_file(&aside);
        let link = std::os::unix::fs::symlink(target, &aside).and_then(|()| std::fs::rename(&aside, dir.join(name)));
        link.with_context(|| format!("cannot link {}", dir.join(name).display()))?;
    }
    for name in there.keys().filter(|name| exactly && !names.contains(*name)) {
        // Another run may have removed it already.
        let _ = std::fs::remove_file(dir.join(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_of_links_follows_the_compilers_and_the_wrapper() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("links");
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        make(&dir, Path::new("/old/kiln"), &names(&["gcc", "g++", "clang"]), true).unwrap();
        std::fs::write(dir.join("note"), "mine").unwrap();
        make(&dir, Path::new("/new/kiln"), &names(&["gcc", "cc"]), true).unwrap();
        assert_eq!(links(&dir), ["cc", "gcc", "note"]);
        assert_eq!(std::fs::read_link(dir.join("gcc")).unwrap(), Path::new("/new/kiln"));
        make(&dir, Path::new("/new/kiln"), &names(&["ld"]), false).unwrap();
        assert_eq!(links(&dir), ["cc", "gcc", "ld", "note"]);
    }
}
