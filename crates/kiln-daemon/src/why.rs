//! Why each input of a unit is there, for `kiln explain --inputs`: the unit's command is read again, on the files as they are now. Runs no
//! compile and writes nothing; units on their way pay nothing for it.

use kiln_cmdline::Invocation;
use kiln_frame::{Compile, Hello};
use kiln_scan::{Closure, FileId, Reason};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use crate::action::Analysed;
use crate::analyse::absolute;
use crate::daemon::Daemon;
use crate::files::open_regular;
use crate::inputs::Form;
use crate::journal::{Unit, is_whole};
use crate::unit;

/// Most inputs told of: the answer is one frame of 8 MiB, and an input some 200 bytes.
const INPUTS_MAX: usize = 30_000;

/// Most of a file that is searched for a condition; headers are some KiB.
const TEXT_MAX: u64 = 4 << 20;

/// Answers with the inputs of the last unit named by the first of `args`; the rest is the asker's environment.
pub(crate) async fn inputs(daemon: &Arc<Daemon>, hello: &Hello, args: &[Vec<u8>]) -> Value {
    let [name, env @ ..] = args else { return json!({ "error": "the request is not understood" }) };
    let name = String::from_utf8_lossy(name);
    let Some(story) = daemon.journal.find(&name, &|file| daemon.files.file_path(file)).into_iter().next() else {
        return Value::Null;
    };
    let cannot = |why: &str| json!({ "source": story.source, "error": why });
    if story.action.is_empty() {
        return cannot("it was not analysed to its end: it has no inputs");
    }
    if !is_whole(&story.args) {
        return cannot("its command was too long to be remembered");
    }
    let mut hello = hello.clone();
    match rustix::fs::stat(story.cwd.as_str()) {
        Ok(stat) => hello.view.cwd = kiln_frame::FileId { dev: stat.st_dev, ino: stat.st_ino },
        Err(error) => return cannot(&format!("{}: {error}", story.cwd)),
    }
    let work = match unit::analyse(daemon, &hello, request(&story, env), None).await {
        Err(refused) => return cannot(&format!("it would run here now: {}: {}", refused.reason, refused.detail)),
        Ok((work, _)) => work,
    };
    match work.units.iter().find(|unit| unit.unit.source == story.source) {
        Some(unit) => told(daemon, &story, unit),
        None => cannot("its command has no such source now"),
    }
}

/// The command as it was given, in the environment it had as far as that decides a result, and the asker's besides.
fn request(story: &Unit, env: &[Vec<u8>]) -> Compile {
    let is_known = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        story.env.iter().any(|(known, _)| known.as_bytes() == name)
    };
    let mut pairs: Vec<Vec<u8>> = env.iter().filter(|pair| !is_known(pair)).cloned().collect();
    pairs.extend(story.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()));
    Compile {
        compiler: story.compiler.clone().into_bytes(),
        args: story.args.iter().map(|arg| arg.clone().into_bytes()).collect(),
        cwd: story.cwd.clone().into_bytes(),
        env: pairs,
        terminal: None,
        under_slot: None,
        depth: 0,
        stdin: None,
    }
}

fn told(daemon: &Daemon, story: &Unit, unit: &Analysed) -> Value {
    let mut inputs = closure(&unit.closure, &unit.unit, &story.cwd);
    let scanned: BTreeSet<FileId> = unit.closure.files.iter().map(|file| file.file).collect();
    for (file, _) in unit.blobs.files().filter(|(file, _)| !scanned.contains(file)) {
        let Some(path) = daemon.files.file_path(file) else { continue };
        inputs.push(json!({ "path": &*path, "why": named(&path, &unit.unit, &story.cwd) }));
    }
    let own = unit.toolchain.entries.iter().filter(|entry| matches!(entry, kiln_toolchain::Entry::File { .. })).count();
    let more = inputs.len().saturating_sub(INPUTS_MAX);
    inputs.truncate(INPUTS_MAX);
    json!({
        "source": story.source,
        "cwd": story.cwd,
        "unchanged": unit.action_digest.to_string() == story.action,
        "found": match &unit.form {
            Form::Scanned => "by kiln".to_owned(),
            Form::Listed(why) => format!("by the compiler's own list: {why}"),
        },
        "inputs": inputs,
        "left_out": more,
        "compilers_own_files": own,
        "uploaded": { "blobs": story.uploaded_blobs, "bytes": story.uploaded_bytes, "files": story.uploaded_files },
    })
}

/// The files of a closure: each with what names it, and the index of the file in which that stands.
fn closure(closure: &Closure, unit: &Invocation, cwd: &str) -> Vec<Value> {
    let one = |file: &kiln_scan::File| {
        let mut told = json!({ "path": &*file.path, "why": word(file, unit) });
        if let Some(from) = file.from {
            told["from"] = from.into();
            if let Some(by) = closure.files.get(from as usize) {
                told["by"] = (&*by.path).into();
                if file.line > 0 {
                    told["line"] = file.line.into();
                } else if let Some((line, operator)) = condition(&absolute(cwd, &by.path), &file.path) {
                    told["line"] = line.into();
                    if file.reason == Reason::Probed {
                        told["why"] = operator.into();
                    }
                }
            }
        }
        told
    };
    closure.files.iter().map(one).collect()
}

/// The first condition in the file at `path` that looks for `name`, its line and its operator: the scanner keeps no lines of conditions.
fn condition(path: &str, name: &str) -> Option<(u32, &'static str)> {
    let (file, _) = open_regular(path).ok()?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let name = name.rsplit('/').next().unwrap_or_default();
    let looks = |line: &str| {
        let operator = OPERATORS.into_iter().find(|operator| line.contains(operator))?;
        line.contains(name).then_some(operator)
    };
    let (at, operator) = text.lines().enumerate().find_map(|(at, line)| Some((at, looks(line)?)))?;
    Some((u32::try_from(at + 1).ok()?, operator))
}

/// What looks for a file in a condition; the first of a line counts.
const OPERATORS: [&str; 3] = ["__has_include_next", "__has_include", "__has_embed"];

fn word(file: &kiln_scan::File, unit: &Invocation) -> &'static str {
    match file.reason {
        Reason::Source => "the source",
        Reason::Forced => {
            let by_option = |name: &str| *file.path == *name || file.path.ends_with(&format!("/{name}"));
            let option = unit.forced_includes.iter().find(|include| by_option(&include.name));
            match option {
                Some(include) if include.macros_only => "-imacros",
                Some(_) => "-include",
                None => "the compiler's own choice",
            }
        }
        Reason::Included => "#include",
        Reason::Probed => "__has_include",
        Reason::Embedded => "#embed",
        Reason::Assembled => ".incbin",
        Reason::Precompiled => "precompiled header",
    }
}

/// What names a file that no text of the unit does.
fn named(path: &str, unit: &Invocation, cwd: &str) -> &'static str {
    let is_among = |names: &[String]| names.iter().any(|name| absolute(cwd, name) == path);
    let below = |dirs: &[String]| dirs.iter().any(|dir| path.starts_with(&format!("{}/", absolute(cwd, dir))));
    match () {
        () if is_among(&unit.response_files) => "a response file",
        () if is_among(&unit.specs) => "-specs",
        () if is_among(&unit.precompiled) => "precompiled header",
        () if is_among(&unit.input_files) || below(&unit.input_dirs) => "an option's file (a profile, a list, a plan)",
        () => "the compiler reads it by itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_with_its_operator() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.h");
        let text = "#include <a.h>\n#if __has_include_next(<next.h>)\n#elif __has_include(<maybe.h>)\n#elif __has_embed(\"d.bin\")\n#endif\n";
        std::fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("UTF-8");
        for (name, found) in [
            ("/x/next.h", Some((2, "__has_include_next"))),
            ("maybe.h", Some((3, "__has_include"))),
            ("x/d.bin", Some((4, "__has_embed"))),
            ("a.h", None),
        ] {
            assert_eq!(condition(path, name), found, "{name}");
        }
    }
}
