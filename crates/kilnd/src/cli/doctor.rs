//! `kiln doctor`: looks at everything a compile needs, says what is wrong and how to mend it. Mends nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::links;
use super::place;
use super::print;
use super::stale;
use super::talk;
use super::talk::Asker;
use crate::config::Sources;
use crate::config::resolve;
use crate::exit::Exit;
use crate::serving;

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    /// Works, but not as well as it could.
    Weak,
    Wrong,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Report(Vec<(Mark, String)>);

impl Report {
    fn good(&mut self, line: impl Into<String>) {
        self.0.push((Mark::Good, line.into()));
    }

    fn weak(&mut self, line: impl Into<String>) {
        self.0.push((Mark::Weak, line.into()));
    }

    fn wrong(&mut self, line: impl Into<String>) {
        self.0.push((Mark::Wrong, line.into()));
    }

    fn text(&self) -> String {
        let line = |(mark, line): &(Mark, String)| {
            let word = match mark {
                Mark::Good => "good ",
                Mark::Weak => "note ",
                Mark::Wrong => "WRONG",
            };
            format!("{word}  {line}\n")
        };
        self.0.iter().map(line).collect()
    }

    fn exit(&self) -> Exit {
        if self.0.iter().any(|(mark, _)| *mark == Mark::Wrong) { Exit::Failure } else { Exit::Success }
    }
}

/// `kiln doctor`. Fails where something is wrong.
///
/// # Errors
/// None of its own: what cannot be looked at is a finding.
pub(crate) fn doctor() -> anyhow::Result<Exit> {
    let asker = Asker::new();
    let mut report = Report::default();
    configuration(&mut report);
    programs(&mut report);
    state(&mut report);
    daemon(&mut report, &asker);
    print!("{}", report.text());
    Ok(report.exit())
}

fn configuration(report: &mut Report) {
    let sources = Sources::of_process(BTreeMap::new(), None);
    for line in sources.unknown_variables() {
        report.wrong(format!("environment: {line}"));
    }
    let read: Vec<String> =
        sources.files().into_iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    match resolve(&sources) {
        Ok(settings) => {
            let from = if read.is_empty() { "no kiln.toml, defaults".to_owned() } else { read.join(", ") };
            report.good(format!("configuration: {from}"));
            if let Err(error) = serving::dial(&settings, kiln_rpc::Role::User) {
                report.wrong(format!("credentials towards the farm: {error:#}"));
            }
        }
        Err(error) => report.wrong(format!("configuration: {error}")),
    }
}

fn programs(report: &mut Report) {
    match place::kiln() {
        Ok(kiln) => {
            let compilers: Vec<String> = links::compilers(&kiln).into_iter().collect();
            match compilers.is_empty() {
                true => report.wrong("no compiler in PATH: install gcc or clang"),
                false => report.good(format!("compilers: {}", compilers.join(" "))),
            }
            report.good(format!("wrapper: {}", kiln.display()));
        }
        Err(error) => report.wrong(format!("{error:#}")),
    }
}

fn state(report: &mut Report) {
    let dir = place::state_dir();
    // Made here: a user who asks before the first compile has none.
    match std::fs::create_dir_all(&dir) {
        Ok(()) if kiln_frame::sys::may_write(&dir) => report.good(format!("state: {}", dir.display())),
        Ok(()) => report.wrong(format!("state: {} is not writable; set KILN_DIR to a directory that is", dir.display())),
        Err(error) => report.wrong(format!("state: {}: {error}", dir.display())),
    }
    if let Ok(stat) = rustix::fs::statvfs(&dir) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < FREE_MIN {
            report.weak(format!("state: only {} free at {}", print::bytes(free), dir.display()));
        }
    }
}

/// Free disk under which builds soon meet its end.
const FREE_MIN: u64 = 1 << 30;

fn daemon(report: &mut Report, asker: &Asker) {
    if let Err(error) = asker.ensure_daemon() {
        report.wrong(format!("daemon: {error:#}"));
        return;
    }
    match asker.ask_running("doctor", &[]) {
        Ok(answer) => {
            if let Ok(place) = asker.place() {
                report.good(format!("daemon: runs at {}", place.socket().display()));
            }
            read_answer(report, &answer);
            if let Some(line) = stale::line_of(asker) {
                report.wrong(line);
            }
        }
        Err(error) => report.wrong(format!("daemon: {error:#}")),
    }
    if let Some(why) = talk::last_error() {
        report.weak(format!("last error: {why}"));
    }
}

fn read_answer(report: &mut Report, answer: &Value) {
    let list = |path: &str| -> Vec<String> {
        let items = answer.pointer(path).and_then(Value::as_array);
        items.map(|items| items.iter().filter_map(Value::as_str).map(print::plain).collect()).unwrap_or_default()
    };
    let rung = answer.pointer("/sandbox/rung").and_then(Value::as_str).map(print::plain).unwrap_or_default();
    let (lacks, hints) = (list("/sandbox/why_not_better"), list("/sandbox/how_to_improve"));
    match rung.as_str() {
        "" | "None" => report.wrong(format!("sandbox: none here, so nothing compiled here is kept: {}", lacks.join("; "))),
        rung if lacks.is_empty() => report.good(format!("sandbox: {rung}")),
        rung => report.weak(format!("sandbox: {rung}; not better because {}", lacks.join("; "))),
    }
    hints.iter().for_each(|hint| report.weak(format!("sandbox: {hint}")));
    list("/sandbox/absent").iter().for_each(|absent| report.weak(format!("sandbox: {absent}")));
    let farm = answer.get("farm").and_then(Value::as_bool).unwrap_or(false);
    match answer.get("farm_error").and_then(Value::as_str).map(print::plain) {
        Some(error) => report.wrong(format!("farm: not reached: {error}")),
        None if farm => report.good("farm: reached"),
        None => report.weak("farm: none configured ([farm] schedulers); everything compiles here"),
    }
    substitutes(report, answer);
}

/// Compilers of other machines that could take the place of this one's, and how they compared.
fn substitutes(report: &mut Report, answer: &Value) {
    let on = answer.pointer("/substitutes/on").and_then(Value::as_bool).unwrap_or(false);
    let offers = answer.pointer("/substitutes/offers").and_then(Value::as_array);
    for offer in offers.into_iter().flatten() {
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(print::plain).unwrap_or_default();
        let [worker, machine, driver] = ["worker", "machine", "driver"].map(|key| text(offer, key));
        let [family, version, target] = ["family", "version", "target"].map(|key| text(offer, key));
        let what = format!("substitute: {driver} of {worker} ({machine}), {family} {version} for {target}");
        if !on {
            report.weak(format!("{what}: not used, for [daemon] substitutes is off"));
            continue;
        }
        let tried = offer.get("for").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if tried.is_empty() {
            report.weak(format!("{what}: no such compiler was used here yet; compile something, then ask again"));
        }
        for one in tried {
            let (own, why) = (text(one, "driver"), text(one, "why"));
            match one.get("equal").and_then(Value::as_bool) {
                Some(true) => report.good(format!("{what}: equal to {own} in every probe, may stand in for it")),
                Some(false) => report.wrong(format!("{what}: not used for {own}: {why}")),
                None => report.weak(format!("{what}: not compared with {own}: {why}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(answer: &Value, expect: &str, exit: Exit) {
        let mut report = Report::default();
        read_answer(&mut report, answer);
        assert_eq!((report.text().as_str(), report.exit()), (expect, exit));
    }

    #[test]
    fn what_the_daemon_says_is_judged() {
        check(
            &json!({"sandbox": {"rung": "Root", "why_not_better": []}, "farm": true, "farm_error": null}),
            "good   sandbox: Root\ngood   farm: reached\n",
            Exit::Success,
        );
        check(
            &json!({"sandbox": {"rung": "None", "why_not_better": ["no namespaces"]}, "farm": true, "farm_error": "refused"}),
            "WRONG  sandbox: none here, so nothing compiled here is kept: no namespaces\nWRONG  farm: not reached: refused\n",
            Exit::Failure,
        );
        check(
            &json!({"sandbox": {"rung": "Host", "why_not_better": ["no overlay"], "how_to_improve": ["load it"]}, "farm": false}),
            "note   sandbox: Host; not better because no overlay\nnote   sandbox: load it\n\
             note   farm: none configured ([farm] schedulers); everything compiles here\n",
            Exit::Success,
        );
    }

    #[test]
    fn compilers_of_other_machines_are_judged() {
        let offer = |tried: Value| {
            json!({"worker": "w1", "machine": "aarch64", "driver": "/usr/bin/x", "family": "gcc", "version": "12.2.0", "target": "t",
                "for": tried})
        };
        let answer = |on: bool, tried: Value| {
            json!({"sandbox": {"rung": "Root", "why_not_better": []}, "farm": true, "farm_error": null,
                "substitutes": {"on": on, "offers": [offer(tried)]}})
        };
        let head = "good   sandbox: Root\ngood   farm: reached\n";
        let what = "substitute: /usr/bin/x of w1 (aarch64), gcc 12.2.0 for t: ";
        for (on, tried, line, exit) in [
            (false, json!([]), format!("note   {what}not used, for [daemon] substitutes is off\n"), Exit::Success),
            (
                true,
                json!([]),
                format!("note   {what}no such compiler was used here yet; compile something, then ask again\n"),
                Exit::Success,
            ),
            (
                true,
                json!([{"driver": "/usr/bin/gcc", "equal": true, "why": ""}]),
                format!("good   {what}equal to /usr/bin/gcc in every probe, may stand in for it\n"),
                Exit::Success,
            ),
            (
                true,
                json!([{"driver": "/usr/bin/gcc", "equal": false, "why": "-O2"}]),
                format!("WRONG  {what}not used for /usr/bin/gcc: -O2\n"),
                Exit::Failure,
            ),
            (
                true,
                json!([{"driver": "/usr/bin/gcc", "equal": null, "why": "full"}]),
                format!("note   {what}not compared with /usr/bin/gcc: full\n"),
                Exit::Success,
            ),
        ] {
            check(&answer(on, tried), &format!("{head}{line}"), exit);
        }
    }
}
