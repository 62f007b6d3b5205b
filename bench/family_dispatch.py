"""Client CPU of a remote compile. Workers do real compiles on this machine; only the client's own processes are counted."""

import common
import projects
import tools

# States in their order: the same units with nothing known, again, and with every source changed.
STATES = ("cold", "warm", "touched")
PEERS = (("distcc", tools.Distcc), ("icecc", tools.Icecc))


def measure(results):
    results.note("Pairs are units: each unit goes through every tool in turn, one at a time. No cache is on anywhere; kiln's own counters "
                 "are checked for it. kiln's worker offers no slot on a machine busy with other work: then an error row says so.")
    results.note("distcc runs in plain mode: Debian 12's distcc-pump fails on every file (its include server's extension lacks "
                 "PY_SSIZE_T_CLEAN) and preprocesses locally; the mended one is not measured here.")
    results.note("cold: kiln's daemon has just started, and its first unit carries the toolchain to the worker once; that unit is the maximum.")
    for project in ("haproxy", "re2"):
        units = projects.units(project)
        running = start(results, project)
        try:
            for state in STATES:
                if state == "touched":
                    projects.touch(units)
                    projects.refer(units)
                one_state(results, running, project, state, units)
        finally:
            projects.restore(units)
            for tool in running.values():
                tool.stop()
        results.add(project, "gcc", "compile_cpu", "ms/TU", [unit.compile_cpu_ms for unit in units])


def start(results, project):
    running = {}
    for name, make in (("kiln", lambda: tools.Kiln("d-" + project, workers=1)), *PEERS):
        try:
            running[name] = make()
            if name != "kiln":
                warm_up(running[name])
        except (common.Failed, OSError) as error:
            results.error(project, name, error)
            if name in running:
                running.pop(name).stop()
    return running


def warm_up(tool):
    """One unmeasured compile: icecc's remote daemon installs the compiler then, as its users have it after the first job."""
    path = common.work("warm", "warm.c")
    with open(path, "w") as file:
        file.write("int warm(void) { return 1; }\n")
    ran = common.run([*tool.prefix, "gcc", "-c", path, "-o", path + ".o"], common.work("warm", "x")[:-2], tool.env)
    if ran.code:
        raise common.Failed(f"the first compile fails: {ran.error}")


def one_state(results, running, project, state, units):
    case = f"{project}, {state}"
    kiln = running.get("kiln")
    before = kiln.json("stats") if kiln else {}
    samples = {name: [] for name in running}
    for unit in units:
        for name in list(running):
            try:
                samples[name].append(projects.measure(unit, running[name]))
            except common.Failed as error:
                results.error(case, name, error)
                running.pop(name).stop()
                samples.pop(name)
    for name, rows in samples.items():
        cpu = [row.cpu_ms for row in rows]
        results.add(case, name, "client_cpu", "ms/TU", cpu)
        results.add(case, name, "client_cpu_mean", "ms/TU", [sum(cpu) / len(cpu)])
        results.add(case, name, "wall", "ms/TU", [row.wall_ms for row in rows])
        results.add(case, name, "objects_differ_in_debug_info", "of 1", [sum(not row.exact for row in rows) / len(rows)])
        if name != "kiln" and "kiln" in samples:
            results.compare(case, "client_cpu", [row.cpu_ms for row in samples["kiln"]], cpu, "kiln", name)
    if "kiln" in samples:
        counters(results, case, before, kiln.json("stats"), len(units))


def counters(results, case, before, after, count):
    """What kiln says it did: all of it must have been remote compiles."""
    def grew(key):
        return after.get(key, 0) - before.get(key, 0)

    reused = sum(after.get("hits", {}).values()) - sum(before.get("hits", {}).values()) + grew("joined")
    results.add(case, "kiln", "remote_share", "of 1", [grew("remote") / count])
    results.add(case, "kiln", "uploaded", "KB/TU", [grew("uploaded_bytes") / count / 1e3])
    results.add(case, "kiln", "downloaded", "KB/TU", [grew("downloaded_bytes") / count / 1e3])
    if reused or grew("remote") != count:
        results.error(case, "kiln", f"{grew('remote')} of {count} units were compiled remotely, {reused} reused; "
                      f"fallback {after.get('fallback')}, refused {after.get('refused')}, unprovable {after.get('unprovable')}")
