//! Runs cases both ways and compares. Knows a farm by its commands; judges nothing but sameness and where a unit went.

use super::drivers::Driver;
use super::play::{Outcome, Way, cwd, is_long, play, words};
use super::read::{Case, Line, Step};
use super::tree::{bytes_differ, differences, keep, without_temporary_names};
use crate::farm::{Layout, TestFarm, binary};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Plays at once: while one waits for the farm, another has the processor.
const AT_ONCE: usize = 4;
/// Jobs at once of the farm's worker: more than are ever asked for, so that no unit waits and none is taken by this machine.
const SLOTS: u32 = 2 * AT_ONCE as u32;
/// Plays between two looks at what the daemon remembers, which tells of its last 1,000 units.
const LOOK_EVERY: usize = 200;

/// In place of a reason: the line may go wherever it does.
const ANY_REASON: &str = "*";
/// Reasons that the wrapper itself sees: it runs such a command without a question, or with one for a slot alone.
const SEEN_BY_WRAPPER: &[&str] =
    &["dependencies-only", "link", "no-directory", "no-source", "preprocess-only", "probe", "stdin", "syntax-only"];

/// A farm and a place for cases to be played in.
#[derive(Debug)]
pub struct Suite {
    farm: TestFarm,
    dir: PathBuf,
    links: PathBuf,
    kiln: PathBuf,
    env: Vec<(OsString, OsString)>,
    /// By working directory and words of the command: where its units went, by their number.
    stories: Mutex<BTreeMap<Command, BTreeMap<u64, Story>>>,
    played: AtomicUsize,
}

/// A working directory and the words after the compiler's name.
type Command = (String, Vec<String>);

#[derive(Debug, Clone)]
struct Story {
    went: String,
    reason: String,
}

/// What came of playing cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Command lines compared, each compiler's counted.
    pub compared: usize,
    /// How many went where.
    pub went: BTreeMap<String, usize>,
    /// Lines whose outcome differs between two plain runs too, and in what.
    pub excused: Vec<String>,
    /// What is wrong, a text each.
    pub failures: Vec<String>,
}

impl Report {
    /// Says how it went.
    ///
    /// # Panics
    /// Something failed.
    #[track_caller]
    pub fn check(&self) {
        println!("{} compared; {:?}; excused: {:#?}", self.compared, self.went, self.excused);
        assert!(self.failures.is_empty(), "{} failures\n\n{}", self.failures.len(), self.failures.join("\n\n"));
    }
}

/// One thing to play: some steps of a case with one compiler.
struct Item<'a> {
    case: &'a Case,
    steps: Vec<&'a Step>,
    driver: &'static Driver,
    number: usize,
}

impl Item<'_> {
    fn lines(&self) -> impl Iterator<Item = &Line> {
        let runs = self.steps.iter().filter_map(|step| match step {
            Step::Run(line) => Some(line),
            Step::Edit(_) => None,
        });
        runs.filter(|line| line.drivers.contains(&self.driver))
    }

    /// Case, compiler and command of its line `at`.
    fn name(&self, at: usize, line: &Line) -> String {
        let number = if self.case.sequence { format!(" (line {})", at + 1) } else { String::new() };
        format!("{} {}{number}: {}", self.case.name, self.driver.name, line.text)
    }
}

impl Suite {
    /// Starts a farm of one worker.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start() -> Suite {
        // Without a sandbox of its own, the daemon has no way but the farm.
        let settings = vec![("KILN_DAEMON_SANDBOX".to_owned(), "false".to_owned())];
        let farm = TestFarm::start(Layout { workers: 1, slots: SLOTS, cache: false, settings, ..Layout::default() });
        let client = farm.client("true");
        let env = client.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let env = env.filter(|(name, _)| name.to_string_lossy().starts_with("KILN_")).collect();
        let kiln = binary("kiln");
        let links = farm.dir().join("links");
        fs::create_dir(&links).expect("a directory");
        for driver in super::DRIVERS {
            symlink(&kiln, links.join(driver.name)).expect("a link");
        }
        let dir = tempfile::Builder::new().prefix("kiln-cases-").tempdir().expect("a directory").keep();
        Suite { farm, dir, links, kiln, env, stories: Mutex::default(), played: AtomicUsize::new(0) }
    }

    /// The farm.
    pub fn farm(&self) -> &TestFarm {
        &self.farm
    }

    /// Plays all cases, each line with each of its compilers.
    #[must_use]
    pub fn play(&self, cases: &[Case]) -> Report {
        let mut items = Vec::new();
        for case in cases {
            if case.sequence {
                let mut drivers: Vec<&'static Driver> = case.lines().flat_map(|line| line.drivers.iter().copied()).collect();
                drivers.sort_by_key(|driver| driver.name);
                drivers.dedup();
                items.extend(drivers.into_iter().map(|driver| (case, case.steps.iter().collect::<Vec<_>>(), driver)));
            } else {
                for step in &case.steps {
                    let Step::Run(line) = step else { continue };
                    items.extend(line.drivers.iter().map(|driver| (case, vec![step], *driver)));
                }
            }
        }
        let first = self.played.load(Ordering::Relaxed);
        let numbered = items.into_iter().enumerate();
        let items: Vec<Item<'_>> =
            numbered.map(|(at, (case, steps, driver))| Item { case, steps, driver, number: first + at }).collect();
        let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.play_item(item, &report);
                        if self.played.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY == LOOK_EVERY - 1 {
                            self.look();
                        }
                    }
                });
            }
        });
        self.look();
        let mut report = report.into_inner().expect("no panic in a thread");
        for item in &items {
            self.judge(item, &mut report);
        }
        report
    }

    /// The directory that an item is played in, both ways.
    fn place(&self, item: &Item<'_>) -> PathBuf {
        self.dir.join(format!("c{:05}", item.number))
    }

    fn play_item(&self, item: &Item<'_>, report: &Mutex<Report>) {
        let dir = self.place(item);
        let play = |way: &Way<'_>| play(&dir, item.case, &item.steps, item.driver, way);
        let local = play(&Way::Plain);
        let links = (item.number % 2 == 1).then_some(self.links.as_path());
        let kiln = play(&Way::Kiln { env: &self.env, kiln: &self.kiln, links });
        let found = compare(item, &local, &kiln);
        let mut verdict = Verdict::default();
        if found.iter().any(|found| !found.is_empty()) {
            let again = play(&Way::Drawn);
            verdict = self.settle(item, (&local, &again, &kiln), found);
        }
        let _ = fs::remove_dir_all(&dir);
        let mut report = report.lock().expect("no panic in a thread");
        report.compared += local.len();
        report.failures.extend(verdict.failures);
        report.excused.extend(verdict.excused);
    }

    /// Of the differences of each line: what two plain runs do not differ in is kiln's doing.
    fn settle(
        &self,
        item: &Item<'_>,
        (local, again, kiln): (&[Outcome], &[Outcome], &[Outcome]),
        found: Vec<Vec<String>>,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let unstable = compare(item, local, again);
        for (at, line) in item.lines().enumerate().filter(|(at, _)| !found[*at].is_empty()) {
            let name = item.name(at, line);
            let same_place = |one: &str| unstable[at].iter().any(|other| subject(one) == subject(other));
            let (by_itself, by_kiln): (Vec<String>, Vec<String>) = found[at].iter().cloned().partition(|found| same_place(found));
            if !by_itself.is_empty() {
                let subjects: Vec<&str> = by_itself.iter().map(|text| subject(text)).collect();
                verdict.excused.push(format!("{name}: {}", subjects.join(", ")));
            }
            if !by_kiln.is_empty() {
                let kept = self.dir.join(format!("failed-{:05}-{at}", item.number));
                keep(&local[at].tree, &kiln[at].tree, &kept.join("local"));
                keep(&kiln[at].tree, &local[at].tree, &kept.join("kiln"));
                self.capture(item, at, &kept.join("capture"));
                verdict.failures.push(format!("{name}\n    {}\n    kept in {}", by_kiln.join("\n    "), kept.display()));
            }
        }
        verdict
    }

    /// Captures the item's line `at`, its directory as it was before: the files replay the line, and tell kiln's decision.
    fn capture(&self, item: &Item<'_>, at: usize, to: &Path) {
        let dir = self.place(item);
        let runs = |step: &&&Step| matches!(step, Step::Run(line) if line.drivers.contains(&item.driver));
        let Some(last) = item.steps.iter().enumerate().filter(|(_, step)| runs(step)).map(|(number, _)| number).nth(at) else {
            return;
        };
        let Step::Run(line) = item.steps[last] else { return };
        let _ = play(&dir, item.case, &item.steps[..last], item.driver, &Way::Plain);
        let mut command = std::process::Command::new(&self.kiln);
        command.arg("capture").arg("-o").arg(to).arg("--").arg(line.program.as_deref().unwrap_or(item.driver.name));
        command.args(words(line, &dir)).current_dir(cwd(line, &dir)).env_clear().envs(self.env.iter().cloned());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").envs(line.env.iter().cloned());
        if let Ok(output) = command.output()
            && !output.status.success()
        {
            eprintln!("{}: not captured: {}", item.name(at, line), String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Takes what the daemon remembers.
    fn look(&self) {
        let mut stories = self.stories.lock().expect("no panic in a thread");
        for unit in self.farm.explain(1000).as_array().into_iter().flatten() {
            let text = |name: &str| unit[name].as_str().unwrap_or_default().to_owned();
            let args = unit["args"].as_array().into_iter().flatten().map(|arg| arg.as_str().unwrap_or_default().to_owned());
            let number = unit["number"].as_u64().unwrap_or_default();
            let story = Story { went: text("went"), reason: text("reason") };
            stories.entry((text("cwd"), args.collect())).or_default().insert(number, story);
        }
    }

    /// Compares where the units of an item went with what its lines say.
    fn judge(&self, item: &Item<'_>, report: &mut Report) {
        let dir = self.place(item);
        let stories = self.stories.lock().expect("no panic in a thread");
        let mut used: BTreeMap<Command, usize> = BTreeMap::new();
        for (number, line) in item.lines().enumerate().filter(|(_, line)| !is_long(line)) {
            let args = words(line, &dir).iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let key = (real(&cwd(line, &dir)), args);
            let at = used.entry(key.clone()).or_default();
            let story = stories.get(&key).and_then(|stories| stories.values().nth(*at)).cloned();
            *at += 1;
            let story = story.unwrap_or_else(|| {
                let seen = line.here.as_deref().filter(|reason| SEEN_BY_WRAPPER.contains(reason));
                Story { went: "refused".to_owned(), reason: seen.unwrap_or("of no known compile").to_owned() }
            });
            let reason = story.reason.split(':').next().unwrap_or_default();
            let counted = if story.went == "refused" { format!("refused {reason}") } else { story.went.clone() };
            *report.went.entry(counted).or_default() += 1;
            let there = story.went == "hit" || (story.went == "remote" && !line.hit);
            let expected = match &line.here {
                None => there,
                Some(expect) => there || reason == expect || expect == ANY_REASON,
            };
            if !expected {
                let name = item.name(number, line);
                let expect = match &line.here {
                    Some(reason) => format!("run here for {reason}"),
                    None if line.hit => "found".to_owned(),
                    None => "run on the farm".to_owned(),
                };
                report.failures.push(format!("{name}\n    to be {expect}, but went {} ({})", story.went, story.reason));
            }
        }
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let failed = fs::read_dir(&self.dir).into_iter().flatten().count() > 0;
        if !failed {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// A directory as the kernel names it; it may be gone by now.
fn real(path: &Path) -> String {
    path.display().to_string()
}

#[derive(Default)]
struct Verdict {
    failures: Vec<String>,
    excused: Vec<String>,
}

/// What a difference is about: up to its first colon.
fn subject(difference: &str) -> &str {
    difference.split_once(':').map_or(difference, |(subject, _)| subject)
}

/// The differences of each line.
fn compare(item: &Item<'_>, local: &[Outcome], other: &[Outcome]) -> Vec<Vec<String>> {
    assert_eq!(local.len(), other.len(), "{}: one way ran more lines", item.case.name);
    local.iter().zip(other).map(|(local, other)| compare_outcomes(local, other)).collect()
}

fn compare_outcomes(local: &Outcome, kiln: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if (local.code, local.signal) != (kiln.code, kiln.signal) {
        let end = |of: &Outcome| format!("code {:?} signal {:?}", of.code, of.signal);
        found.push(format!("end: {} locally, {} with kiln", end(local), end(kiln)));
    }
    for (name, local, kiln) in [("stdout", &local.stdout, &kiln.stdout), ("stderr", &local.stderr, &kiln.stderr)] {
        let (local, kiln) = (without_temporary_names(local), without_temporary_names(kiln));
        if local != kiln {
            found.push(format!("{name}: {}", bytes_differ(&local, &kiln)));
        }
    }
    found.extend(differences(&local.tree, &kiln.tree));
    found
}
