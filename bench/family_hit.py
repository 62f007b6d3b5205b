"""Cache hits: the same units again and again, by every cache in turn. Everything is compiled once before, outside the measured time."""

import subprocess

import common
import projects
import record
import tool_kiln
import tool_sccache
import tools

ROUNDS = common.rounds(10)


def measure(results):
    results.note("One unit at a time; a round is all units of a group through one cache, and pairs are rounds. CPU is the caller's process and all it "
                 "starts, and the cache's daemon where it has one. Compilers are real and run only to fill the caches, before anything is measured.")
    projects.each_group(results, measure_group)


def measure_group(results, group, budget):
    recording = record.Recording(group)
    running = start(results, group)
    try:
        rounds(results, recording, fill(results, recording, running), budget)
    finally:
        for tool in running.values():
            tool.stop()
    results.add(group.name, "gcc", "compile_cpu", "ms/TU", [unit.compile_cpu_ms for unit in group.units])


def start(results, group):
    """The caches that come up; a cache that does not is an error of the report."""
    suffix = group.name.replace("+", "x")
    running = {}
    for name, make in (("kiln", lambda: tool_kiln.Kiln("hit-" + suffix, cache=True)), ("ccache", lambda: tools.Ccache("ccache-" + suffix)),
                       ("sccache", lambda: tool_sccache.Sccache("sccache-" + suffix))):
        try:
            running[name] = make()
        except (common.Failed, OSError, subprocess.SubprocessError) as error:
            results.error(group.name, name, error)
    return running


def fill(results, recording, running):
    """Every unit through every cache; kiln's goes a second time through all, as the one that keeps results after it answers."""
    good = {}
    for name, tool in running.items():
        try:
            for _ in range(2):
                record.drive(recording, tool, 2)
            good[name] = tool
        except (common.Failed, OSError, subprocess.SubprocessError) as error:
            results.error(recording.group.name, name, error)
    return good


def rounds(results, recording, running, budget):
    case = recording.group.name
    before = hits(running["kiln"]) if "kiln" in running else 0
    found = {name: [] for name in running}
    done = 0
    for done in budget.rounds(ROUNDS, results, case):
        for name in list(found):
            try:
                found[name].append(record.drive(recording, running[name], 1))
            except (common.Failed, OSError, subprocess.SubprocessError) as error:
                results.error(case, name, error)
                found.pop(name)
    for name, rows in found.items():
        results.add(case, name, "hit_cpu", "ms/TU", [row.cpu_ms for row in rows])
        results.add(case, name, "hit_cpu_processes", "ms/TU", [row.processes_ms for row in rows])
        results.add(case, name, "hit_wall", "ms/TU", [row.wall_ms / len(row.unit_wall_ms) for row in rows])
        results.add(case, name, "exact_objects", "of 1", [row.exact for row in rows])
    if "kiln" not in found:
        return
    share = (hits(running["kiln"]) - before) / ((done + 1) * recording.first)
    results.add(case, "kiln", "hit_share", "of 1", [share])
    if share < 1:
        results.error(case, "kiln", f"only {share:.3f} of the requests were hits")
    for peer in found:
        if peer != "kiln":
            for metric, value in (("hit_cpu", lambda row: row.cpu_ms), ("hit_wall", lambda row: row.wall_ms)):
                results.compare(case, metric, [value(row) for row in found["kiln"]], [value(row) for row in found[peer]], "kiln", peer)


def hits(kiln):
    counted = kiln.json("stats").get("hits", {})
    return counted.get("local", 0) + counted.get("memory", 0)
