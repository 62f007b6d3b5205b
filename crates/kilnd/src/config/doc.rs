//! The reference of all keys, written from the table. Knows no file.

use std::fmt::Write as _;

use super::table::ENVIRONMENT_ONLY;
use super::table::KEYS;
use super::table::Kind;
use super::table::SECTIONS;

const INTRODUCTION: &str = "# Configuration

<!-- Written by `kilnd reference`; a test holds it fresh. Change crates/kilnd/src/config/table.rs instead. -->

Settings come from flags, then environment, then `kiln.toml`, then the defaults below. `/etc/kiln/kiln.toml` is read first,
`~/.config/kiln/kiln.toml` over it, key by key; `KILN_CONFIG` or `--config FILE` names one file to read instead of both.
An unknown key or a bad value is an error that names its line. `kilnd ROLE --check` reads everything, says what is wrong,
and starts nothing.

Each key is a variable, `KILN_SECTION_KEY`, and a flag of `kilnd`, `--section-key`; a role's own section needs no prefix:
`kilnd worker --slots 8`. Lists are written with commas there.

- Sizes: a number with K, M, G or T, in powers of 1,024.
- Times: a number with ms, s, m or h.
- Addresses: `host:port`, `[v6]:port` or `unix:/path`.
- Paths: absolute, or below `~/`.
";

const FALLBACK: &str = "
## When a unit falls back

A unit is let down by the farm when no worker could compile it. A compiler's own error, a command that is not distributed, and a
unit that runs here because the farm is full are none of that.

- `silent` and `warn`: after two workers failed it, or at once when no scheduler answers or no worker takes work, the unit is
  compiled here. `warn` says so in one line.
- `fail`: it is tried on as many as four workers, one after the other, and waits up to ten seconds for a farm that is not there: a
  scheduler or worker that restarts fails nothing. Then the command fails, with the reason. A toolchain that no worker can run
  fails at once.

Whatever is set: a unit whose compile ended in doubt on a worker (a limit, a signal, a crash of the compiler), and one whose files
changed while it was compiled, is compiled here again.
";

/// All of `docs/config.md`.
pub(crate) fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (section, about) in SECTIONS {
        put(
            &mut text,
            format_args!(
                "\n## [{section}]\n\n{about}\n\n| key | kind | default | variable | what it does |\n|---|---|---|---|---|\n"
            ),
        );
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            put(&mut text, format_args!("| `{}` | {} | {default} | `{}` | {} |\n", key.name, kind(key.kind), key.env(), key.doc));
        }
    }
    text.push_str(FALLBACK);
    text.push_str("\n## Variables that are no keys\n\nThe wrapper reads no file and must know these.\n\n| variable | what it does |\n|---|---|\n");
    for (name, doc) in ENVIRONMENT_ONLY {
        put(&mut text, format_args!("| `{name}` | {doc} |\n"));
    }
    text
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(part);
}

/// What may stand for a value of this kind.
pub(crate) fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Addresses => "addresses".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Networks => "networks".to_owned(),
        Kind::Names => "words".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Time => "time".to_owned(),
        Kind::Count(least, most) => format!("{least} to {most}"),
        Kind::Bool => "true, false".to_owned(),
        Kind::Choice(words) => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_in_the_documentation_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(path, super::reference()).expect("docs/config.md is written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, super::reference(), "docs/config.md is stale: KILN_BLESS=1 cargo test -p kilnd");
    }
}
