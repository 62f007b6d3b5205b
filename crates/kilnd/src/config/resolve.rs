//! Lays flags over environment over files over defaults, once. Reads the files it is told of; knows no meaning of a key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use super::file;
use super::settings::Settings;
use super::suggest::nearest;
use super::table::ENVIRONMENT_ONLY;
use super::table::KEYS;
use super::table::Key;
use super::value::Value;
use super::value::Written;
use super::value::parse;

/// What is wrong with the configuration; each names where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// In a file.
    #[error("{}:{line}: {why}", path.display())]
    File { path: PathBuf, line: usize, why: String },
    /// The file itself.
    #[error("{}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// In the environment.
    #[error("{name}: {why}")]
    Environment { name: String, why: String },
    /// On the command line.
    #[error("--{flag}: {why}")]
    Flag { flag: String, why: String },
    /// There is no place for state.
    #[error("neither KILN_DIR nor HOME is set to an absolute path")]
    NoStateDir,
}

/// Where values come from; all of it is passed in, so that a test is a function call.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sources {
    /// The environment.
    pub(crate) env: BTreeMap<String, OsString>,
    /// Flags given, by their name without the dashes.
    pub(crate) flags: BTreeMap<String, String>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// The system's file, `/etc/kiln/kiln.toml`.
    pub(crate) system: Option<PathBuf>,
}

/// The system's configuration file.
const SYSTEM_FILE: &str = "/etc/kiln/kiln.toml";

impl Sources {
    /// The real ones.
    pub(crate) fn of_process(flags: BTreeMap<String, String>, config: Option<PathBuf>) -> Sources {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Sources { env: std::env::vars_os().filter_map(named).collect(), flags, config, system: Some(SYSTEM_FILE.into()) }
    }

    fn set(&self, name: &str) -> Option<&OsString> {
        self.env.get(name).filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<&Path> {
        self.set("HOME").map(Path::new).filter(|path| path.is_absolute())
    }

    /// The files to read, weakest first, and whether each must exist. One that is named takes the place of the usual ones.
    pub(crate) fn files(&self) -> Vec<(PathBuf, bool)> {
        if let Some(named) = self.config.clone().or_else(|| self.set("KILN_CONFIG").map(PathBuf::from)) {
            return vec![(named, true)];
        }
        let user = self.home().map(|home| home.join(".config/kiln/kiln.toml"));
        self.system.clone().into_iter().chain(user).map(|path| (path, false)).collect()
    }

    /// Variables named `KILN_...` that mean nothing, each with what was probably meant.
    pub(crate) fn unknown_variables(&self) -> Vec<String> {
        let known: Vec<String> =
            KEYS.iter().map(Key::env).chain(ENVIRONMENT_ONLY.iter().map(|(name, _)| (*name).to_owned())).collect();
        let ours = self.env.keys().filter(|name| name.starts_with("KILN_"));
        ours.filter(|name| !known.contains(name))
            .map(|name| match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("{name} means nothing; did you mean {near}?"),
                None => format!("{name} means nothing"),
            })
            .collect()
    }
}

/// Reads everything and lays it over one another.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn resolve(sources: &Sources) -> Result<Settings, ConfigError> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for key in KEYS {
        let default = parse(key.kind, &Written::One(key.default.to_owned()), sources.home());
        // A test parses every default.
        values.insert(key.path(), default.unwrap_or_else(|why| panic!("default of {}: {why}", key.path())));
    }
    for (path, needed) in sources.files() {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !needed => continue,
            Err(error) => return Err(ConfigError::Unreadable { path, error }),
        };
        for entry in file::read(&path, &text)? {
            let value = parse(entry.key.kind, &entry.written, sources.home()).map_err(|why| ConfigError::File {
                path: path.clone(),
                line: entry.line,
                why: format!("[{}] {}: {why}", entry.key.section, entry.key.name),
            })?;
            values.insert(entry.key.path(), value);
        }
    }
    for key in KEYS {
        if let Some(text) = sources.env.get(&key.env()) {
            let bad = |why: String| ConfigError::Environment { name: key.env(), why };
            let text = text.to_str().ok_or_else(|| bad("not UTF-8".to_owned()))?;
            let value = parse(key.kind, &Written::One(text.to_owned()), sources.home()).map_err(bad)?;
            values.insert(key.path(), value);
        }
        if let Some(text) = sources.flags.get(&key.flag()) {
            let value = parse(key.kind, &Written::One(text.clone()), sources.home());
            let value = value.map_err(|why| ConfigError::Flag { flag: key.flag(), why })?;
            values.insert(key.path(), value);
        }
    }
    let state = sources.set("KILN_DIR").map(PathBuf::from).or_else(|| sources.home().map(|home| home.join(".cache/kiln")));
    let state = state.filter(|path| path.is_absolute()).ok_or(ConfigError::NoStateDir)?;
    Ok(Settings::from_values(&values, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Case {
        dir: tempfile::TempDir,
        sources: Sources,
    }

    impl Case {
        fn new(text: &str) -> Case {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("kiln.toml");
            std::fs::write(&config, text).unwrap();
            let env = BTreeMap::from([("HOME".to_owned(), "/home/u".into())]);
            Case { dir, sources: Sources { env, config: Some(config), ..Sources::default() } }
        }

        fn env(mut self, name: &str, value: &str) -> Case {
            self.sources.env.insert(name.to_owned(), value.into());
            self
        }

        fn flag(mut self, name: &str, value: &str) -> Case {
            self.sources.flags.insert(name.to_owned(), value.to_owned());
            self
        }

        #[track_caller]
        fn settings(&self) -> Settings {
            resolve(&self.sources).unwrap_or_else(|error| panic!("{error}"))
        }

        #[track_caller]
        fn fails(&self, expect: &str) {
            let error = resolve(&self.sources).unwrap_err().to_string();
            let error = error.replace(&format!("{}/", self.dir.path().display()), "");
            assert_eq!(error, expect);
        }
    }

    #[test]
    fn every_default_is_good_and_every_key_reaches_the_settings() {
        let settings = Case::new("").settings();
        assert_eq!(settings.state, Path::new("/home/u/.cache/kiln"));
        assert_eq!(settings.worker.dir, Path::new("/home/u/.cache/kiln/worker"));
        assert_eq!(settings.worker.job_time_max, Duration::from_secs(1200));
        assert_eq!(settings.client.fallback, "silent");
        assert!(settings.farm.schedulers.is_empty());
    }

    #[test]
    fn flags_go_over_environment_over_file_over_default() {
        let file = "[worker]\nslots = 2\n";
        assert_eq!(Case::new("").settings().worker.slots, 0);
        assert_eq!(Case::new(file).settings().worker.slots, 2);
        assert_eq!(Case::new(file).env("KILN_WORKER_SLOTS", "3").settings().worker.slots, 3);
        assert_eq!(Case::new(file).env("KILN_WORKER_SLOTS", "3").flag("worker-slots", "4").settings().worker.slots, 4);
    }

    #[test]
    fn the_users_file_goes_over_the_systems_key_by_key_and_a_named_one_replaces_both() {
        let mut case = Case::new("[worker]\nslots = 2\n[cache]\nmemory_max = \"2G\"\n");
        case.sources.system = case.sources.config.take();
        let home = case.dir.path().to_str().unwrap().to_owned();
        case = case.env("HOME", &home);
        let user = case.dir.path().join(".config/kiln");
        std::fs::create_dir_all(&user).unwrap();
        std::fs::write(user.join("kiln.toml"), "[worker]\nslots = 3\n").unwrap();
        let settings = case.settings();
        assert_eq!((settings.worker.slots, settings.cache.memory_max), (3, 2 << 30));
        let other = case.dir.path().join("other.toml");
        std::fs::write(&other, "[log]\nlevel = \"warn\"\n").unwrap();
        let settings = case.env("KILN_CONFIG", other.to_str().unwrap()).settings();
        assert_eq!((settings.worker.slots, settings.cache.memory_max, settings.log.level.as_str()), (0, 1 << 30, "warn"));
    }

    #[test]
    fn unknown_keys_and_sections_are_errors_with_a_suggestion() {
        Case::new("[worker]\n\nslot = 2\n").fails("kiln.toml:3: [worker] unknown key `slot`; did you mean `slots`?");
        Case::new("[worker]\ndisk_max = 2\n")
            .fails("kiln.toml:2: [worker] unknown key `disk_max`; did you mean `disk_max` under [cache]?");
        Case::new("[worker]\nxyzzy = 2\n").fails("kiln.toml:2: [worker] unknown key `xyzzy`");
        Case::new("# one\n[wroker]\nslots = 2\n").fails("kiln.toml:2: unknown section [wroker]; did you mean [worker]?");
        Case::new("schedulers = \"a:1\"\n")
            .fails("kiln.toml:1: `schedulers` stands outside of any section; it belongs under [farm]");
        Case::new("worker = 1\n").fails("kiln.toml:1: `worker` is a section: write [worker] on a line of its own");
    }

    #[test]
    fn bad_values_name_file_line_and_key() {
        Case::new("[worker]\nslots = \"many\"\n").fails("kiln.toml:2: [worker] slots: `many` is no whole number from 0 to 4096");
        Case::new("[client]\nfallback = \"fial\"\n")
            .fails("kiln.toml:2: [client] fallback: `fial` is none of silent, warn, fail; did you mean `fail`?");
        Case::new("[farm]\nschedulers = [\"a:1\", \"b\"]\n")
            .fails("kiln.toml:2: [farm] schedulers: `b`: no port; write host:port, [v6]:port or unix:/path");
        Case::new("[cache]\ndisk_max = 2099-01-01\n").fails("kiln.toml:2: [cache] disk_max: no table or date is wanted");
        Case::new("").env("KILN_FALLBACK", "x").fails("KILN_FALLBACK: `x` is none of silent, warn, fail");
        Case::new("").flag("tls-insecure", "x").fails("--tls-insecure: `x` is neither true nor false");
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        let error = resolve(&Case::new("[worker]\nslots = = 1\n").sources).unwrap_err().to_string();
        assert!(error.contains("kiln.toml:2: "), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let mut case = Case::new("");
        case.sources.config = Some(case.dir.path().join("none.toml"));
        assert!(matches!(resolve(&case.sources), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn a_variable_that_means_nothing_is_told() {
        let case = Case::new("").env("KILN_WORKER_SLOT", "3").env("KILN_DIR", "/x").env("KILN_CACHE_DISK_MAX", "1G");
        assert_eq!(case.sources.unknown_variables(), ["KILN_WORKER_SLOT means nothing; did you mean KILN_WORKER_SLOTS?"]);
    }

    #[test]
    fn state_needs_an_absolute_place() {
        let case = Case::new("").env("KILN_DIR", "relative");
        assert!(matches!(resolve(&case.sources), Err(ConfigError::NoStateDir)));
        assert_eq!(Case::new("").env("KILN_DIR", "/k").settings().cache.dir, Path::new("/k/cache"));
    }
}
