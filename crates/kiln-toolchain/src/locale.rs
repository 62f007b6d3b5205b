//! The files behind a locale: character tables, message catalogues, converters. Knows glibc's and gettext's rules, no compiler.

use crate::walk::Walker;
use crate::{LookupEnv, ToolchainError};
use std::path::Path;

/// Where glibc keeps locales, on every distribution kiln was tried on.
const LOCALE_DIR: &str = "/usr/lib/locale";

/// Where gettext looks for catalogues besides a compiler's own prefix; the second is Ubuntu's.
const CATALOGUE_DIRS: [&str; 2] = ["/usr/share/locale", "/usr/share/locale-langpack"];

/// Catalogues that gcc, binutils and libc write their messages from: names begin with one of these.
const CATALOGUES: [&str; 7] = ["gcc", "cpplib", "gas", "opcodes", "bfd", "binutils", "libc"];

/// The locale every root holds, so that `C` and `C.UTF-8` users share one toolchain.
const DEFAULT_LOCALE: &str = "C.UTF-8";

/// Enters what the tools read for the locale of `env`. `prefix` is the compiler's own (`/usr`, `/opt/gcc-13`), `libc_dir` where
/// its libc stands, `converts` whether options ask for character sets by name.
pub(crate) fn enter(
    walker: &mut Walker<'_>,
    env: &LookupEnv,
    prefix: &str,
    libc_dir: Option<&str>,
    converts: bool,
) -> Result<(), ToolchainError> {
    let ctype = env.category("LC_CTYPE");
    let messages = env.category("LC_MESSAGES");
    walker.enter("/usr/share/locale/locale.alias")?;
    for locale in [DEFAULT_LOCALE, ctype, messages] {
        if is_plain(locale) || locale.contains('/') {
            continue;
        }
        let mut found = false;
        for variant in variants(locale) {
            let dir = format!("{LOCALE_DIR}/{variant}");
            found |= walker.enter(&format!("{dir}/LC_CTYPE"))?.file().is_some();
            walker.enter(&format!("{dir}/LC_MESSAGES/SYS_LC_MESSAGES"))?;
        }
        // The archive comes before the directories, but it differs from machine to machine: left out where it adds nothing.
        let archived = format!("{LOCALE_DIR}/locale-archive");
        if !found || !is_default(locale) {
            walker.enter(&archived)?;
        }
    }
    enter_catalogues(walker, env, prefix)?;
    if let Some(dir) = libc_dir {
        let gconv = format!("{dir}/gconv");
        walker.enter(&format!("{gconv}/gconv-modules.cache"))?;
        if converts || [ctype, messages].iter().any(|locale| !is_plain(locale) && !is_utf8(locale)) {
            walker.enter_tree(&gconv, 2)?;
        }
    }
    Ok(())
}

fn enter_catalogues(walker: &mut Walker<'_>, env: &LookupEnv, prefix: &str) -> Result<(), ToolchainError> {
    let messages = env.category("LC_MESSAGES");
    if is_plain(messages) {
        return Ok(());
    }
    let languages = env.locale_variable("LANGUAGE").into_iter().flat_map(|list| list.split(':')).chain([messages]);
    let own = format!("{prefix}/share/locale");
    let dirs: Vec<&str> =
        CATALOGUE_DIRS.into_iter().chain([own.as_str()].into_iter().filter(|own| *own != CATALOGUE_DIRS[0])).collect();
    for language in languages.filter(|language| !language.is_empty() && !language.contains('/')) {
        for variant in variants(language) {
            for dir in &dirs {
                let dir = format!("{dir}/{variant}/LC_MESSAGES");
                for name in walker.list(&dir)? {
                    if name.ends_with(".mo") && CATALOGUES.iter().any(|catalogue| name.starts_with(catalogue)) {
                        walker.enter(&format!("{dir}/{name}"))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// `C` and `POSIX` are built into libc.
fn is_plain(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX")
}

fn is_default(locale: &str) -> bool {
    matches!(normal_codeset(locale).as_str(), "C.utf8")
}

fn is_utf8(locale: &str) -> bool {
    normal_codeset(locale).split('@').next().unwrap_or_default().ends_with(".utf8")
}

/// The locale with its character set as glibc normalises it: lower case, letters and digits only.
fn normal_codeset(locale: &str) -> String {
    let (name, modifier) = locale.split_once('@').map_or((locale, None), |(name, modifier)| (name, Some(modifier)));
    let mut text = match name.split_once('.') {
        None => name.to_owned(),
        Some((language, set)) => {
            let set: String = set.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
            let iso = if !set.is_empty() && set.bytes().all(|byte| byte.is_ascii_digit()) { "iso" } else { "" };
            format!("{language}.{iso}{set}")
        }
    };
    if let Some(modifier) = modifier {
        text = format!("{text}@{modifier}");
    }
    text
}

/// The directory names that glibc tries for a locale: with and without modifier, character set and territory.
fn variants(locale: &str) -> Vec<String> {
    let normal = normal_codeset(locale);
    let mut names = vec![locale.to_owned(), normal.clone()];
    for name in [locale, &normal] {
        let (base, modifier) = name.split_once('@').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
        let (territory, set) = base.split_once('.').map_or((base, None), |(territory, set)| (territory, Some(set)));
        let language = territory.split('_').next().unwrap_or(territory);
        for stem in [territory, language] {
            let with_set = set.map(|set| format!("{stem}.{set}"));
            for base in with_set.into_iter().chain([stem.to_owned()]) {
                names.extend(modifier.map(|modifier| format!("{base}@{modifier}")));
                names.push(base);
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The directory of the libc that was entered, physical.
pub(crate) fn libc_dir<'p>(mut paths: impl Iterator<Item = &'p str>) -> Option<&'p str> {
    let libc = paths.find(|path| {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "libc.so.6" || (name.starts_with("libc-2.") && name.ends_with(".so"))
    })?;
    libc.rsplit_once('/').map(|(dir, _)| dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_as_glibc_does() {
        assert_eq!(variants("C.UTF-8"), ["C.UTF-8", "C.utf8", "C"]);
        let german = variants("de_DE.ISO-8859-1@euro");
        for name in ["de_DE.iso88591@euro", "de_DE.iso88591", "de_DE@euro", "de_DE", "de@euro", "de"] {
            assert!(german.iter().any(|variant| variant == name), "{name} in {german:?}");
        }
        assert_eq!(normal_codeset("ja_JP.8859"), "ja_JP.iso8859");
        assert!(is_utf8("de_DE.UTF-8@euro") && !is_utf8("de_DE@euro") && !is_utf8("de_DE.ISO-8859-15"));
    }

    #[test]
    fn libc_is_known_by_its_name() {
        assert_eq!(libc_dir(["/usr/lib/libcap.so", "/usr/lib/x/libc.so.6"].into_iter()), Some("/usr/lib/x"));
        assert_eq!(libc_dir(["/usr/lib/libc-2.31.so"].into_iter()), Some("/usr/lib"));
        assert_eq!(libc_dir(["/usr/lib/libcc1.so"].into_iter()), None);
    }
}
