//! `kiln explain --inputs FILE`: what a unit reads, what names each file and where, and what was sent. Knows the answer's shape alone.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;

use anyhow::Context;
use serde_json::Value;

use super::print;
use super::talk::Asker;
use crate::exit::Exit;

/// Deepest nesting that is indented: gcc's own bound on includes is 200, and a line has room for less.
const DEPTH_MAX: usize = 20;

/// `kiln explain --inputs FILE [--json]`.
///
/// # Errors
/// No daemon answers.
pub(crate) fn inputs(file: &str, json: bool) -> anyhow::Result<Exit> {
    let asker = Asker::new();
    let env: Vec<Vec<u8>> = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'=')).collect();
    let ask = |name: &[u8]| {
        let args: Vec<&[u8]> = std::iter::once(name).chain(env.iter().map(Vec::as_slice)).collect();
        asker.ask_running("inputs", &args)
    };
    let path = std::path::absolute(file).with_context(|| file.to_owned())?;
    // A name that is no path from here may still be the end of one.
    let answer = match ask(path.as_os_str().as_bytes())? {
        Value::Null => ask(file.as_bytes())?,
        answer => answer,
    };
    let known = answer.get("inputs").is_some();
    match (json, &answer) {
        (true, _) => println!("{answer:#}"),
        (false, Value::Null) => println!("nothing is known of that unit: the daemon remembers the last few thousand"),
        (false, _) => print!("{}", text(&answer)),
    }
    Ok(if known { Exit::Success } else { Exit::Failure })
}

/// Each file below the one that names it, in the order of the text.
fn text(answer: &Value) -> String {
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(print::plain).unwrap_or_default();
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let source = field(answer, "source");
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return format!("{source}: {}\n", print::plain(error));
    }
    let inputs = answer.get("inputs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let state = match answer.get("unchanged").and_then(Value::as_bool) {
        Some(true) => "as it was compiled",
        _ => "as it would be compiled now: its files, its compiler or the environment have changed since",
    };
    let mut text = format!("{source}: {}, found {}, {state}\n", print::count(inputs.len() as u64, "file"), field(answer, "found"));
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
    let mut pending: Vec<(usize, usize)> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        match input.get("from").and_then(Value::as_u64).and_then(|from| usize::try_from(from).ok()).filter(|from| *from < index) {
            Some(from) => below[from].push(index),
            None => pending.push((index, 1)),
        }
    }
    pending.reverse();
    while let Some((index, depth)) = pending.pop() {
        let input = &inputs[index];
        let line = match number(input, "line") {
            0 => String::new(),
            line => format!(", line {line}"),
        };
        let indent = "  ".repeat(depth.min(DEPTH_MAX));
        text.push_str(&format!("{indent}{}  ({}{line})\n", field(input, "path"), field(input, "why")));
        pending.extend(below[index].iter().rev().map(|below| (*below, depth + 1)));
    }
    if number(answer, "left_out") > 0 {
        text.push_str(&format!("  and {} more\n", number(answer, "left_out")));
    }
    text.push_str(&format!("the compiler's own: {}\n", print::count(number(answer, "compilers_own_files"), "file")));
    text.push_str(&sent(answer.get("uploaded").unwrap_or(&Value::Null)));
    text
}

/// What was sent for the unit, with the names that are remembered.
fn sent(uploaded: &Value) -> String {
    let number = |name: &str| uploaded.get(name).and_then(Value::as_u64).unwrap_or(0);
    if number("blobs") == 0 {
        return "sent: nothing\n".to_owned();
    }
    let files = uploaded.get("files").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut text =
        format!("sent: {}, {}, files among them:\n", print::count(number("blobs"), "blob"), print::bytes(number("bytes")));
    for file in files.iter().filter_map(Value::as_str) {
        text.push_str(&format!("  {}\n", print::plain(file)));
    }
    if files.is_empty() {
        text.push_str("  none, only messages\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_file_stands_below_what_names_it() {
        let answer = json!({"source": "a.c", "unchanged": true, "found": "by kiln", "compilers_own_files": 90, "left_out": 0,
            "inputs": [
                {"path": "a.c", "why": "the source"},
                {"path": "p.h", "why": "-include"},
                {"path": "x.h", "why": "#include", "from": 0, "by": "a.c", "line": 3},
                {"path": "z.h", "why": "__has_include", "from": 0, "by": "a.c", "line": 5},
                {"path": "y.h", "why": "#include", "from": 2, "by": "x.h", "line": 1},
                // No file comes before what names it.
                {"path": "odd.h", "why": "#include", "from": 9}],
            "uploaded": {"blobs": 4, "bytes": 2048, "files": ["/p/a.c"]}});
        assert_eq!(
            text(&answer),
            "a.c: 6 files, found by kiln, as it was compiled\n  a.c  (the source)\n    x.h  (#include, line 3)\n      y.h  (#include, line 1)\n    \
             z.h  (__has_include, line 5)\n  p.h  (-include)\n  odd.h  (#include)\nthe compiler's own: 90 files\n\
             sent: 4 blobs, 2.0 KB, files among them:\n  /p/a.c\n"
        );
        assert_eq!(text(&json!({"source": "a.c", "error": "it is gone"})), "a.c: it is gone\n");
        assert_eq!(sent(&json!({"blobs": 0})), "sent: nothing\n");
        assert!(sent(&json!({"blobs": 2, "bytes": 9, "files": []})).contains("none, only messages"));
    }
}
