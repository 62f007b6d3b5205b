"""Finding the inputs of a unit: kiln's scanner against what the compilers offer. Each figure is ms of CPU for one unit."""

import json
import os
import re
import subprocess

import common
import projects

ROUNDS = common.rounds(10)
CLOSURE = os.path.join(common.ROOT, "target", "release", "examples", "closure")
GCC_FORMS = {"gcc -E": ["-E"], "gcc -E -fdirectives-only": ["-E", "-fdirectives-only"], "gcc -M": ["-M"]}


def measure(results):
    results.note("kiln's figures are its scanner's own, by thread CPU time: first (nothing known, one process for the project), "
                 "in a row (all units again, every header known), repeated (the same unit at once again: its answer is remembered). "
                 "The daemon's checks that no file changed come on top and are part of the dispatch family.")
    projects.each_group(results, measure_group)


def measure_group(results, group, budget):
    project, units = group.name, group.units
    gcc, scans = {name: [] for name in GCC_FORMS}, {"first": [], "in a row": [], "repeated": []}
    clang = {"preprocess-minimized-sources": [], "preprocess": []}
    for _ in budget.rounds(ROUNDS, results, project):
        for name, values in kiln_scan(units).items():
            scans[name].append(values)
        for mode in list(clang):
            try:
                clang[mode].append(scan_deps(units, mode))
            except (common.Failed, OSError) as error:
                results.error(project, f"clang-scan-deps-14 {mode}", error)
                clang.pop(mode)
        for name, words in GCC_FORMS.items():
            gcc[name].append(by_gcc(units, words))
    report(results, project, gcc, scans, clang)
    for line in lists(units):
        results.note(f"{project}: {line}")


def report(results, project, gcc, scans, clang):
    for name, values in scans.items():
        results.add(project, f"kiln, {name}", "cpu", "ms/TU", values)
    for name, values in gcc.items():
        results.add(project, name, "cpu", "ms/TU", values)
        results.compare(project, "cpu", scans["in a row"], values, "kiln, in a row", name)
    for mode, values in clang.items():
        tool = f"clang-scan-deps-14 {mode}"
        results.add(project, tool, "cpu", "ms/TU", values)
        results.compare(project, "cpu", scans["first"], values, "kiln, first", tool)


def by_gcc(units, words):
    """CPU of all units, mean of one. One compile in five: the compiler is the slow side."""
    chosen = units[::5]
    total = 0.0
    for unit in chosen:
        at = unit.args.index("-o")
        argv = [unit.compiler, *unit.args[:at], "-o", "/dev/null", *unit.args[at + 2:], *words]
        ran = common.run([word for word in argv if word != "-c"], unit.directory, projects.env())
        if ran.code:
            raise common.Failed(f"{unit.source}: {' '.join(words)}: {ran.error}")
        total += ran.cpu_ms
    return total / len(chosen)


def batch(units):
    path = common.work("units.batch")
    with open(path, "w") as file:
        for unit in units:
            file.write("\t".join([unit.directory, *unit.argv()]) + "\n")
    return path


def kiln_scan(units):
    done = subprocess.run([CLOSURE, "--batch", batch(units)], capture_output=True, text=True, timeout=120, env=projects.env())
    found = re.search(r"per unit: first ([\d.]+) ms, repeated ([\d.]+) ms, in a row ([\d.]+) ms", done.stdout)
    if not found:
        raise common.Failed(f"kiln's scanner: {done.stderr[-200:]}")
    first, repeated, in_a_row = (float(text) for text in found.groups())
    return {"first": first, "in a row": in_a_row, "repeated": repeated}


def lists(units):
    """What kiln's list is worth: files beyond those the compiler lists, and files missed."""
    done = subprocess.run([CLOSURE, "--check", "--batch", batch(units)], capture_output=True, text=True, timeout=300, env=projects.env())
    return [line for line in done.stdout.splitlines() if " units, " in line]


def scan_deps(units, mode):
    path = common.work("scan", "compile_commands.json")
    commands = []
    for unit in units:
        words = [word for word in unit.args if word.startswith(("-I", "-D", "-U", "-std", "-include", "-i", "-nostdinc", "-o", "-c", "-O")) or word[0] != "-"]
        commands.append({"directory": unit.directory, "file": unit.source, "arguments": ["/usr/bin/clang++-14" if unit.compiler == "g++" else "/usr/bin/clang-14", *words]})
    with open(path, "w") as file:
        json.dump(commands, file)
    ran = common.run(["clang-scan-deps-14", "-j", "1", "-mode", mode, "-compilation-database", path], "/", projects.env())
    if ran.code:
        raise common.Failed(f"clang-scan-deps-14: {ran.error}")
    return ran.cpu_ms / len(units)
