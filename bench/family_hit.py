"""Cache hits: each unit again, by every cache in turn. Everything is compiled once before, outside the measured time."""

import common
import projects
import tools

ROUNDS = 5
# Filling three caches costs as many compiles of each unit: a part of each project is enough for hits.
UNITS = {"haproxy": 30, "re2": 10}


def start(results):
    """The caches that come up; a cache that does not is an error of the report."""
    running = {}
    for name, make in (("kiln", lambda: tools.Kiln("hit", workers=0, cache=True)), ("ccache", tools.Ccache), ("sccache", tools.Sccache)):
        try:
            running[name] = make()
        except (common.Failed, OSError) as error:
            results.error("start", name, error)
    return running


def measure(results):
    running = start(results)
    try:
        for project, count in UNITS.items():
            project_hits(results, running, project, projects.units(project, count))
    finally:
        for tool in running.values():
            tool.stop()


def project_hits(results, running, project, units):
    tools_here = fill(results, running, project, units)
    before = hits(running["kiln"]) if "kiln" in tools_here else 0
    cpu, wall = {name: [] for name in tools_here}, {name: [] for name in tools_here}
    inexact = dict.fromkeys(tools_here, 0)
    for _ in range(ROUNDS):
        for unit in units:
            for name in list(tools_here):
                try:
                    sample = projects.measure(unit, running[name])
                except common.Failed as error:
                    results.error(project, name, error)
                    tools_here.remove(name)
                    continue
                cpu[name].append(sample.cpu_ms)
                wall[name].append(sample.wall_ms)
                inexact[name] += not sample.exact
    for name in tools_here:
        results.add(project, name, "hit_cpu", "ms/TU", cpu[name])
        results.add(project, name, "hit_wall", "ms/TU", wall[name])
        results.add(project, name, "objects_differ_in_debug_info", "of 1", [inexact[name] / max(1, len(cpu[name]))])
    results.add(project, "gcc", "compile_cpu", "ms/TU", [unit.compile_cpu_ms for unit in units])
    if "kiln" in tools_here:
        share = (hits(running["kiln"]) - before) / (ROUNDS * len(units))
        results.add(project, "kiln", "hit_share", "of 1", [share])
        if share < 1:
            results.error(project, "kiln", f"only {share:.3f} of the requests were hits")
        for peer in tools_here:
            if peer != "kiln":
                results.compare(project, "hit_cpu", cpu["kiln"], cpu[peer], "kiln", peer)
                results.compare(project, "hit_wall", wall["kiln"], wall[peer], "kiln", peer)


def fill(results, running, project, units):
    """Every unit twice through every cache: some keep a result the second time they see it."""
    good = []
    for name, tool in running.items():
        try:
            for unit in units * 2:
                projects.measure(unit, tool)
            good.append(name)
        except common.Failed as error:
            results.error(project, name, error)
    return good


def hits(kiln):
    counted = kiln.json("stats").get("hits", {})
    return counted.get("local", 0) + counted.get("memory", 0)
