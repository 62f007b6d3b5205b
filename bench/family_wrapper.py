"""Start costs: what one process of each tool costs before it does any work."""

import os
import re
import subprocess

import common
import projects
import tool_kiln
import tools

ROUNDS = common.rounds(100)
# Starts in one sample: rusage is in microseconds, and a start takes some hundred of them.
CALLS_PER_SAMPLE = 5


def measure(results):
    results.note(f"start: CPU of `TOOL --version`, {ROUNDS} rounds of {CALLS_PER_SAMPLE} calls of each tool in turn. "
                 "probe: `gcc --version` as build systems ask it, through each tool; gcc's own cost is part of every figure. "
                 "From one whole run to the next these ratios move by 5 to 20 %, more than the intervals within one run say: instructions decide. "
                 "What a whole call of kiln's wrapper takes of them is in bench/instructions.toml, and tests hold it.")
    empty = common.work("empty")
    with open(empty + ".c", "w") as file:
        file.write("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-O2", "-static", "-o", empty, empty + ".c"], check=True, timeout=60)
    starts = {"kiln": [tool_kiln.KILN, "--version"], "static-c": [empty], "true": ["/bin/true"]}
    probes = {"kiln": [tool_kiln.KILN, "gcc", "--version"], "gcc": ["gcc", "--version"]}
    for name, program in (("ccache", tools.Ccache.program()), ("ccache-newest", tools.CcacheNewest.program()),
                          *((name, common.program(name)) for name in ("distcc", "icecc", "sccache"))):
        if not program:
            results.error("start", name, "not installed")
            continue
        starts[name] = [program, "--version"]
        # sccache gives a compiler no command that compiles nothing.
        if name != "sccache":
            probes[name] = [program, "gcc", "--version"]
    env = projects.env(KILN_DIR=common.work("wrapper", "x")[:-2], DISTCC_DIR=common.work("wrapper", "x")[:-2], DISTCC_HOSTS="127.0.0.1:1")
    compare(results, "start", starts, env)
    compare(results, "probe", probes, env)
    for name, argv in starts.items():
        results.add("start", name, "instructions", "count", instructions(results, name, argv, env))


def compare(results, case, commands, env):
    cpu, wall = {name: [] for name in commands}, {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            ran = [common.run(argv, "/", env) for _ in range(CALLS_PER_SAMPLE)]
            cpu[name].append(sum(r.cpu_ms for r in ran) / CALLS_PER_SAMPLE * 1e3)
            wall[name].append(sum(r.wall_ms for r in ran) / CALLS_PER_SAMPLE * 1e3)
    for name in commands:
        results.add(case, name, "cpu", "us", cpu[name])
        results.add(case, name, "wall", "us", wall[name])
        if name != "kiln":
            results.compare(case, "cpu", cpu["kiln"], cpu[name], "kiln", name)
            results.compare(case, "wall", wall["kiln"], wall[name], "kiln", name)


def instructions(results, name, argv, env, cwd="/"):
    """Instructions of the one process that argv starts (none of its children), by callgrind; [] with an error where it fails."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *argv], cwd=cwd, env=env, capture_output=True, text=True,
                          timeout=120)
    found = re.findall(r"Collected\s*:\s*(\d+)", done.stderr)
    if not found:
        results.error("instructions", name, "callgrind counts nothing: below it the process runs the compiler in its place")
    return [int(found[0])] if found else []
