"""Cache hits: the same units, and a whole tree, again and again by every cache in turn. All is compiled once before, outside the measured time."""

import contextlib
import os
import subprocess

import builds
import common
import projects
import record
import tool_kiln
import tool_sccache
import tools

ROUNDS = common.rounds(10)
# For the rounds of the whole tree, beside what the groups get.
TREE_SECONDS = 60


def measure(results):
    results.note("One unit at a time; a round is all units of a group through one cache, and pairs are rounds. CPU is the caller's process and all it "
                 "starts, and the cache's daemon where it has one. Compilers are real and run only to fill the caches, before anything is measured.")
    projects.each_group(results, measure_group)
    with failing(results, "whole tree", "bench"):
        measure_tree(results, builds.BUILDS["haproxy"])


def measure_group(results, group, budget):
    recording = record.Recording(group)
    running = start(results, group.name)
    try:
        rounds(results, recording, fill(results, recording, running), budget)
    finally:
        for tool in running.values():
            tool.stop()
    results.add(group.name, "gcc", "compile_cpu", "ms/TU", [unit.compile_cpu_ms for unit in group.units])


def start(results, case):
    """The caches that come up; a cache that does not is an error of the report."""
    suffix = case.replace("+", "x").replace(", ", "-").replace(" ", "-")
    running = {}
    for name, make in (("kiln", lambda: tool_kiln.Kiln("hit-" + suffix, cache=True)), ("ccache", lambda: tools.Ccache("ccache-" + suffix)),
                       ("ccache-newest", lambda: tools.CcacheNewest("ccache-newest-" + suffix)),
                       ("sccache", lambda: tool_sccache.Sccache("sccache-" + suffix))):
        with failing(results, case, name):
            running[name] = make()
    return running


def fill(results, recording, running):
    """Every unit through every cache; kiln's goes a second time through all, as the one that keeps results after it answers."""
    good = {}
    for name, tool in running.items():
        with failing(results, recording.group.name, name):
            for _ in range(2):
                record.drive(recording, tool, 2)
            good[name] = tool
    return good


def rounds(results, recording, running, budget):
    case = recording.group.name
    before = hits(running)
    found = {name: [] for name in running}
    done = 0
    for done in budget.rounds(ROUNDS, results, case):
        for name in list(found):
            with failing(results, case, name, found):
                found[name].append(record.drive(recording, running[name], 1))
    for name, rows in found.items():
        results.add(case, name, "hit_cpu", "ms/TU", [row.cpu_ms for row in rows])
        results.add(case, name, "hit_cpu_processes", "ms/TU", [row.processes_ms for row in rows])
        results.add(case, name, "hit_wall", "ms/TU", [row.wall_ms / len(row.unit_wall_ms) for row in rows])
        results.add(case, name, "exact_objects", "of 1", [row.exact for row in rows])
    if "kiln" not in found:
        return
    all_hits(results, case, hits(running) - before, (done + 1) * recording.first)
    for peer in found:
        if peer != "kiln":
            for metric, value in (("hit_cpu", lambda row: row.cpu_ms), ("hit_wall", lambda row: row.wall_ms)):
                results.compare(case, metric, [value(row) for row in found["kiln"]], [value(row) for row in found[peer]], "kiln", peer)


def measure_tree(results, build):
    """One project's whole build where each compile is a hit; what comes out is a plain build's to the byte."""
    case, jobs = f"{build.name}, whole tree", os.cpu_count()
    results.note(f"{case}: make -j{jobs} of all of it after make clean; make, the links and all they start count too.")
    build.prepare()
    running = start(results, case)
    try:
        found = {}
        for name, tool in running.items():
            with failing(results, case, name):
                # A second time for those that keep a result after they gave it.
                for _ in range(2):
                    build.run(name, tool, jobs, None)
                found[name] = []
        before, done = hits(running), 0
        for done in common.Budget(TREE_SECONDS).rounds(ROUNDS, results, case):
            for name in list(found):
                with failing(results, case, name, found):
                    found[name].append(build.run(name, running[name], jobs, None))
        if "kiln" in found:
            all_hits(results, case, hits(running) - before, (done + 1) * build.units)
    finally:
        for tool in running.values():
            tool.stop()
    for at, metric in ((0, "tree_wall"), (1, "tree_cpu")):
        for name, rows in found.items():
            results.add(case, name, metric, "s", [row[at] for row in rows])
            if name != "kiln" and "kiln" in found:
                results.compare(case, metric, [row[at] for row in found["kiln"]], [row[at] for row in rows], "kiln", name)


@contextlib.contextmanager
def failing(results, case, name, found=None):
    """What a tool fails at is an error of the report, and takes it out of `found`."""
    try:
        yield
    except (common.Failed, OSError, subprocess.SubprocessError) as error:
        results.error(case, name, error)
        if found is not None:
            found.pop(name)


def all_hits(results, case, count, asked):
    """kiln's share of hits, which has to be all."""
    share = count / asked
    results.add(case, "kiln", "hit_share", "of 1", [share])
    if share < 1:
        results.error(case, "kiln", f"only {share:.3f} of the requests were hits")


def hits(running):
    if "kiln" not in running:
        return 0
    counted = running["kiln"].json("stats").get("hits", {})
    return counted.get("local", 0) + counted.get("memory", 0)
