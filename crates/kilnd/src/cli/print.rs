//! Text for people: aligned tables, numbers with units, JSON as plain lines. Knows no meaning and no colour.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

/// Rows under a head, each column as wide as its widest cell; numbers stand right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).filter(|head| head.iter().any(|cell| !cell.is_empty())).chain(rows) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            let gap = if at == 0 { "" } else { "  " };
            let numeric = cell.starts_with(|char: char| char.is_ascii_digit());
            let parts = if numeric && at > 0 { [gap, &pad, cell] } else { [gap, cell, &pad] };
            line.extend(parts);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1.5 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut whole, mut unit) = (count as f64, 0);
    while whole >= 1000.0 && unit + 1 < UNITS.len() {
        whole /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{whole:.1} {}", UNITS[unit]) }
}

/// `12.3 s`, `4 min 5 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = time.as_secs();
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole / 60 % 60)
    }
}

/// `1 unit`, `2 units`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What a service says, as plain lines: values under their names, lists of records as tables.
pub(crate) fn lines(value: &Value) -> String {
    let mut text = String::new();
    put(&mut text, value, 0);
    text
}

/// JSON of a service nests a few deep; deeper is cut.
const DEPTH_MAX: usize = 6;

fn put(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(fields) = value else {
        put_line(text, depth, &scalar(value));
        return;
    };
    let said = fields.iter().filter(|(_, value)| is_scalar(value) && !scalar(value).is_empty());
    let width = said.map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields.iter().filter(|(_, value)| is_scalar(value)) {
        let value = scalar(value);
        if !value.is_empty() {
            put_line(text, depth, &format!("{:width$}  {value}", title(name)));
        }
    }
    for (name, value) in fields.iter().filter(|(_, value)| !is_scalar(value)) {
        match value {
            Value::Array(items) if items.is_empty() => {}
            Value::Object(inner) if inner.is_empty() => {}
            _ if depth >= DEPTH_MAX => put_line(text, depth, &format!("{}  {value}", title(name))),
            Value::Array(items) => {
                put_line(text, depth, &format!("{}:", title(name)));
                put_items(text, items, depth + 1);
            }
            _ => {
                put_line(text, depth, &format!("{}:", title(name)));
                put(text, value, depth + 1);
            }
        }
    }
}

fn put_items(text: &mut String, items: &[Value], depth: usize) {
    let records: Vec<_> = items.iter().filter_map(Value::as_object).collect();
    if records.len() < items.len() {
        items.iter().for_each(|item| put(text, item, depth));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for name in records.iter().flat_map(|record| record.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    // A column that says nothing anywhere is no column.
    let cell = |record: &serde_json::Map<String, Value>, name: &str| record.get(name).map(scalar).unwrap_or_default();
    names.retain(|name| records.iter().any(|record| !cell(record, name).is_empty()));
    let head: Vec<String> = names.iter().map(|name| title(name)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = records.iter().map(|record| names.iter().map(|name| cell(record, name)).collect()).collect();
    for line in table(&head, &rows).lines() {
        put_line(text, depth, line);
    }
}

fn put_line(text: &mut String, depth: usize, line: &str) {
    // A string takes everything.
    let _ = writeln!(text, "{:1$}{line}", "", depth * 2);
}

fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()) && items.len() <= 8,
        Value::Object(_) => false,
        _ => true,
    }
}

/// One cell. Control characters do not reach the terminal: file names and remote texts may hold anything.
fn scalar(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{} {}", title(name), scalar(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    };
    plain(&text)
}

/// `text` without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn title(name: &str) -> String {
    plain(&name.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = [vec!["a".to_owned(), "7".to_owned()], vec!["longer".to_owned(), "1234".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name    n\na          7\nlonger  1234\n");
        assert_eq!(table(&["", ""], &rows), "a          7\nlonger  1234\n");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!([bytes(999), bytes(1_000), bytes(5 << 30)], ["999 B", "1.0 KB", "5.0 GB"]);
        assert_eq!(time(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(time(Duration::from_secs(245)), "4 min 5 s");
        assert_eq!(time(Duration::from_secs(7300)), "2 h 1 min");
        assert_eq!([count(1, "unit"), count(0, "unit")], ["1 unit", "0 units"]);
    }

    #[test]
    fn any_answer_is_readable_and_harmless() {
        let answer = json!({
            "version": "0.1.0", "empty": null, "none": [],
            "workers": [{"name": "w1", "slots": 8, "why": ""}, {"name": "\u{1b}[2Jw2", "slots": 16, "why": "disk full"}],
            "local": {"heavy_slots": 2},
        });
        assert_eq!(
            lines(&answer),
            "version  0.1.0\nlocal:\n  heavy slots  2\nworkers:\n  name    slots  why\n  w1          8\n   [2Jw2     16  disk full\n"
        );
    }
}
