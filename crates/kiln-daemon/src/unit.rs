//! One unit from request to reply: analyse, look for a result, run it somewhere, hand it over.

use kiln_cmdline::{Invocation, OutputKind};
use kiln_frame::{Compile, Hello, Reply, RunLocally, Slot, Terminal};
use kiln_worker::CancelSwitch;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use crate::action::Analysed;
use crate::analyse::{Analyst, Refused, Work};
use crate::course::{Course, Next, Setback};
use crate::daemon::{Daemon, Fallback};
use crate::farm::{ACQUIRE_WAIT_MS, Farm, Granted, NoGrant, Sent, Wish};
use crate::inputs::Form;
use crate::journal::{self, Attempt, Unit};
use crate::local::LocalError;
use crate::precompiled;
use crate::reply::{Delivery, UnitResult, deliver};
use crate::several;
use crate::slots::Permit;
use crate::substitute::{NOT_COUNTED, Variants, Whose, counted};
use crate::taken::take;
use crate::witness;

/// A final reply and the descriptors that go with it.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Answer {
    pub(crate) fn plain(reply: Reply) -> Answer {
        Answer { reply, fds: Vec::new() }
    }
}

/// How a unit came to its result.
enum Went {
    Hit(&'static str),
    Remote,
    Here,
}

struct Finished {
    result: UnitResult,
    went: Went,
    warning: Option<String>,
}

/// Why a unit has no result here.
pub(crate) enum Unfinished {
    /// The wrapper runs the compiler itself, under a slot.
    Plainly { reason: String },
    /// The user wants to know.
    Fail(String),
}

/// Answers a request for a slot.
pub(crate) async fn slot(daemon: &Arc<Daemon>, slot: &Slot, pid: Option<i32>) -> Answer {
    daemon.counters.refused(&slot.reason);
    Answer::plain(Reply::RunLocally(run_plainly(daemon, &slot.reason, slot.heavy, slot.under_slot.as_deref(), pid).await))
}

/// Who asks, and how he wants to be served.
pub(crate) struct Caller {
    pub(crate) terminal: Option<Terminal>,
    pub(crate) fallback: Fallback,
    pub(crate) under_slot: Option<Vec<u8>>,
    pub(crate) pid: Option<i32>,
    pub(crate) compiler: Vec<u8>,
    /// Where his compiler would try to put its temporary files.
    pub(crate) temporary: Vec<PathBuf>,
}

impl Caller {
    fn of(request: &Compile, daemon: &Daemon, pid: Option<i32>) -> Caller {
        Caller {
            terminal: request.terminal,
            fallback: fallback_of(request).unwrap_or(daemon.settings.fallback),
            under_slot: request.under_slot.clone(),
            pid,
            compiler: request.compiler.clone(),
            temporary: several::temporary_dirs(&request.env),
        }
    }
}

/// Answers a compile request.
pub(crate) async fn compile(daemon: &Arc<Daemon>, hello: &Hello, request: Compile, fds: &[OwnedFd], pid: Option<i32>) -> Answer {
    let started = Instant::now();
    daemon.counters.count(|stats| stats.requests += 1);
    let mut story = story(&request);
    let caller = Caller::of(&request, daemon, pid);
    let plainly = async |reason: &str, heavy: bool| {
        let run = run_plainly(daemon, reason, heavy, caller.under_slot.as_deref(), pid).await;
        Answer::plain(Reply::RunLocally(run))
    };
    let stdin = request.stdin.and_then(|index| read_stdin(fds.get(usize::from(index))?));
    let analysed = analyse(daemon, hello, request, stdin).await;
    story.analyse_us = started.elapsed().as_micros() as u64;
    let mut inputs = Vec::new();
    let (answer, stories) = match analysed {
        Err(refused) => {
            daemon.counters.refused(&refused.reason);
            story.went = "refused".to_owned();
            story.reason = format!("{}: {}", refused.reason, refused.detail);
            (plainly(&refused.reason, refused.heavy).await, vec![story])
        }
        Ok((work, request)) => {
            // A script that holds a slot for its compiler needs none while that goes its own way.
            if let Some(token) = caller.under_slot.as_ref().filter(|_| is_below_script(&request)) {
                daemon.holders.release(token);
            }
            let action = work.units[0].action_digest;
            let mut stories: Vec<Unit> = work.units.iter().map(|unit| tell(&story, unit)).collect();
            for unit in &work.units {
                count_form(daemon, &unit.form);
                inputs.push(unit.blobs.files().collect::<Vec<_>>());
            }
            let answer = match finish(daemon, work, &caller, &mut stories).await {
                Ok(answer) => answer,
                Err(Unfinished::Fail(text)) => {
                    stories.iter_mut().for_each(|story| story.went = "failed-by-policy".to_owned());
                    Answer::plain(Reply::Fail(text))
                }
                Err(Unfinished::Plainly { reason }) => {
                    for story in &mut stories {
                        story.went = "local".to_owned();
                        story.reason.clone_from(&reason);
                    }
                    daemon.counters.count(|stats| stats.local += stories.len() as u64);
                    plainly(&reason, true).await
                }
            };
            if let [Unit { precompiled: Some(content), .. }] = stories.as_slice() {
                daemon.precompiled.note(*content, request, action);
            }
            (answer, stories)
        }
    };
    inputs.resize(stories.len(), Vec::new());
    for (mut story, inputs) in stories.into_iter().zip(&inputs) {
        story.total_ms = started.elapsed().as_millis() as u64;
        daemon.journal.add(story, inputs);
    }
    answer
}

fn story(request: &Compile) -> Unit {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let args = journal::remembered(&request.args);
    Unit { began: Some(Instant::now()), cwd: text(&request.cwd), compiler: text(&request.compiler), args, ..Unit::default() }
}

/// The story of one unit of the command.
fn tell(story: &Unit, unit: &Analysed) -> Unit {
    let mut story = story.clone();
    story.source.clone_from(&unit.unit.source);
    story.output.clone_from(&unit.unit.main_output().path);
    story.action = unit.action_digest.to_string();
    story.input_root = unit.action.input_root_digest.to_string();
    story.toolchain =
        format!("{:?} {} {} {}", unit.toolchain.family, unit.toolchain.version, unit.toolchain.target, unit.toolchain.id);
    story.command = unit.action.command_digest.to_string();
    story.family = Some((unit.toolchain.family, unit.toolchain.cxx));
    story.env.clone_from(&unit.unit.env);
    story.form = match &unit.form {
        Form::Scanned => "scanned".to_owned(),
        Form::Listed(why) => format!("listed: {why}"),
    };
    story
}

fn count_form(daemon: &Daemon, form: &Form) {
    daemon.counters.count(|stats| match form {
        Form::Scanned => stats.scanned += 1,
        Form::Listed(why) => {
            stats.listed += 1;
            *stats.unprovable.entry(why.clone()).or_default() += 1;
        }
    });
}

/// Whether a script above stands in for the compiler, and keeps kiln in its PATH.
fn is_below_script(request: &Compile) -> bool {
    request.env.iter().any(|variable| variable.strip_prefix(b"KILN_SCRIPT=").is_some_and(|scripts| !scripts.is_empty()))
}

/// `KILN_FALLBACK` of the build, which may differ from the daemon's own.
fn fallback_of(request: &Compile) -> Option<Fallback> {
    let value = request.env.iter().find_map(|variable| variable.strip_prefix(b"KILN_FALLBACK="))?;
    match value {
        b"silent" => Some(Fallback::Silent),
        b"warn" => Some(Fallback::Warn),
        b"fail" => Some(Fallback::Fail),
        _ => None,
    }
}

/// Most bytes of a source that comes by standard input: what the wrapper keeps in memory.
const STDIN_MAX: u64 = 64 << 20;

/// The memory file with what the wrapper read.
fn read_stdin(fd: &OwnedFd) -> Option<Arc<[u8]>> {
    let file = std::fs::File::from(fd.try_clone().ok()?);
    let len = file.metadata().ok().filter(|meta| meta.is_file() && meta.len() <= STDIN_MAX)?.len();
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes.into())
}

pub(crate) async fn analyse(
    daemon: &Arc<Daemon>,
    hello: &Hello,
    request: Compile,
    stdin: Option<Arc<[u8]>>,
) -> Result<(Work, Compile), Refused> {
    let cwd = hello.view.cwd;
    let epoch = daemon.files.begin();
    let permit = daemon.light.acquire().await;
    if permit.is_none() {
        return Err(Refused::new("overload", "too many requests wait"));
    }
    let daemon = Arc::clone(daemon);
    let worked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let path = std::str::from_utf8(&request.cwd).map_err(|_| Refused::new("not-utf8", "the working directory"))?;
        let same = rustix::fs::stat(path).is_ok_and(|stat| stat.st_dev == cwd.dev && stat.st_ino == cwd.ino);
        if !same {
            return Err(Refused::new("other-view", path));
        }
        analyst(&daemon, stdin).analyse(&request, epoch).map(|work| (work, request))
    });
    worked.await.unwrap_or_else(|error| {
        tracing::error!("analysis: {error}");
        Err(Refused::new("bug", error.to_string()))
    })
}

/// What reads requests with all that this daemon remembers.
pub(crate) fn analyst(daemon: &Daemon, stdin: Option<Arc<[u8]>>) -> Analyst<'_> {
    Analyst {
        files: &daemon.files,
        scans: &daemon.scans,
        toolchains: &daemon.toolchains,
        bases: &daemon.bases,
        precompiled: &daemon.precompiled,
        stdin,
        again: false,
    }
}

/// The wrapper runs its compiler itself; a heavy one waits for a slot.
pub(crate) async fn run_plainly(
    daemon: &Arc<Daemon>,
    reason: &str,
    heavy: bool,
    under_slot: Option<&[u8]>,
    pid: Option<i32>,
) -> RunLocally {
    let nested = under_slot.is_some_and(|token| daemon.holders.is_held(token));
    let token = match (heavy && !nested, pid) {
        (true, Some(pid)) => match daemon.heavy.acquire().await {
            Some(permit) => daemon.holders.hold(pid, permit),
            None => None,
        },
        _ => None,
    };
    RunLocally { reason: reason.to_owned(), token, warning: None, rest: None }
}

/// Brings the units of a command to its reply.
async fn finish(daemon: &Arc<Daemon>, work: Work, caller: &Caller, stories: &mut [Unit]) -> Result<Answer, Unfinished> {
    let Work { units, link } = work;
    let alone = units.len() == 1 && link.is_none();
    let runs = units.into_iter().zip(stories).map(|(unit, story)| finish_unit(daemon, Arc::new(unit), caller, alone, story));
    let mut parts = futures::future::try_join_all(runs).await?;
    let warning = parts.iter_mut().find_map(|(_, finished)| finished.warning.take());
    let mut parts: Vec<_> = parts.iter_mut().map(|(unit, finished)| (&unit.unit, std::mem::take(&mut finished.result))).collect();
    if let Some(link) = link {
        if parts.iter().all(|(_, result)| result.exit_code == 0) {
            return several::link(daemon, &link, parts, warning, caller).await;
        }
        // Nothing is linked, and the objects that were made go as the driver's temporary files would.
        parts.iter_mut().for_each(|(_, result)| result.files.clear());
        let mut answer = delivered(parts, warning)?;
        if let Reply::Done(done) = &mut answer.reply {
            done.removed.clear();
        }
        return Ok(answer);
    }
    delivered(parts, warning)
}

fn delivered(parts: Vec<(&Invocation, UnitResult)>, warning: Option<String>) -> Result<Answer, Unfinished> {
    let packed = deliver(parts, warning).map_err(|error| {
        tracing::error!("a result cannot be handed over: {error}");
        Unfinished::Plainly { reason: "delivery".to_owned() }
    })?;
    let Delivery { done, fds } = packed;
    Ok(Answer { reply: Reply::Done(Box::new(done)), fds })
}

/// Brings an analysed unit to its result; once more for a terminal, where there is something to say.
async fn finish_unit(
    daemon: &Arc<Daemon>,
    unit: Arc<Analysed>,
    caller: &Caller,
    alone: bool,
    story: &mut Unit,
) -> Result<(Arc<Analysed>, Finished), Unfinished> {
    let mut finished = obtain(daemon, &unit, caller.fallback, story).await?;
    if !alone && several::driver_speaks(&finished.result.stderr) {
        return Err(Unfinished::Plainly { reason: "driver-message".to_owned() });
    }
    if unit.unit.output_kind == OutputKind::Precompiled && finished.result.exit_code == 0 && alone {
        let main = &unit.unit.main_output().path;
        story.precompiled = tokio::task::block_in_place(|| precompiled::content_of(&finished.result, main));
    }
    let mut model = unit;
    if let Some(terminal) = caller.terminal
        && !finished.result.stderr.is_empty()
    {
        if !model.knows_terminal() {
            return Err(Unfinished::Plainly { reason: "unknown-terminal".to_owned() });
        }
        let colours = Arc::new(Arc::unwrap_or_clone(model).for_terminal(terminal));
        finished = obtain(daemon, &colours, caller.fallback, story).await?;
        model = colours;
    }
    let exit_code = finished.result.exit_code;
    story.exit = Some(exit_code);
    story.went = match finished.went {
        Went::Hit(_) => "hit",
        Went::Remote => "remote",
        Went::Here => "local",
    }
    .to_owned();
    daemon.counters.count(|stats| {
        match finished.went {
            Went::Hit("local") => stats.hits.local += 1,
            Went::Hit(_) => stats.hits.remote += 1,
            Went::Remote => stats.remote += 1,
            Went::Here => stats.local += 1,
        }
        stats.failed += u64::from(exit_code != 0);
    });
    Ok((model, finished))
}

/// A result of the action, from wherever it can be had.
async fn obtain(daemon: &Arc<Daemon>, unit: &Arc<Analysed>, fallback: Fallback, story: &mut Unit) -> Result<Finished, Unfinished> {
    if let Some(result) = find_local(daemon, unit).await {
        return Ok(Finished { result, went: Went::Hit("local"), warning: None });
    }
    let Some(farm) = daemon.farm.clone() else {
        story.reason = "no-farm: none is set up".to_owned();
        return run_here(daemon, unit, None).await;
    };
    farm.first_look().await;
    if daemon.settings.remote_cache
        && farm.is_up()
        && let Some(remote) = farm.look_up(unit).await
    {
        match take(daemon, unit, remote) {
            Ok(result) => return Ok(Finished { result, went: Went::Hit("remote"), warning: None }),
            Err(Setback::Missed(missed)) => return Err(scan_miss(daemon, unit, &missed)),
            // A result that does not stand up to checking is as good as none.
            Err(_) => {}
        }
    }
    let mut variants = Variants::of(daemon, unit);
    if let Some((result, from)) = variants.find(daemon, &farm).await {
        return Ok(Finished { result, went: Went::Hit(from), warning: None });
    }
    let began = Instant::now();
    let mut course = Course::new(fallback == Fallback::Fail);
    while let Next::Remote { attempt } = course.next() {
        let wish = Wish { attempt, avoid: course.avoid(), substitutes: variants.ids() };
        match place(daemon, &farm, unit, &wish).await {
            Where::Worker(mut granted) => {
                course.granted();
                let worker = granted.grant.worker_name.clone();
                match try_on(daemon, &farm, unit, &variants, &mut granted, story).await {
                    Ok(result) => return Ok(Finished { result, went: Went::Remote, warning: None }),
                    Err(Setback::Unfit { code: NOT_COUNTED, .. }) => variants.give_up(),
                    Err(Setback::Missed(missed)) => return Err(scan_miss(daemon, unit, &missed)),
                    Err(setback) => {
                        if let Setback::Lost { code, .. } | Setback::Unfit { code, .. } = &setback {
                            daemon.counters.lost_attempt(code);
                        }
                        course.set_back(&worker, setback);
                    }
                }
            }
            Where::Here { permit, why } => {
                story.reason = why.to_owned();
                story.here_at_ms = Some(story.elapsed_ms());
                return run_here(daemon, unit, Some(permit)).await;
            }
            Where::Nowhere { .. } if variants.were_given_up() => break,
            Where::Nowhere { code, detail } => match course.nowhere(code, detail, began.elapsed()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break,
            },
        }
    }
    story.here_at_ms = Some(story.elapsed_ms());
    match course.blame() {
        Some((code, detail)) => {
            story.reason = format!("{code}: {detail}");
            blamed(daemon, unit, fallback, code, detail).await
        }
        None => {
            let given_up = variants.were_given_up();
            story.reason =
                if given_up { "unknown-toolchain: no worker serves it" } else { "farm-full: workers turned it down" }.to_owned();
            run_here(daemon, unit, None).await
        }
    }
}

/// One attempt on the granted worker, told in the unit's story.
async fn try_on(
    daemon: &Arc<Daemon>,
    farm: &Farm,
    unit: &Arc<Analysed>,
    variants: &Variants,
    granted: &mut Granted,
    story: &mut Unit,
) -> Result<UnitResult, Setback> {
    let (at_ms, began) = (story.elapsed_ms(), Instant::now());
    let (run, by) = match variants.granted(&granted.grant) {
        Whose::Own => (unit, String::new()),
        Whose::Substitute(other) => (other, format!(", by its {}", other.command.arguments[0])),
        Whose::Unknown => return Err(Setback::Rejected),
    };
    let mut sent = Sent::default();
    let outcome = farm.attempt(run, granted, &mut sent).await;
    daemon.counters.count(|stats| stats.uploaded_bytes += sent.bytes);
    story.uploaded_blobs += sent.blobs;
    story.uploaded_bytes += sent.bytes;
    story.uploaded_files.extend(sent.files.iter().map(|path| path.to_string()));
    let outcome = match outcome {
        Ok(remote) => take(daemon, run, remote),
        Err(setback) => Err(setback),
    };
    let outcome = if by.is_empty() { outcome } else { counted(outcome) };
    let told = outcome.as_ref().map_or_else(|setback| format!("{setback:?}{by}"), |_| format!("ok{by}"));
    let ms = began.elapsed().as_millis() as u64;
    story.attempts.push(Attempt { worker: granted.grant.worker_name.clone(), outcome: told, at_ms, ms });
    daemon.counters.count(|stats| stats.substituted += u64::from(outcome.is_ok() && !by.is_empty()));
    outcome
}

/// The farm let the unit down: it runs here, and the user is told as he wishes.
async fn blamed(
    daemon: &Arc<Daemon>,
    unit: &Arc<Analysed>,
    fallback: Fallback,
    code: &str,
    detail: &str,
) -> Result<Finished, Unfinished> {
    daemon.counters.fallback(code);
    let text = format!("{}: {code}: {detail}", unit.unit.source);
    if fallback == Fallback::Fail && code != "doubtful-end" && code != "input-changed" {
        return Err(Unfinished::Fail(text));
    }
    let mut finished = run_here(daemon, unit, None).await?;
    if fallback == Fallback::Warn {
        finished.warning = Some(format!("compiled here, not on the farm: {text}"));
    }
    Ok(finished)
}

enum Where {
    Worker(Box<Granted>),
    Here { permit: Permit, why: &'static str },
    Nowhere { code: &'static str, detail: String },
}

/// How long a unit waits for a worker before this machine's own processors compete for it: covers the time in which grants
/// that were just returned come round again.
const GRACE_MS: u32 = 150;

/// How long a unit waits for the word of a scheduler that does not answer before this machine's processors compete for it.
const SILENT_GRACE: Duration = Duration::from_secs(1);

/// A worker, or an idle processor of this machine when the farm is full or does not answer.
async fn place(daemon: &Arc<Daemon>, farm: &Arc<Farm>, unit: &Arc<Analysed>, wish: &Wish<'_>) -> Where {
    let full = Notify::new();
    let here = async {
        let why = match tokio::time::timeout(SILENT_GRACE, full.notified()).await {
            Ok(()) => "farm-full: this machine had a processor before a worker had",
            Err(_) => "farm-silent: this machine had a processor before the scheduler answered",
        };
        if daemon.local.executor.is_some()
            && let Some(permit) = daemon.heavy.acquire().await
        {
            return Where::Here { permit, why };
        }
        // No sandbox, or too many wait here already: the farm it is.
        std::future::pending().await
    };
    tokio::pin!(here);
    let mut wait_ms = GRACE_MS;
    loop {
        let no_grant = tokio::select! {
            biased;
            granted = farm.acquire(unit, wish, wait_ms) => match granted {
                Ok(granted) => return Where::Worker(Box::new(granted)),
                Err(no_grant) => no_grant,
            },
            here = &mut here => return here,
        };
        let (code, detail) = match no_grant {
            NoGrant::Full => {
                wait_ms = ACQUIRE_WAIT_MS;
                full.notify_one();
                continue;
            }
            NoGrant::Unserved => ("unknown-toolchain", "no worker serves it".to_owned()),
            NoGrant::NoWorkers => ("no-workers", "no worker takes work, but for those that failed just now".to_owned()),
            NoGrant::NoFarm(detail) => ("no-farm", detail),
        };
        return Where::Nowhere { code, detail };
    }
}

/// A result of this action kept on this machine.
pub(crate) async fn find_local(daemon: &Arc<Daemon>, unit: &Arc<Analysed>) -> Option<UnitResult> {
    daemon.local.results.as_ref()?;
    let (daemon, digest) = (Arc::clone(daemon), unit.action_digest);
    tokio::task::spawn_blocking(move || daemon.local.find(&digest)).await.ok().flatten()
}

async fn run_here(daemon: &Arc<Daemon>, unit: &Arc<Analysed>, permit: Option<Permit>) -> Result<Finished, Unfinished> {
    if daemon.local.executor.is_none() {
        return Err(Unfinished::Plainly { reason: "no-sandbox".to_owned() });
    }
    let permit = match permit {
        Some(permit) => Some(permit),
        None => daemon.heavy.acquire().await,
    };
    let cancel = CancelSwitch::new();
    let _cancelled_when_dropped = CancelGuard(cancel.clone());
    let (for_messages, for_thread, unit) = (unit, Arc::clone(daemon), Arc::clone(unit));
    let ran = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let executed = for_thread.local.run(&unit, &cancel)?;
        let result = for_thread.local.open(&executed.result).map_err(LocalError::Failed)?;
        if let Some(missed) = witness::missed(&unit, &for_thread.files, &result) {
            return Ok(Err(missed));
        }
        if executed.result.exit_code == 0 {
            for_thread.local.keep(&unit.action_digest, &executed.result);
        }
        Ok(Ok(result))
    });
    let ran = ran.await.unwrap_or_else(|error| Err(LocalError::Failed(error.to_string())));
    match ran {
        Ok(Ok(result)) => Ok(Finished { result, went: Went::Here, warning: None }),
        Ok(Err(missed)) => Err(scan_miss(daemon, for_messages, &missed)),
        Err(error) => {
            tracing::info!("not run in the sandbox here: {error}");
            Err(Unfinished::Plainly { reason: "local-sandbox".to_owned() })
        }
    }
}

/// What was found before the compile is not all that it needs: the unit runs as the user wrote it.
fn scan_miss(daemon: &Daemon, unit: &Analysed, missed: &str) -> Unfinished {
    tracing::error!("{}: an input was not found by the scan: {missed}; please report it", unit.unit.source);
    daemon.counters.count(|stats| stats.scan_miss += 1);
    Unfinished::Plainly { reason: "scan-miss".to_owned() }
}

struct CancelGuard(CancelSwitch);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
