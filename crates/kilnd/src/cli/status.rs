//! `kiln status` for people: this machine, then the farm, each worker with what is wrong with it. Asks nobody.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::print;

/// The daemon's answer as text.
pub(crate) fn text(answer: &Value) -> String {
    let mut text = String::new();
    here(&mut text, answer);
    let farm = &answer["farm"];
    if farm.is_null() {
        text.push_str("farm: none is configured ([farm] schedulers)\n");
        return text;
    }
    schedulers(&mut text, farm);
    workers(&mut text, farm);
    for name in list(&farm["avoided"]) {
        let name = name.as_str().map(print::plain).unwrap_or_default();
        put(&mut text, format_args!("avoided from here until it answers: {name}: it was lost in a compile\n"));
    }
    for one in list(&farm["turned_away"]) {
        let (times, ago) = (print::count(number(one, "times"), "time"), print::time(Duration::from_millis(number(one, "ago_ms"))));
        put(
            &mut text,
            format_args!(
                "turned away by the scheduler: {}: {} ({times}, the last {ago} ago)\n",
                word(one, "who"),
                word(one, "why")
            ),
        );
    }
    text
}

fn here(text: &mut String, answer: &Value) {
    let up = print::time(Duration::from_secs(number(answer, "uptime_s")));
    put(text, format_args!("kiln {}: daemon {} up {up}\n", word(answer, "version"), number(answer, "pid")));
    let (slots, store) = (&answer["heavy_slots"], &answer["store"]);
    let requests = print::count(number(answer, "requests_active"), "request");
    put(
        text,
        format_args!(
            "here: {} of {} slots used, {requests} in hand, sandbox {}, {} of {} on disk\n",
            number(slots, "used"),
            number(slots, "capacity"),
            word(&answer["sandbox"], "rung"),
            print::bytes(number(store, "bytes")),
            print::bytes(number(store, "max_bytes")),
        ),
    );
    for toolchain in list(&answer["toolchains"]) {
        let names = ["family", "version", "target"].map(|name| word(toolchain, name)).join(" ");
        let size = print::bytes(number(toolchain, "bytes"));
        put(text, format_args!("toolchain: {} ({}, {size})\n", word(toolchain, "driver"), names.to_lowercase()));
    }
}

fn schedulers(text: &mut String, farm: &Value) {
    let up = farm["up"] == true;
    let error = word(farm, "error");
    match up {
        true => {
            let waiting = number(farm, "waiting");
            let waits = if waiting == 0 { String::new() } else { format!(", {} waiting", print::count(waiting, "request")) };
            put(text, format_args!("farm: up{waits}\n"));
        }
        false if error.is_empty() => text.push_str("farm: not up, units are compiled here: no worker takes work\n"),
        false => put(text, format_args!("farm: not up, units are compiled here: {error}\n")),
    }
    for scheduler in list(&farm["schedulers"]) {
        put(text, format_args!("scheduler {}: {}\n", word(scheduler, "address"), word(scheduler, "state")));
    }
}

fn workers(text: &mut String, farm: &Value) {
    let mut workers: Vec<&Value> = list(&farm["workers"]).iter().collect();
    workers.sort_by_key(|worker| (word(worker, "kind") == "cache", word(worker, "name")));
    let row = |worker: &&Value| {
        let jobs = match word(worker, "kind").as_str() {
            "cache" => "cache".to_owned(),
            _ => format!("{} of {}", number(worker, "leased"), number(worker, "capacity")),
        };
        let cells = [word(worker, "name"), word(worker, "state"), jobs, word(worker, "address"), word(worker, "trouble")];
        cells.to_vec()
    };
    let rows: Vec<Vec<String>> = workers.iter().map(row).collect();
    if !rows.is_empty() {
        text.push_str(&print::table(&["node", "state", "jobs", "address", "what is wrong"], &rows));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

fn word(value: &Value, name: &str) -> String {
    value[name].as_str().map(print::plain).unwrap_or_default()
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn daemon(farm: Value) -> Value {
        json!({
            "version": "0.1.0", "pid": 77, "uptime_s": 65, "requests_active": 1,
            "heavy_slots": { "used": 1, "capacity": 4 }, "sandbox": { "rung": "UserNamespace" },
            "store": { "bytes": 2048, "max_bytes": 10_737_418_240_u64 },
            "toolchains": [{ "driver": "/usr/bin/gcc-12", "family": "Gcc", "version": "12.2.0", "target": "x86_64-linux-gnu",
                "bytes": 1_048_576 }],
            "farm": farm,
        })
    }

    const HERE: &str = "kiln 0.1.0: daemon 77 up 1 min 5 s\n\
        here: 1 of 4 slots used, 1 request in hand, sandbox UserNamespace, 2.0 KB of 10.0 GB on disk\n\
        toolchain: /usr/bin/gcc-12 (gcc 12.2.0 x86_64-linux-gnu, 1.0 MB)\n";

    #[test]
    fn what_is_wrong_stands_beside_its_worker() {
        let farm = json!({
            "up": true, "waiting": 2,
            "schedulers": [{ "address": "a:1", "state": "in use" }],
            "workers": [
                { "name": "cache", "kind": "cache", "state": "well", "address": "c:1", "trouble": "" },
                { "name": "w2", "kind": "worker", "state": "silent", "leased": 0, "capacity": 0, "address": "w2:1",
                  "trouble": "silent for 4.0 s" },
                { "name": "w1", "kind": "worker", "state": "well", "leased": 1, "capacity": 2, "address": "w1:1", "trouble": "" },
            ],
            "turned_away": [{ "who": "10.0.0.9", "why": "unknown credential", "times": 3, "ago_ms": 1500 }],
            "avoided": ["w2"],
        });
        assert_eq!(
            text(&daemon(farm)),
            format!(
                "{HERE}farm: up, 2 requests waiting\nscheduler a:1: in use\n\
                 node   state   jobs    address  what is wrong\n\
                 w1     well    1 of 2  w1:1\n\
                 w2     silent  0 of 0  w2:1     silent for 4.0 s\n\
                 cache  well    cache   c:1\n\
                 avoided from here until it answers: w2: it was lost in a compile\n\
                 turned away by the scheduler: 10.0.0.9: unknown credential (3 times, the last 1.5 s ago)\n"
            )
        );
    }

    #[test]
    fn without_a_farm_it_says_why() {
        let farm = json!({ "up": false, "schedulers": [{ "address": "a:1", "state": "refused" }], "error": "a:1: refused" });
        assert_eq!(
            text(&daemon(farm)),
            format!("{HERE}farm: not up, units are compiled here: a:1: refused\nscheduler a:1: refused\n")
        );
        assert_eq!(text(&daemon(Value::Null)), format!("{HERE}farm: none is configured ([farm] schedulers)\n"));
    }
}
