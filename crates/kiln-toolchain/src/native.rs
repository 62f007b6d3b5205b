//! Resolves `-march=native` and its kin to what this machine's processor means, so that another compiles the same code.
//! Trusts only a comparison of the commands the driver would run.

use crate::identify::line_after;
use crate::run::{Answer, QUESTION_TIME_MAX, Question};
use crate::{Toolchain, ToolchainError};
use kiln_cmdline::Family;
use std::path::Path;

/// Options whose value may be `native`.
const NATIVE_OPTIONS: [&str; 3] = ["-march=", "-mtune=", "-mcpu="];

/// What the options have in common that write clang's own command line into the object. gcc writes what `native` means.
const RECORDS: [&str; 3] = ["record-command-line", "record-gcc-switches", "embed-bitcode"];

/// Where the specs file of [`Native::specs`] has to stand in the root of a job.
pub const NATIVE_SPECS_PATH: &str = "/.kiln-native.specs";

/// What `native` means on this machine, for every command with the options it was resolved for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    spelling: Spelling,
    /// Content of a file at [`NATIVE_SPECS_PATH`] that the arguments name: gcc's own order of the resolved options, which
    /// stands in debug information, can be given in no other way.
    pub specs: Option<String>,
}

/// How a command says it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Spelling {
    /// It means nothing for what is compiled: left out.
    Omitted,
    /// gcc: as it was, and specs that say what it means.
    Specs,
    /// clang: the processors by name, and each feature.
    Named { cpu: String, tune: String, features: Vec<String> },
}

impl Native {
    /// The command line that means the same on every processor.
    #[must_use]
    pub fn spell(&self, args: &[String]) -> Vec<String> {
        match &self.spelling {
            Spelling::Omitted => without_native(args),
            Spelling::Specs => args.iter().cloned().chain([format!("-specs={NATIVE_SPECS_PATH}")]).collect(),
            Spelling::Named { cpu, tune, features } => {
                let named = args.iter().map(|arg| match arg.split_once('=') {
                    Some(("-mtune", "native")) => format!("-mtune={tune}"),
                    Some((option @ ("-march" | "-mcpu"), "native")) => format!("{option}={cpu}"),
                    _ => arg.clone(),
                });
                // Before the arguments: behind a `--` they would be files.
                let feature = |name: &String| ["-Xclang", "-target-feature", "-Xclang", name].map(str::to_owned);
                features.iter().flat_map(feature).chain(named).collect()
            }
        }
    }
}

fn without_native(args: &[String]) -> Vec<String> {
    args.iter().filter(|arg| !names_native(std::slice::from_ref(arg))).cloned().collect()
}

/// Whether the arguments mean this machine's processor.
pub fn names_native(args: &[String]) -> bool {
    args.iter().any(|arg| NATIVE_OPTIONS.iter().any(|option| arg.strip_prefix(option) == Some("native")))
}

/// Resolves `native` in `args` (a unit's options, without source and outputs) for `language`, and proves it: the driver, asked
/// what it would run, names the same commands for the result.
///
/// # Errors
/// [`ToolchainError::Unmodelled`] when no command line was found that means the same; the unit then runs locally.
pub fn resolve_native(tc: &Toolchain, args: &[String], language: &str) -> Result<Native, ToolchainError> {
    let unmodelled = |why: &str| ToolchainError::Unmodelled { driver: tc.driver.clone(), why: why.to_owned() };
    if tc.family == Family::Clang && args.iter().any(|arg| RECORDS.iter().any(|record| arg.contains(record))) {
        return Err(unmodelled("the command line is recorded with `native` in it"));
    }
    let wanted = commands(tc, args, language)?;
    if commands(tc, &without_native(args), language).is_ok_and(|plain| plain == wanted) {
        return Ok(Native { spelling: Spelling::Omitted, specs: None });
    }
    // A driver that hands `native` on does not know it: what its compiler makes of it is not seen here.
    if wanted.iter().any(|command| names_native(command)) {
        return Err(unmodelled("the driver does not resolve `native`"));
    }
    match tc.family {
        Family::Clang => {
            let native = resolve_clang(&wanted).ok_or_else(|| unmodelled("no processor is named for `native`"))?;
            let got = commands(tc, &native.spell(args), language)?;
            match clang_meaning(&wanted).is_some() && clang_meaning(&wanted) == clang_meaning(&got) {
                true => Ok(native),
                false => Err(unmodelled("`native` is not the same when spelled out")),
            }
        }
        Family::Gcc => {
            resolve_gcc(tc, args, language, &wanted)?.ok_or_else(|| unmodelled("`native` is not the same when spelled out"))
        }
    }
}

/// The commands the driver would run to compile a unit with these options, word by word, temporary names masked.
fn commands(tc: &Toolchain, args: &[String], language: &str) -> Result<Vec<Vec<String>>, ToolchainError> {
    commands_until("-c", tc, args, language)
}

/// The same, up to the step after which `stop` ends it.
pub(crate) fn commands_until(
    stop: &str,
    tc: &Toolchain,
    args: &[String],
    language: &str,
) -> Result<Vec<Vec<String>>, ToolchainError> {
    let own = ["-###", stop, "-x", language, "/dev/null", "-o", "/dev/null"].map(str::to_owned);
    let args: Vec<String> = args.iter().cloned().chain(own).collect();
    let answer = ask(tc, &args)?;
    let text = String::from_utf8_lossy(&answer.stderr).into_owned();
    // What is said of the word itself would not be said of another.
    if let Some(said) = text.lines().find(|line| line.contains("warning: ") && line.contains("=native'")) {
        return Err(ToolchainError::Unmodelled { driver: tc.driver.clone(), why: said.to_owned() });
    }
    let commands: Vec<Vec<String>> = text.lines().filter_map(|line| line.strip_prefix(' ')).filter_map(words).collect();
    match commands.iter().any(|command| command.first().is_some_and(|program| program.starts_with('/'))) {
        true => Ok(commands),
        false => Err(ToolchainError::Probe {
            driver: tc.driver.clone(),
            args: "-###".into(),
            why: line_after(&text, "error:").unwrap_or("its answer shows no command").to_owned(),
        }),
    }
}

fn ask(tc: &Toolchain, args: &[String]) -> Result<Answer, ToolchainError> {
    let env = [("PATH".to_owned(), tc.search_path.clone()), ("LC_ALL".to_owned(), "C".to_owned())];
    let question = Question { driver: &tc.driver, args, env: &env, cwd: Path::new("/"), input: &[], time_max: QUESTION_TIME_MAX };
    question.ask_well()
}

/// Splits a command as the drivers print it: words quoted with `"` where they have to be, `\` before what it quotes.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        loop {
            match chars.next() {
                None | Some(' ') if !quoted => break,
                None => return None,
                Some('"') => quoted = !quoted,
                Some('\\') => word.push(chars.next()?),
                Some(c) => word.push(c),
            }
        }
        while chars.next_if_eq(&' ').is_some() {}
        words.push(mask(word));
    }
    (!words.is_empty()).then_some(words)
}

/// Temporary files are named anew in each run: `/tmp/ccAbC123.s`.
fn mask(word: String) -> String {
    match word.rsplit_once("/cc") {
        Some((dir, rest))
            if rest.len() >= 6 && rest.as_bytes()[..6].iter().all(u8::is_ascii_alphanumeric) && rest[6..].starts_with('.') =>
        {
            format!("{dir}/cc{}", &rest[6..])
        }
        _ => word,
    }
}

fn values<'c>(command: &'c [String], option: &'c str) -> impl Iterator<Item = &'c str> {
    command.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].as_str())
}

fn resolve_clang(wanted: &[Vec<String>]) -> Option<Native> {
    let command = wanted.iter().find(|command| command.iter().any(|word| word == "-cc1"))?;
    let cpu = values(command, "-target-cpu").next()?.to_owned();
    let tune = values(command, "-tune-cpu").next().unwrap_or(&cpu).to_owned();
    let features = values(command, "-target-feature").map(str::to_owned).collect();
    Some(Native { spelling: Spelling::Named { cpu, tune, features }, specs: None })
}

/// A clang command apart from the features' order: the last word on each feature, sorted, and all else as it is.
type Meaning = (std::collections::BTreeMap<String, bool>, Vec<String>);

fn clang_meaning(commands: &[Vec<String>]) -> Option<Meaning> {
    let command = commands.iter().find(|command| command.iter().any(|word| word == "-cc1"))?;
    let mut features = std::collections::BTreeMap::new();
    let mut rest = Vec::new();
    let mut words = command.iter();
    while let Some(word) = words.next() {
        if word != "-target-feature" {
            rest.push(word.clone());
            continue;
        }
        let feature = words.next()?;
        let name = feature.strip_prefix(['+', '-'])?;
        features.insert(name.to_owned(), feature.starts_with('+'));
    }
    Some((features, rest))
}

/// gcc puts what `native` means at the place of the spec `cc1_cpu`. The same words given as options come in another order, and
/// that order is in debug information; so the spec itself is replaced by the words.
fn resolve_gcc(tc: &Toolchain, args: &[String], language: &str, wanted: &[Vec<String>]) -> Result<Option<Native>, ToolchainError> {
    if args.iter().any(|arg| arg.starts_with("-specs") || arg.starts_with("--specs")) {
        return Ok(None);
    }
    let without = commands(tc, &without_native(args), language)?;
    let (Some(with), Some(without)) = (wanted.first(), without.first()) else { return Ok(None) };
    let Some(text) = native_specs(args, with, without) else { return Ok(None) };
    let file = tempfile::Builder::new().prefix("kiln-native").suffix(".specs").tempfile();
    let io = |source| ToolchainError::Io { path: std::env::temp_dir(), source };
    let file = file.map_err(io)?;
    std::fs::write(file.path(), &text).map_err(io)?;
    let mut tried = args.to_vec();
    tried.push(format!("-specs={}", file.path().display()));
    if commands(tc, &tried, language)? != wanted {
        return Ok(None);
    }
    Ok(Some(Native { spelling: Spelling::Specs, specs: Some(text) }))
}

/// The words that `native` adds, as a spec: they stand in one run before the first word that both commands go on with.
fn native_specs(args: &[String], with: &[String], without: &[String]) -> Option<String> {
    let same = with.iter().zip(without).take_while(|(a, b)| a == b).count();
    let march = args.iter().any(|arg| arg == "-march=native");
    let added: Vec<&String> = with[same..].iter().take_while(|word| is_added(word, march)).collect();
    if added.is_empty() || added.iter().any(|word| word.contains(['%', '{', '}', '\n', '|'])) {
        return None;
    }
    let mut spec = String::from("*cc1_cpu:\n%<march=native %<mtune=native %<mcpu=native");
    for word in added {
        spec.push(' ');
        spec.push_str(word);
    }
    spec.push_str("\n\n");
    Some(spec)
}

fn is_added(word: &str, march: bool) -> bool {
    word.starts_with("-mtune=")
        || word == "--param"
        || word.starts_with('l') && word.contains("-cache-")
        || march && word.starts_with("-m")
}
