//! Toolchains and what they say of themselves, remembered while they are current, and kept for the next daemon. Blocks; does not know what is compiled.

use kiln_cmdline::Invocation;
use kiln_scan::Names;
use kiln_store::{Kept, KeptBounds};
use kiln_toolchain::{Builtins, DigestCache, LookupEnv, Native, Toolchain, ToolchainError};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::analyse::absolute;
use crate::files::Epoch;

/// Most toolchains remembered: a build uses a handful of drivers, each in a few ways (`-m32`, `--sysroot=`).
const TOOLCHAINS_MAX: usize = 256;

/// Most answers of compilers remembered: one for each toolchain, language and set of flags that matter.
const BUILTINS_MAX: usize = 4096;

/// Most answers about options remembered of a kind: one for each toolchain, language and set of flags that matter.
const ANSWERS_MAX: usize = 4096;

/// What is kept: a hundred toolchains with twenty answers each; digests of 65,536 files (6 MiB), 2,000 answers of 4 KiB, and toolchains.
pub(crate) const KEPT_BOUNDS: KeptBounds = KeptBounds { values: 2048, bytes: 16 << 20 };

/// How long a driver that is no compiler is not asked again.
const FAILURE_KEPT: Duration = Duration::from_secs(10);

/// Operators that a compiler which does not define them lacks.
const HEADER_OPERATORS: [&str; 3] = ["__has_include", "__has_include_next", "__has_embed"];

type ToolchainKey = (PathBuf, LookupEnv);

struct Known {
    answer: Result<Arc<Toolchain>, Arc<ToolchainError>>,
    checked: Epoch,
    failed_at: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct BuiltinsKey {
    toolchain: kiln_cas::Digest,
    driver: PathBuf,
    language: &'static str,
    probe_args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct OptionsKey {
    toolchain: kiln_cas::Digest,
    driver: PathBuf,
    language: &'static str,
    args: Vec<String>,
}

impl OptionsKey {
    fn of(toolchain: &Toolchain, unit: &Invocation) -> OptionsKey {
        OptionsKey {
            toolchain: toolchain.id,
            driver: toolchain.driver.clone(),
            language: unit.language.x_name(),
            args: unit.probe_args.clone(),
        }
    }
}

/// The answer to a question about options; one asks, others wait for it.
fn ask_once<T: Clone>(known: &Mutex<HashMap<OptionsKey, Slot<T>>>, key: OptionsKey, ask: impl FnOnce(&OptionsKey) -> T) -> T {
    let slot = {
        let mut known = lock(known);
        if known.len() >= ANSWERS_MAX {
            known.clear();
        }
        Arc::clone(known.entry(key.clone()).or_default())
    };
    lock(&slot).get_or_insert_with(|| ask(&key)).clone()
}

/// Options that specs give to the compiler proper alone, or why they cannot be told.
type Revealed = Result<Vec<String>, String>;

/// What `native` means, or why it cannot be said.
type Resolved = Result<Arc<Native>, String>;

type Slot<T> = Arc<Mutex<Option<T>>>;

/// What was asked of a compiler, with the macros parsed for the scanner.
pub(crate) struct Asked {
    pub(crate) builtins: Builtins,
    pub(crate) macros: Arc<kiln_scan::MacroTable>,
}

/// What a daemon has spent on knowing its compilers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Effort {
    /// Toolchains that were looked for, and answers that were asked of a compiler.
    asked: AtomicU64,
    /// Those that an earlier daemon had found, and that still hold.
    recalled: AtomicU64,
    /// Bytes of compilers' files read for their digests.
    hashed_bytes: AtomicU64,
}

/// All toolchains a daemon has met.
pub(crate) struct Toolchains {
    known: Mutex<HashMap<ToolchainKey, Slot<Known>>>,
    builtins: Mutex<HashMap<BuiltinsKey, Slot<Arc<Asked>>>>,
    natives: Mutex<HashMap<OptionsKey, Slot<Resolved>>>,
    hidden: Mutex<HashMap<OptionsKey, Slot<Revealed>>>,
    /// `None` until a toolchain has to be looked for.
    digests: Mutex<Option<DigestCache>>,
    kept: Kept,
    /// This daemon's view, in which paths mean what they mean.
    view: u64,
    effort: Effort,
}

/// What kind of value a key in [`Kept`] stands for.
#[derive(Clone, Copy, Serialize)]
enum Kind {
    Digests,
    Toolchain,
    Answer,
}

impl Toolchains {
    pub(crate) fn new(kept: Kept, view: u64) -> Toolchains {
        Toolchains {
            known: Mutex::default(),
            builtins: Mutex::default(),
            natives: Mutex::default(),
            hidden: Mutex::default(),
            digests: Mutex::default(),
            kept,
            view,
            effort: Effort::default(),
        }
    }

    /// The toolchain behind `driver`, checked to be current at or after `epoch`. One look-up at a time for each driver; others
    /// wait for it.
    pub(crate) fn get(
        &self,
        driver: &Path,
        env: &LookupEnv,
        epoch: Epoch,
        now: Epoch,
    ) -> Result<Arc<Toolchain>, Arc<ToolchainError>> {
        let slot = {
            let mut known = lock(&self.known);
            if known.len() >= TOOLCHAINS_MAX {
                known.clear();
            }
            Arc::clone(known.entry((driver.to_owned(), env.clone())).or_default())
        };
        let mut slot = lock(&slot);
        if let Some(known) = slot.as_mut() {
            match &known.answer {
                Ok(toolchain) if known.checked >= epoch => return Ok(Arc::clone(toolchain)),
                Ok(toolchain) if toolchain.is_current() => {
                    known.checked = now;
                    return Ok(Arc::clone(toolchain));
                }
                Err(error) if known.failed_at.elapsed() < FAILURE_KEPT => return Err(Arc::clone(error)),
                _ => {}
            }
        }
        let answer = self.find(driver, env).map(Arc::new).map_err(Arc::new);
        *slot = Some(Known { answer: answer.clone(), checked: now, failed_at: Instant::now() });
        answer
    }

    /// The toolchain as an earlier daemon found it, if it still stands, or found anew.
    fn find(&self, driver: &Path, env: &LookupEnv) -> Result<Toolchain, ToolchainError> {
        let key = self.key(Kind::Toolchain, (driver, env));
        let kept = key.as_ref().and_then(|key| Toolchain::decode(&self.kept.get(key)?).ok());
        let is_asked_for = |kept: &Toolchain| kept.driver == driver && kept.lookup_env() == env && kept.is_current();
        if let Some(kept) = kept.filter(is_asked_for) {
            self.effort.recalled.fetch_add(1, Ordering::Relaxed);
            return Ok(kept);
        }
        let mut digests = lock(&self.digests);
        let digests = digests.get_or_insert_with(|| {
            let kept = self.key(Kind::Digests, ()).and_then(|key| DigestCache::decode(&self.kept.get(&key)?).ok());
            kept.unwrap_or_default()
        });
        let before = digests.hashed_bytes();
        let found = Toolchain::discover(driver, env, digests);
        self.effort.asked.fetch_add(1, Ordering::Relaxed);
        self.effort.hashed_bytes.fetch_add(digests.hashed_bytes() - before, Ordering::Relaxed);
        let found = found?;
        if let (Some(key), true) = (key, found.is_lasting())
            && let Ok(bytes) = found.encode()
        {
            self.kept.put(key, bytes);
        }
        Ok(found)
    }

    fn key(&self, kind: Kind, of: impl Serialize) -> Option<Vec<u8>> {
        postcard::to_stdvec(&(self.view, kind, of)).ok()
    }

    /// What the compiler says of its directories and macros under this invocation's options.
    pub(crate) fn ask(
        &self,
        toolchain: &Toolchain,
        unit: &Invocation,
        cwd: &Path,
        names: &Names,
    ) -> Result<Arc<Asked>, ToolchainError> {
        let relative = unit.probe_args.iter().any(|argument| names_relative_path(argument));
        let key = BuiltinsKey {
            toolchain: toolchain.id,
            driver: toolchain.driver.clone(),
            language: unit.language.x_name(),
            probe_args: unit.probe_args.clone(),
            env: unit.env.iter().filter(|(name, _)| matters_to_probe(name)).cloned().collect(),
            cwd: relative.then(|| cwd.to_string_lossy().into_owned()),
        };
        let slot = {
            let mut builtins = lock(&self.builtins);
            if builtins.len() >= BUILTINS_MAX {
                builtins.clear();
            }
            Arc::clone(builtins.entry(key.clone()).or_default())
        };
        let mut slot = lock(&slot);
        if let Some(asked) = slot.as_ref().filter(|asked| asked.builtins.is_current()) {
            return Ok(Arc::clone(asked));
        }
        let builtins = self.answer(toolchain, key, cwd)?;
        let defined: Vec<&str> = builtins.operators.clone();
        let absent: Vec<&str> = HEADER_OPERATORS.into_iter().filter(|name| !defined.contains(name)).collect();
        let macros = kiln_scan::MacroTable::parse(&builtins.macros, names).with_operators(&defined, &absent, names);
        let macros = Arc::new(macros);
        let asked = Arc::new(Asked { builtins, macros });
        *slot = Some(Arc::clone(&asked));
        Ok(asked)
    }

    /// The compiler's answer as an earlier daemon got it, if it still holds, or asked anew.
    fn answer(&self, toolchain: &Toolchain, key: BuiltinsKey, cwd: &Path) -> Result<Builtins, ToolchainError> {
        // What depends on a working directory, or on a file of the user's that no stamp vouches for, is not worth a check.
        let lasts = key.cwd.is_none() && toolchain.is_lasting() && !key.probe_args.iter().any(|arg| names_users_file(arg));
        let identity = (key.toolchain.hash, &key.driver, key.language, &key.probe_args, &key.env);
        let kept_as = lasts.then(|| self.key(Kind::Answer, identity)).flatten();
        let kept = kept_as.as_ref().and_then(|key| Builtins::decode(&self.kept.get(key)?).ok());
        if let Some(kept) = kept.filter(Builtins::is_current) {
            self.effort.recalled.fetch_add(1, Ordering::Relaxed);
            return Ok(kept);
        }
        let mut env = key.env.clone();
        env.push(("PATH".to_owned(), toolchain.search_path.clone()));
        let builtins = kiln_toolchain::query_builtins(toolchain, key.language, &key.probe_args, &env, cwd)?;
        self.effort.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(key) = kept_as
            && let Ok(bytes) = builtins.encode()
        {
            self.kept.put(key, bytes);
        }
        Ok(builtins)
    }

    /// What `native` means under this invocation's options. The processor does not change under a daemon.
    ///
    /// # Errors
    /// Why it cannot be said in words.
    pub(crate) fn native(&self, toolchain: &Toolchain, unit: &Invocation) -> Resolved {
        ask_once(&self.natives, OptionsKey::of(toolchain, unit), |key| {
            let native = kiln_toolchain::resolve_native(toolchain, &key.args, key.language);
            native.map(Arc::new).map_err(|error| error.to_string())
        })
    }

    /// Adds to `probe_args` what the unit's specs hide from the preprocessor.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub(crate) fn reveal(&self, toolchain: &Toolchain, unit: &mut Invocation, cwd: &str) -> Result<(), String> {
        if unit.specs.is_empty() {
            return Ok(());
        }
        let key = OptionsKey { args: with_absolute_specs(&unit.probe_args, cwd), ..OptionsKey::of(toolchain, unit) };
        let hidden = ask_once(&self.hidden, key, |key| {
            let hidden = kiln_toolchain::hidden_options(toolchain, &key.args, key.language);
            hidden.map_err(|error| error.to_string())
        })?;
        unit.probe_args.extend(hidden);
        Ok(())
    }

    /// The toolchains found so far, by driver.
    pub(crate) fn list(&self) -> BTreeMap<PathBuf, Arc<Toolchain>> {
        let slots: Vec<_> = lock(&self.known).iter().map(|(key, slot)| (key.0.clone(), Arc::clone(slot))).collect();
        let found = slots.into_iter().filter_map(|(driver, slot)| match &slot.try_lock().ok()?.as_ref()?.answer {
            Ok(toolchain) => Some((driver, Arc::clone(toolchain))),
            Err(_) => None,
        });
        found.collect()
    }

    /// What was spent so far.
    pub(crate) fn effort(&self) -> &Effort {
        &self.effort
    }

    /// Saves what is known, so that the next daemon need neither read nor ask.
    pub(crate) fn save(&self) {
        let learned = lock(&self.digests).as_mut().and_then(|digests| digests.encode().ok()?);
        if let (Some(bytes), Some(key)) = (learned, self.key(Kind::Digests, ())) {
            self.kept.put(key, bytes);
        }
        self.kept.save();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an option, or the word after one, may be a path that depends on the working directory. A false yes costs one more
/// question.
fn names_relative_path(argument: &str) -> bool {
    const ATTACHED: [&str; 5] = ["-B", "--sysroot=", "--gcc-toolchain=", "-gcc-toolchain=", "-resource-dir="];
    let attached = ATTACHED.iter().find_map(|option| argument.strip_prefix(option));
    let value = match (attached, argument.split_once('=')) {
        (Some(value), _) => value,
        // The word after `-B`, `--sysroot` and their like.
        (None, _) if !argument.starts_with('-') => argument,
        (None, Some((_, value))) if value.contains('/') => value,
        _ => return false,
    };
    !value.is_empty() && !value.starts_with('/')
}

/// Whether an option names a file of the user's own that decides what the compiler answers.
fn names_users_file(argument: &str) -> bool {
    argument.contains("specs") || argument.contains("config") || argument.starts_with('@')
}

fn matters_to_probe(name: &str) -> bool {
    !matches!(name, "PWD" | "SOURCE_DATE_EPOCH" | "TZ" | "TZDIR" | "CPATH")
}

/// The same options, specs files by their absolute paths.
fn with_absolute_specs(args: &[String], cwd: &str) -> Vec<String> {
    let mut value = false;
    let word = |arg: &String| {
        let is_value = std::mem::replace(&mut value, arg == "-specs");
        match arg.split_once('=').filter(|(option, _)| option.ends_with("-specs")) {
            Some((option, path)) if path.contains('/') => format!("{option}={}", absolute(cwd, path)),
            None if is_value && arg.contains('/') => absolute(cwd, arg),
            _ => arg.clone(),
        }
    };
    args.iter().map(word).collect()
}

/// The options among `probe_args` that change which files the driver itself opens, their paths absolute: it is asked
/// elsewhere.
pub(crate) fn lookup_args(probe_args: &[String], cwd: &str) -> Vec<String> {
    const EXACT: [&str; 6] = ["-m32", "-m64", "-mx32", "-mthumb", "-marm", "-fuse-ld"];
    const WORDS: [&str; 4] = ["--target=", "-mabi=", "-march=", "-stdlib="];
    const PATHS: [&str; 6] = ["-B", "--gcc-toolchain=", "--sysroot=", "-specs=", "--specs=", "-resource-dir="];
    const BEFORE_PATHS: [&str; 6] = ["-B", "--sysroot", "-isysroot", "-resource-dir", "-gcc-toolchain", "-specs"];
    let path = |option: &str, path: &str| match path {
        "" => String::new(),
        // Looked for among the compiler's own.
        name if option.contains("specs") && !name.contains('/') => name.to_owned(),
        path => absolute(cwd, path),
    };
    let mut args = Vec::new();
    let mut iter = probe_args.iter();
    while let Some(argument) = iter.next() {
        let argument = argument.as_str();
        if BEFORE_PATHS.contains(&argument) {
            args.push(argument.to_owned());
            args.extend(iter.next().map(|value| path(argument, value)));
        } else if matches!(argument, "-target" | "--target") {
            args.push(argument.to_owned());
            args.extend(iter.next().cloned());
        } else if let Some(option) = PATHS.iter().find(|option| argument.starts_with(**option)) {
            args.push(format!("{option}{}", path(option, &argument[option.len()..])));
        } else if EXACT.contains(&argument) || WORDS.iter().any(|word| argument.starts_with(word)) {
            args.push(argument.to_owned());
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_asked_elsewhere_is_given_absolute_paths() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line =
            "-O2 -B tools -B./x/ -Btools/ --sysroot=../root -specs=nano.specs -specs d/h.specs -target arm -m32 --sysroot /s";
        let expect = "-B /w/tools -B/w/./x/ -B/w/tools/ --sysroot=/w/../root -specs=nano.specs -specs /w/d/h.specs -target arm -m32 --sysroot /s";
        assert_eq!(lookup_args(&words(line), "/w"), words(expect));
    }

    #[test]
    fn what_the_compiler_says_of_relative_directories_holds_for_one_working_directory() {
        for relative in ["-Btools", "tools", "../tools", "--sysroot=root", "-resource-dir=r", "-specs=d/h.specs", "-fplugin=./p.so"]
        {
            assert!(names_relative_path(relative), "{relative}");
        }
        for absolute in
            ["-B", "-B/tools", "/tools", "--sysroot=/", "-specs=nano.specs", "-m32", "-march=x86-64", "-std=c++17", "--sysroot"]
        {
            assert!(!names_relative_path(absolute), "{absolute}");
        }
    }
}
