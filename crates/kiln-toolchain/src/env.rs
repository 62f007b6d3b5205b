//! The variables and options that decide which files a driver executes and reads. Reads no environment of its own.

use serde::{Deserialize, Serialize};

/// What, besides the driver's path, selects the files of a toolchain. The caller takes it from the request, never from its own
/// process; a toolchain is good for one such value.
///
/// Variables that would change the answer in other ways (`GCC_EXEC_PREFIX`, `COMPILER_PATH`, `LD_LIBRARY_PATH`, `LD_PRELOAD`,
/// `LOCPATH`, `CCC_OVERRIDE_OPTIONS`...) have to be refused before a toolchain is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LookupEnv {
    /// `PATH` without the masquerade directory: gcc finds `as` and `objcopy` there.
    pub path: String,
    /// `LC_ALL`, `LC_CTYPE`, `LC_MESSAGES`, `LANG`, `LANGUAGE`, as far as set; each name once.
    pub locale: Vec<(String, String)>,
    /// Options of the command line that change which files the driver itself opens, as spelled and in order: `-B`,
    /// `--target=`, `--gcc-toolchain=`, `--sysroot=`, `-m32`, `-specs=`, `-fexec-charset=` and its kin. They are passed to
    /// every question. The options' own files (`-specs=FILE`) are the caller's to ship.
    pub args: Vec<String>,
}

/// Names of the variables that [`LookupEnv::from_pairs`] takes besides `PATH`.
pub const LOCALE_VARIABLES: [&str; 5] = ["LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANG", "LANGUAGE"];

impl LookupEnv {
    /// Picks what matters from a whole environment; of a name that occurs twice the first counts, as in getenv.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> LookupEnv {
        let mut env = LookupEnv::default();
        let mut path = None;
        for (name, value) in pairs {
            if name == "PATH" {
                path.get_or_insert_with(|| value.to_owned());
            } else if LOCALE_VARIABLES.contains(&name) && env.locale.iter().all(|(known, _)| known != name) {
                env.locale.push((name.to_owned(), value.to_owned()));
            }
        }
        env.locale.sort();
        env.path = path.unwrap_or_default();
        env
    }

    /// The value of a locale variable; an empty one counts as unset, as in setlocale.
    pub(crate) fn locale_variable(&self, name: &str) -> Option<&str> {
        self.locale.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The effective locale of one category (`LC_CTYPE`, `LC_MESSAGES`), `C` when nothing selects one.
    pub(crate) fn category(&self, name: &str) -> &str {
        ["LC_ALL", name, "LANG"].iter().find_map(|variable| self.locale_variable(variable)).unwrap_or("C")
    }

    /// The environment in which the driver is asked: the given `PATH`, messages in English.
    pub(crate) fn probe_pairs(&self) -> Vec<(String, String)> {
        vec![("PATH".to_owned(), self.path.clone()), ("LC_ALL".to_owned(), "C".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_values_counts_and_empty_is_unset() {
        let env = LookupEnv::from_pairs([
            ("PATH", "/a:/b::c"),
            ("PATH", "/z"),
            ("LC_ALL", ""),
            ("LANG", "de_DE.UTF-8"),
            ("LC_CTYPE", "C"),
            ("HOME", "/root"),
        ]);
        assert_eq!(env.path, "/a:/b::c");
        assert_eq!(env.category("LC_CTYPE"), "C");
        assert_eq!(env.category("LC_MESSAGES"), "de_DE.UTF-8");
        assert_eq!(env.locale.len(), 3);
        assert_eq!(LookupEnv::default().category("LC_CTYPE"), "C");
    }
}
