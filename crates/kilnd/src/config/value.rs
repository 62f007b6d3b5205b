//! Text to typed values, by kind. Knows no key and no file.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use kiln_rpc::Address;
use kiln_rpc::Network;

use super::table::Kind;

/// A value of some kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Path(Option<PathBuf>),
    Addresses(Vec<Address>),
    Address(Option<Address>),
    Networks(Vec<Network>),
    Names(Vec<String>),
    Size(u64),
    Time(Duration),
    Count(u64),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: ToString>(items: &[T]) -> String {
            items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
        }
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Path(path) => write!(f, "{}", path.as_deref().unwrap_or(Path::new("")).display()),
            Value::Addresses(addresses) => f.write_str(&list(addresses)),
            Value::Address(address) => f.write_str(&list(address.as_slice())),
            Value::Networks(networks) => f.write_str(&list(networks)),
            Value::Names(names) => f.write_str(&list(names)),
            Value::Size(number) | Value::Count(number) => write!(f, "{number}"),
            Value::Time(time) => write!(f, "{} ms", time.as_millis()),
            Value::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// A value as written: a list stands apart from a text, for only some kinds take one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    One(String),
    List(Vec<String>),
}

/// Reads a value; `home` is what `~` stands for.
///
/// # Errors
/// What is wrong, without the key.
pub(crate) fn parse(kind: Kind, written: &Written, home: Option<&Path>) -> Result<Value, String> {
    match (kind, written) {
        (Kind::Addresses, _) => items(written).iter().map(|item| address(item)).collect::<Result<_, _>>().map(Value::Addresses),
        (Kind::Networks, _) => {
            let network = |item: &String| item.parse::<Network>().map_err(|error| error.to_string());
            items(written).iter().map(network).collect::<Result<_, _>>().map(Value::Networks)
        }
        (Kind::Names, _) => Ok(Value::Names(items(written))),
        (_, Written::List(_)) => Err("one value is wanted, not a list".to_owned()),
        (kind, Written::One(text)) => single(kind, text.trim(), home),
    }
}

fn single(kind: Kind, text: &str, home: Option<&Path>) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Path if text.is_empty() => Ok(Value::Path(None)),
        Kind::Path => path(text, home).map(|path| Value::Path(Some(path))),
        Kind::Address if text.is_empty() => Ok(Value::Address(None)),
        Kind::Address => address(text).map(|address| Value::Address(Some(address))),
        Kind::Size => size(text).map(Value::Size),
        Kind::Time => time(text).map(Value::Time),
        Kind::Count(least, most) => match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Count(number)),
            _ => Err(format!("`{text}` is no whole number from {least} to {most}")),
        },
        Kind::Bool => match text {
            "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
            _ => Err(format!("`{text}` is neither true nor false")),
        },
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => {
            let hint = super::suggest::nearest(text, words.iter().copied());
            let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            Err(format!("`{text}` is none of {}{hint}", words.join(", ")))
        }
        Kind::Addresses | Kind::Networks | Kind::Names => parse(kind, &Written::One(text.to_owned()), home),
    }
}

/// The items of a list, or of a text with commas or spaces between them.
fn items(written: &Written) -> Vec<String> {
    match written {
        Written::List(items) => items.clone(),
        Written::One(text) => {
            let split = text.split([',', ' ']).map(str::trim);
            split.filter(|item| !item.is_empty()).map(str::to_owned).collect()
        }
    }
}

fn address(text: &str) -> Result<Address, String> {
    text.parse::<Address>().map_err(|error| error.to_string())
}

fn path(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(below) = text.strip_prefix("~/") {
        return home.map(|home| home.join(below)).ok_or_else(|| format!("`{text}`: HOME is not set"));
    }
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("`{text}` is relative: a service has no directory of its own")) }
}

/// A number and what follows it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("`{text}` is no size; write 500M, 20G, 1T")),
    };
    let number = number.parse::<u64>().map_err(|_| format!("`{text}` is no size; write 500M, 20G, 1T"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no time; write 500ms, 30s, 20m, 8h");
    let (number, unit) = split_unit(text);
    let number = number.parse::<u64>().map_err(|_| bad())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(bad()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(kind: Kind, text: &str, expect: Value) {
        assert_eq!(parse(kind, &Written::One(text.to_owned()), Some(Path::new("/home/u"))), Ok(expect));
    }

    #[track_caller]
    fn bad(kind: Kind, text: &str, part: &str) {
        let error = parse(kind, &Written::One(text.to_owned()), None).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn sizes_and_times_have_units() {
        good(Kind::Size, "0", Value::Size(0));
        good(Kind::Size, "20G", Value::Size(20 << 30));
        good(Kind::Size, "500 MiB", Value::Size(500 << 20));
        good(Kind::Size, "1kb", Value::Size(1024));
        bad(Kind::Size, "20X", "no size");
        bad(Kind::Size, "G", "no size");
        bad(Kind::Size, "-1G", "no size");
        bad(Kind::Size, "99999999999T", "too large");
        good(Kind::Time, "20m", Value::Time(Duration::from_secs(1200)));
        good(Kind::Time, "500ms", Value::Time(Duration::from_millis(500)));
        bad(Kind::Time, "20", "no time");
        bad(Kind::Time, "99999999999999999h", "no time");
    }

    #[test]
    fn lists_are_written_either_way() {
        let two = Value::Addresses(vec!["a:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
        good(Kind::Addresses, "a:1,[::1]:2", two.clone());
        good(Kind::Addresses, " a:1 [::1]:2 ", two.clone());
        good(Kind::Addresses, "", Value::Addresses(vec![]));
        let list = Written::List(vec!["a:1".into(), "[::1]:2".into()]);
        assert_eq!(parse(Kind::Addresses, &list, None), Ok(two));
        assert!(parse(Kind::Bool, &list, None).is_err());
        bad(Kind::Addresses, "a:1,b", "no port");
        bad(Kind::Networks, "10.0.0.0/99", "no network");
    }

    #[test]
    fn paths_do_not_depend_on_where_a_service_stands() {
        good(Kind::Path, "~/x", Value::Path(Some("/home/u/x".into())));
        good(Kind::Path, "", Value::Path(None));
        bad(Kind::Path, "x/y", "relative");
        bad(Kind::Path, "~/x", "HOME");
    }

    #[test]
    fn words_and_numbers_are_checked() {
        const MODES: Kind = Kind::Choice(&["silent", "warn", "fail"]);
        good(MODES, "warn", Value::Text("warn".into()));
        bad(MODES, "wrn", "did you mean `warn`?");
        good(Kind::Count(0, 9), "9", Value::Count(9));
        bad(Kind::Count(0, 9), "10", "from 0 to 9");
        bad(Kind::Count(0, 9), "many", "from 0 to 9");
        good(Kind::Bool, "yes", Value::Bool(true));
        bad(Kind::Bool, "maybe", "neither");
    }
}
