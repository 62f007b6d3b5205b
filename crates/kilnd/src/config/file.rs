//! Reads one `kiln.toml` into sections, keys and written values with their lines. Knows the table; opens no file.

use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::resolve::ConfigError;
use super::suggest::nearest;
use super::table::KEYS;
use super::table::Key;
use super::table::SECTIONS;
use super::value::Written;

/// One key that a file sets.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) written: Written,
    pub(crate) line: usize,
}

/// Reads `text`, which stands in `path`.
///
/// # Errors
/// No TOML; sections and keys that are not in the table, each with what was probably meant.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let line_at = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let error = |line: usize, why: String| ConfigError::File { path: path.to_owned(), line, why };
    let document = DeTable::parse(text).map_err(|bad| {
        let line = bad.span().map_or(1, |span| line_at(span.start));
        error(line, bad.message().to_owned())
    })?;
    let mut entries = Vec::new();
    for (section, body) in document.get_ref() {
        let line = line_at(section.span().start);
        let section: &str = section.get_ref();
        let known = SECTIONS.iter().map(|(name, _)| *name);
        if !known.clone().any(|name| name == section) {
            return Err(error(line, unknown_section(section, body)));
        }
        let DeValue::Table(body) = body.get_ref() else {
            return Err(error(line, format!("`{section}` is a section: write [{section}] on a line of its own")));
        };
        for (name, value) in body {
            let line = line_at(name.span().start);
            let name: &str = name.get_ref();
            let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
                return Err(error(line, unknown_key(section, name)));
            };
            let written = written(value).ok_or_else(|| error(line, format!("[{section}] {name}: no table or date is wanted")))?;
            entries.push(Entry { key, written, line });
        }
    }
    Ok(entries)
}

fn unknown_section(section: &str, body: &Spanned<DeValue<'_>>) -> String {
    // A key above the first section is the usual slip.
    if !matches!(body.get_ref(), DeValue::Table(_))
        && let Some(key) = KEYS.iter().find(|key| key.name == section)
    {
        return format!("`{section}` stands outside of any section; it belongs under [{}]", key.section);
    }
    let hint = nearest(section, SECTIONS.iter().map(|(name, _)| *name));
    format!("unknown section [{section}]{}", did_you_mean(hint.map(|name| format!("[{name}]"))))
}

/// What to say of a key that is not in the table.
pub(crate) fn unknown_key(section: &str, name: &str) -> String {
    let near = nearest(name, KEYS.iter().filter(|key| key.section == section).map(|key| key.name));
    let hint = near.map(|near| format!("`{near}`")).or_else(|| {
        let elsewhere = KEYS.iter().find(|key| key.name == name);
        elsewhere.map(|key| format!("`{name}` under [{}]", key.section))
    });
    format!("[{section}] unknown key `{name}`{}", did_you_mean(hint))
}

fn did_you_mean(hint: Option<String>) -> String {
    hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default()
}

fn written(value: &Spanned<DeValue<'_>>) -> Option<Written> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect::<Option<_>>().map(Written::List),
        value => scalar(value).map(Written::One),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
