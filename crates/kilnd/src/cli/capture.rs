//! `kiln capture -- COMPILER ARGS`: a directory that replays one unit and tells what kiln decided about it. Asks the daemon, reads
//! what a job would see, and writes it down; compiles nothing.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::bail;
use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use kiln_cas::Digest;
use kiln_cmdline::EnvEffect;
use kiln_cmdline::env_effect;
use serde_json::Value;
use serde_json::json;

use super::place;
use super::talk::Asker;
use crate::exit::Exit;

/// Directories tried for a name that is free.
const NAMES_MAX: u32 = 10_000;
/// Largest file taken because a refused command names it.
const NAMED_FILE_MAX: u64 = 64 << 20;
/// Variables that are written down besides those that mean something to a compiler.
const VARIABLES: [&str; 2] = ["PATH", "TMPDIR"];

pub(crate) fn command() -> Command {
    Command::new("capture")
        .about("Write a directory that replays one compile and kiln's decision on it")
        .arg(
            Arg::new("dir")
                .short('o')
                .long("output")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where; kiln-capture-N in this directory where it is not given"),
        )
        .arg(Arg::new("toolchain").long("toolchain").action(ArgAction::SetTrue).help("Take the compiler's own files too"))
        .arg(
            Arg::new("command")
                .value_name("COMPILER")
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(clap::value_parser!(OsString))
                .help("The compile"),
        )
}

/// `kiln capture [-o DIR] [--toolchain] -- COMPILER ARGS`.
///
/// # Errors
/// There is no such compiler, no daemon, or no room.
pub(crate) fn capture(matches: &ArgMatches) -> anyhow::Result<Exit> {
    let words: Vec<OsString> = matches.get_many::<OsString>("command").unwrap_or_default().cloned().collect();
    let (name, args) = words.split_first().context("a compiler is missing")?;
    let asker = Asker::new();
    asker.ensure_daemon()?;
    let unit = Captured::new(&asker, name, args)?;
    let dir = match matches.get_one::<PathBuf>("dir") {
        Some(dir) => {
            fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            std::path::absolute(dir)?
        }
        None => free_dir()?,
    };
    unit.write(&dir, matches.get_flag("toolchain"))?;
    println!("{}", dir.display());
    Ok(Exit::Success)
}

fn free_dir() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    for number in 1..NAMES_MAX {
        let dir = here.join(format!("kiln-capture-{number}"));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir.clone()).with_context(|| format!("cannot make {}", dir.display())),
        }
    }
    bail!("too many captures here: name one with -o")
}

/// One command and the daemon's answer to it.
struct Captured {
    compiler: PathBuf,
    args: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    answer: Value,
}

impl Captured {
    fn new(asker: &Asker, name: &OsStr, args: &[OsString]) -> anyhow::Result<Captured> {
        let (compiler, path) = place::real_compiler(name)?;
        let cwd = std::env::current_dir()?;
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| name != "PATH").collect();
        env.push(("PATH".into(), path));
        env.sort();
        let count = args.len().to_string();
        let pairs: Vec<Vec<u8>> = env.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect();
        let mut question: Vec<&[u8]> = vec![compiler.as_os_str().as_bytes(), cwd.as_os_str().as_bytes(), count.as_bytes()];
        question.extend(args.iter().map(|arg| arg.as_bytes()));
        question.extend(pairs.iter().map(Vec::as_slice));
        let answer = asker.ask_running("capture", &question)?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            bail!("the daemon: {error}");
        }
        // What means nothing to a compiler stays out: it may be a secret.
        env.retain(|(name, _)| {
            let name = name.to_string_lossy();
            VARIABLES.contains(&&*name) || env_effect(&name) != EnvEffect::Irrelevant
        });
        Ok(Captured { compiler, args: args.to_vec(), cwd, env, answer })
    }

    fn units(&self) -> &[Value] {
        self.answer["units"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn write(mut self, dir: &Path, with_toolchain: bool) -> anyhow::Result<()> {
        let root = dir.join("root");
        fs::create_dir_all(below(&root, &self.cwd))?;
        for unit in self.units() {
            for entry in unit["root"].as_array().into_iter().flatten() {
                if with_toolchain || entry["toolchain"] != true {
                    enter(&root, entry).with_context(|| entry["path"].to_string())?;
                }
            }
        }
        if self.units().is_empty() {
            self.enter_named(&root);
        }
        // The texts of files that stand nowhere are in the root now.
        for unit in self.answer["units"].as_array_mut().into_iter().flatten() {
            for entry in unit["root"].as_array_mut().into_iter().flatten() {
                entry.as_object_mut().map(|entry| entry.remove("text"));
            }
        }
        fs::write(dir.join("capture.json"), format!("{:#}\n", self.told()))?;
        fs::write(dir.join("README"), README)?;
        fs::write(dir.join("run"), self.script())?;
        fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Of a command that kiln refuses nobody knows the inputs: the files that it names are taken.
    fn enter_named(&self, root: &Path) {
        for arg in &self.args {
            let name = arg.as_bytes().strip_prefix(b"@").unwrap_or(arg.as_bytes());
            let path = self.cwd.join(OsStr::from_bytes(name));
            let Ok(meta) = fs::metadata(&path) else { continue };
            if meta.is_file() && meta.len() <= NAMED_FILE_MAX {
                let to = below(root, &path);
                // A file that cannot be taken is missed when the capture is replayed.
                let _ = to.parent().map(fs::create_dir_all);
                let _ = fs::copy(&path, &to);
            }
        }
    }

    fn told(&self) -> Value {
        let text = |text: &OsStr| text.to_string_lossy().into_owned();
        let system = rustix::system::uname();
        let first_line = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
        let version = std::process::Command::new(&self.compiler).arg("--version").output();
        json!({
            "kiln": env!("CARGO_PKG_VERSION"),
            "system": format!("{} {} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy(),
                system.machine().to_string_lossy()),
            "compiler": self.compiler,
            "compiler_version": version.map(|output| first_line(output.stdout)).unwrap_or_default(),
            "arguments": self.args.iter().map(|arg| text(arg)).collect::<Vec<_>>(),
            "working_directory": self.cwd,
            "environment": self.env.iter().map(|(name, value)| (text(name), text(value))).collect::<Vec<_>>(),
            "decision": self.answer,
        })
    }

    /// The script that compiles plainly what was captured.
    fn script(&self) -> Vec<u8> {
        let mut script = SCRIPT_BEGIN.as_bytes().to_vec();
        script.extend_from_slice(b"cwd=");
        script.extend_from_slice(&quoted(self.cwd.as_os_str().as_bytes()));
        script.extend_from_slice(b"\nset -- \"$@\"");
        for word in [self.compiler.as_os_str()].into_iter().chain(self.args.iter().map(OsString::as_os_str)) {
            script.push(b' ');
            script.extend_from_slice(&quoted(word.as_bytes()));
        }
        script.extend_from_slice(b"\nset --");
        for (name, value) in &self.env {
            script.push(b' ');
            script.extend_from_slice(&quoted(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
        }
        script.extend_from_slice(b" setarch -R \"$@\"\n");
        script.extend_from_slice(SCRIPT_END.as_bytes());
        script
    }
}

/// Where `path` goes below `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Writes one entry of the input root.
fn enter(root: &Path, entry: &Value) -> anyhow::Result<()> {
    let path = below(root, Path::new(entry["path"].as_str().context("an entry without a path")?));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if entry["directory"] == true {
        return Ok(fs::create_dir_all(&path)?);
    }
    if let Some(target) = entry["target"].as_str() {
        // Several units of one command share most of their roots.
        return match std::os::unix::fs::symlink(target, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        };
    }
    let expected = entry["digest"].as_str().unwrap_or_default();
    let (bytes, time) = match (entry["from"].as_str(), entry["text"].as_str()) {
        (Some(from), _) => (fs::read(from)?, fs::metadata(from)?.modified()?),
        (None, text) => (text.unwrap_or_default().as_bytes().to_vec(), SystemTime::now()),
    };
    anyhow::ensure!(Digest::of(&bytes).to_string() == expected, "changed while it was captured");
    fs::write(&path, bytes)?;
    let mode = if entry["executable"] == true { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    let time = told_time(entry).unwrap_or(time);
    Ok(fs::File::options().append(true).open(&path)?.set_modified(time)?)
}

/// The time that is part of the file's identity, where it is.
fn told_time(entry: &Value) -> Option<SystemTime> {
    let [seconds, nanoseconds] = entry["mtime"].as_array()?.as_slice() else { return None };
    let nanoseconds = u32::try_from(nanoseconds.as_u64()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds.as_i64()?).ok()?, nanoseconds))
}

/// A word as a shell takes it for itself.
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

/// What every capture says of itself.
const README: &str = "\
A compile that kiln captured, with all that it reads.

run           compiles it plainly: the captured files at their own paths, above this machine's; outputs go to out/.
              Words before it stand before the compiler: `./run strace -f`, `./run kiln`.
capture.json  the command, its environment (only what means something to a compiler), versions, and kiln's decision:
              the reason it was refused, or each unit's action with every entry of its input root.
root/         the files that a job would see; the compiler's own are among them if it was made with --toolchain.

Where kiln refused the command, nobody knows its inputs: the files that it names are here and no others.
";

const SCRIPT_BEGIN: &str = "\
#!/bin/sh
# Compiles what was captured here, plainly: in namespaces of its own, the captured files above this machine's.
set -eu
here=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd -P)
";

const SCRIPT_END: &str = "\
work=$(mktemp -d)
trap 'rm -rf \"$work\"' EXIT
mkdir -p \"$here/out\"
code=0
here=$here work=$work cwd=$cwd unshare --user --map-root-user --mount sh -euc '
  mount -t tmpfs kiln \"$work\"
  cd \"$work\"
  mkdir r u w m
  mount --bind \"$here/root\" r
  for at in /* r/*; do
    name=${at##*/}
    if [ -L \"$at\" ] && [ ! -e \"m/$name\" ]; then
      ln -s \"$(readlink \"$at\")\" \"m/$name\"
    elif [ -d \"$at\" ] && [ ! -e \"m/$name\" ]; then
      mkdir -p \"m/$name\" \"u/$name\" \"w/$name\"
      # A directory with other file systems in it cannot lie below: then it is as it was captured, or as it is.
      [ -d \"r/$name\" ] || { mount --rbind \"/$name\" \"m/$name\"; continue; }
      upper=upperdir=u/$name,workdir=w/$name,userxattr
      mount -t overlay kiln -o \"lowerdir=r/$name:/$name,$upper\" \"m/$name\" 2>/dev/null ||
        { rm -rf \"u/$name\" \"w/$name\"; mkdir \"u/$name\" \"w/$name\"; mount -t overlay kiln -o \"lowerdir=r/$name,$upper\" \"m/$name\"; }
    fi
  done
  code=0
  # An ordinary user has no chroot in PATH.
  PATH=$PATH:/usr/sbin:/sbin chroot m /usr/bin/env -C \"$cwd\" -i \"$@\" || code=$?
  cd u
  find . -type f -exec cp -p --parents {} \"$here/out\" \\;
  exit $code
' sh \"$@\" || code=$?
exit $code
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted(b"it's $x\n"), b"'it'\\''s $x\n'");
        assert_eq!(quoted(b""), b"''");
    }

    #[test]
    fn what_changed_meanwhile_is_not_captured() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.h");
        fs::write(&file, "one").unwrap();
        let entry = json!({ "path": "/p/a.h", "digest": Digest::of(b"one").to_string(), "from": file, "executable": false,
            "mtime": [1_000_000_000, 5] });
        let root = dir.path().join("root");
        enter(&root, &entry).unwrap();
        let at = fs::metadata(root.join("p/a.h")).unwrap().modified().unwrap();
        assert_eq!(at, SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5));
        fs::write(&file, "two").unwrap();
        assert!(enter(&root, &entry).is_err());
    }
}
