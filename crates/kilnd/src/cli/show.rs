//! `kiln stats`, `status`, `explain`: the daemon's answers for people or as JSON. Knows what is shown first.

use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use serde_json::Value;

use super::print;
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
                out(&format!("the last start failed: {why}\n"));
            }
        }
        return Ok(Exit::Failure);
    };
    if json {
        out_json(&answer)
    } else {
        out(&print::lines(&answer))
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
            for shown in ["source", "went", "reason"] {
                fields.remove(shown);
            }
            if let Some(Value::Array(inputs)) = fields.get("inputs") {
                let count = print::count(inputs.len() as u64, "file");
                fields.insert("inputs".to_owned(), format!("{count} (--json names them)").into());
            }
        }
        for line in print::lines(&rest).lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
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
                "a.c: fallback (worker-lost)\n  exit    0\n  inputs  1 file (--json names them)\n  output  a.o\n"
            );
        }
        assert!(is_nothing(&json!([])) && is_nothing(&json!({"units": []})));
    }
}
