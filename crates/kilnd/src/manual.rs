//! `kilnd manual DIR`: the manual pages, written from the commands and the table of keys. Knows roff, and nothing of services.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use clap::Command;

use crate::config::{KEYS, SECTIONS, words_of};

/// Writes all pages into `dir`.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn write(dir: &Path, kilnd: Command) -> anyhow::Result<()> {
    let mut pages = vec![("kiln.1".to_owned(), kiln()), ("kiln.toml.5".to_owned(), settings())];
    pages.extend(of_command(kilnd)?);
    for (name, page) in pages {
        let path = dir.join(name);
        std::fs::write(&path, page).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// `kilnd.1`, and `kilnd-ROLE.1` for each word that people use.
fn of_command(kilnd: Command) -> anyhow::Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    for word in kilnd.get_subcommands().filter(|word| !word.is_hide_set()) {
        let name = format!("kilnd-{}", word.get_name());
        pages.push((format!("{name}.1"), rendered(word.clone().name(name.clone()).bin_name(name.replace('-', " ")))?));
    }
    pages.push(("kilnd.1".to_owned(), rendered(kilnd)?));
    Ok(pages)
}

fn rendered(command: Command) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command).source(concat!("kiln ", env!("CARGO_PKG_VERSION"))).render(&mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

fn head(title: &str, section: u8, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{title}\" {section} \"\" \"kiln {version}\"\n.SH NAME\n{title} \\- {}\n", text(about))
}

/// The wrapper's own help, as it stands.
fn kiln() -> String {
    let mut page = head("kiln", 1, "a compile farm and compile cache for C and C++");
    page.push_str(".SH SYNOPSIS\n");
    for line in ["kiln COMPILER ARGS...", "kiln run [--] COMMAND...", "kiln WORD ARGS..."] {
        put(&mut page, format_args!(".B {}\n.br\n", text(line)));
    }
    page.push_str(".SH DESCRIPTION\n.nf\n");
    for line in kiln::HELP.lines().skip(2) {
        put(&mut page, format_args!("{}\n", text(line)));
    }
    page.push_str(".fi\n.SH SEE ALSO\n.BR kilnd (1),\n.BR kiln.toml (5)\n");
    page
}

/// Every key of the configuration.
fn settings() -> String {
    let mut page = head("kiln.toml", 5, "settings of kiln and kilnd");
    page.push_str(".SH DESCRIPTION\n");
    let about = "Settings come from flags, then environment, then /etc/kiln/kiln.toml, over which ~/.config/kiln/kiln.toml is read \
         key by key, then the defaults below. KILN_CONFIG names one file to read instead of both.";
    put(&mut page, format_args!("{}\n", text(about)));
    for (section, about) in SECTIONS {
        put(&mut page, format_args!(".SH [{}]\n{}\n", text(section), text(about)));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default = if key.default.is_empty() { "nothing" } else { key.default };
            let values = words_of(key.kind);
            put(
                &mut page,
                format_args!(
                    ".TP\n.B {}\n{}\n.br\n{}; default: {}; variable {}\n",
                    text(key.name),
                    text(key.doc),
                    text(&values),
                    text(default),
                    text(&key.env())
                ),
            );
        }
    }
    page.push_str(".SH SEE ALSO\n.BR kiln (1),\n.BR kilnd (1)\n");
    page
}

/// One line of text for roff: no character of it is a command.
fn text(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('`', "");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}

fn put(page: &mut String, part: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = page.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_command() {
        assert_eq!(text(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(text("a-b\\c"), "a\\-b\\ec");
    }

    #[test]
    fn every_key_and_word_is_in_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), crate::args::command()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let settings = read("kiln.toml.5");
        for key in KEYS {
            assert!(settings.contains(&text(&key.env())), "{}", key.env());
        }
        assert!(read("kiln.1").contains("kiln status"));
        assert!(read("kilnd.1").contains("scheduler"));
        assert!(read("kilnd-worker.1").contains("slots"));
    }
}
