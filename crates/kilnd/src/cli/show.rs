//! `kiln stats`, `status`, `explain`: the daemon's answers for people or as JSON. Knows what is shown first.

use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use serde_json::Value;

use super::print;
use super::stale;
use super::stats::Stats;
use super::talk;
use super::talk::Asker;
use crate::exit::Exit;

/// `kiln stats [--json] [--zero]`.
///
/// # Errors
/// No daemon answers.
pub(crate) fn stats(json: bool, zero: bool) -> anyhow::Result<Exit> {
    let answer = Asker::new().ask_running(if zero { "zero" } else { "stats" }, &[])?;
    if json {
        out_json(&answer)
    } else {
        out(&Stats::read(&answer).table())
    }
    Ok(Exit::Success)
}

/// `kiln status [--json]`.
///
/// # Errors
/// The daemon does not answer as one does.
pub(crate) fn status(json: bool) -> anyhow::Result<Exit> {
    let asker = Asker::new();
    let Some(answer) = asker.ask("status", &[])? else {
        let why = talk::last_error();
        if json {
            out_json(&serde_json::json!({ "daemon": null, "last_error": why }));
        } else {
            out("no daemon runs; a compile or kiln daemon start starts one\n");
            if let Some(why) = why {
                out(&format!("the last command that asked for it went without: {why}\n"));
            }
        }
        return Ok(Exit::Failure);
    };
    if json {
        out_json(&answer)
    } else {
        out(&super::status::text(&answer));
        if let Some(line) = stale::line_of(&asker) {
            out(&format!("{line}\n"));
        }
    }
    Ok(Exit::Success)
}

/// `kiln explain FILE | --last N`.
///
/// # Errors
/// No daemon answers.
pub(crate) fn explain(file: Option<&String>, last: Option<u32>, json: bool) -> anyhow::Result<Exit> {
    let asker = Asker::new();
    let answer = match file {
        Some(file) => {
            // The daemon stands elsewhere.
            let path = std::path::absolute(file).with_context(|| file.clone())?;
            let answer = asker.ask_running("explain", &[path.as_os_str().as_bytes()])?;
            // A name that is no path from here may still be the end of one.
            if is_nothing(&answer) { asker.ask_running("explain", &[file.as_bytes()])? } else { answer }
        }
        None => {
            let count = last.unwrap_or(1).to_string();
            asker.ask_running("explain", &[b"--last", count.as_bytes()])?
        }
    };
    if json {
        out_json(&answer);
    } else if is_nothing(&answer) {
        out("nothing is known of that unit: the daemon remembers the last few thousand\n");
    } else {
        out(&explained(&answer));
    }
    Ok(if is_nothing(&answer) { Exit::Failure } else { Exit::Success })
}

fn units(answer: &Value) -> &[Value] {
    let list = answer.as_array().or_else(|| answer.get("units").and_then(Value::as_array));
    list.map(Vec::as_slice).unwrap_or_default()
}

fn is_nothing(answer: &Value) -> bool {
    units(answer).is_empty()
}

/// Each unit: what became of it in a line, then what is known.
fn explained(answer: &Value) -> String {
    let mut text = String::new();
    for unit in units(answer) {
        let field = |name: &str| unit.get(name).and_then(Value::as_str).map(print::plain).unwrap_or_default();
        let name = [field("source"), field("output"), field("compiler")].into_iter().find(|name| !name.is_empty());
        let reason = field("reason");
        let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        text.push_str(&format!("{}: {}{why}\n", name.unwrap_or_default(), field("went")));
        let mut rest = unit.clone();
        if let Value::Object(fields) = &mut rest {
            for shown in ["source", "went", "reason", "read", "differs", "uploaded_files"] {
                fields.remove(shown);
            }
            // `--last` tells none, and those of old units are forgotten: that is no unit without inputs.
            let inputs = fields.remove("inputs");
            if let Some(Value::Array(inputs)) = inputs
                && !inputs.is_empty()
            {
                let count = print::count(inputs.len() as u64, "file");
                fields.insert("inputs".to_owned(), format!("{count} (kiln explain --inputs FILE tells of each)").into());
            }
        }
        let mut lines = print::lines(&rest);
        lines.push_str(&how_read(unit));
        lines.push_str(&differences(unit));
        for line in lines.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn list<'a>(unit: &'a Value, name: &str) -> &'a [Value] {
    unit.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Each word of the command and what it means.
fn how_read(unit: &Value) -> String {
    let cell = |read: &Value, name: &str| read.get(name).and_then(Value::as_str).map(print::plain).unwrap_or_default();
    let rows: Vec<Vec<String>> =
        list(unit, "read").iter().map(|read| vec![format!("  {}", cell(read, "words")), cell(read, "meaning")]).collect();
    if rows.is_empty() { String::new() } else { format!("how the command was read:\n{}", print::table(&["", ""], &rows)) }
}

/// What made the key another than last time.
fn differences(unit: &Value) -> String {
    let told: Vec<String> =
        list(unit, "differs").iter().filter_map(Value::as_str).map(|one| format!("  {}\n", print::plain(one))).collect();
    if told.is_empty() { String::new() } else { format!("in what the key differs from the last one:\n{}", told.concat()) }
}

fn out(text: &str) {
    print!("{text}");
}

fn out_json(value: &Value) {
    println!("{value:#}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_unit_is_explained_by_its_end_first() {
        let unit = json!({"source": "a.c", "output": "a.o", "went": "fallback", "reason": "worker-lost", "exit": 0,
            "attempts": [], "inputs": ["/a.c"]});
        for answer in [json!([unit]), json!({ "units": [unit] })] {
            assert!(!is_nothing(&answer));
            assert_eq!(
                explained(&answer),
                "a.c: fallback (worker-lost)\n  exit    0\n  inputs  1 file (kiln explain --inputs FILE tells of each)\n  output  a.o\n"
            );
        }
        let unit = json!({"source": "a.c", "went": "hit", "read": [{"words": "-O2", "meaning": "code"}, {"words": "a.c", "meaning": "source: c"}],
            "differs": ["argument added: -O2"]});
        assert_eq!(
            explained(&json!([unit])),
            "a.c: hit\n  how the command was read:\n    -O2  code\n    a.c  source: c\n  in what the key differs from the last one:\n    argument added: -O2\n"
        );
        let unit = json!({"source": "a.c", "went": "local", "reason": "farm-full", "exit": 0, "inputs": []});
        assert_eq!(explained(&json!([unit])), "a.c: local (farm-full)\n  exit  0\n", "inputs that are not told are not counted");
        assert!(is_nothing(&json!([])) && is_nothing(&json!({"units": []})));
    }
}
