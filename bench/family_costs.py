"""What kiln costs beside: a build without a farm, the daemon's memory, and a worker's sandbox."""

import os
import re
import subprocess
import typing

import builds
import common
import projects
import tool_kiln
import tools

PAIRS = common.rounds(10)
# Objects of haproxy that are built each time: some seconds of compiling.
OBJECTS = 8
# A tree of many headers, and units that include so many each.
HEADERS, UNITS, HEADERS_A_UNIT, HEADER_LINES = 30_000, 100, 600, 60


def measure(results):
    build = builds.BUILDS["haproxy"]
    build.prepare()
    for act in (local_build, memory_of_build, memory_of_tree, sandbox):
        try:
            act(results, build)
        except (common.Failed, OSError, subprocess.SubprocessError) as error:
            results.error(act.__name__, "kiln", error)


def local_build(results, build):
    """No farm, no cache: the same compiles, here, through kiln and without it."""
    results.note(f"no farm: {OBJECTS} objects of haproxy with make -j2, without kiln and through it (no farm, no cache: compiled here, in the sandbox and "
                 "by the wrapper itself), pairs in turn; CPU of make, all below it and kiln's daemon with its jobs.")
    objects = build.objects()
    objects = objects[::max(1, len(objects) // OBJECTS)][:OBJECTS]
    found = {"gcc": [], "kiln, sandbox": [], "kiln, no sandbox": []}
    contestants: dict[str, typing.Any] = {"gcc": tools.Plain(), "kiln, sandbox": tool_kiln.Kiln("local"), "kiln, no sandbox": tool_kiln.Kiln("local-plain", KILN_DAEMON_SANDBOX="false")}
    order = list(contestants.items())
    try:
        for _ in results.budget.share(1.3).rounds(PAIRS + 1, results, "no farm"):
            for name, tool in order:
                build.clean()
                before = sum(group.cpu_ms() for group in tool.groups())
                wall, cpu = build.make(objects, builds.links_of(name, tool), tool.env, 2, None)
                found[name].append((cpu + (sum(group.cpu_ms() for group in tool.groups()) - before) / 1e3, wall))
            # Each is first as often as the others: what went before leaves its traces.
            order.append(order.pop(0))
    finally:
        for tool in contestants.values():
            tool.stop()
    for name, values in found.items():
        # The first of each finds the toolchain.
        cpu, wall = ([value[at] for value in values[1:]] for at in (0, 1))
        results.add("no farm", name, "build_cpu", "s", cpu)
        results.add("no farm", name, "build_wall", "s", wall)
        if name != "gcc":
            results.compare("no farm", "build_cpu", cpu, [value[0] for value in found["gcc"][1:]], name, "gcc")


def memory_of_build(results, build):
    results.note("memory, haproxy: the most that the daemon had resident after a whole build with make -j32 on a farm that answers at once.")
    kiln = tool_kiln.Kiln("rss", tool_kiln.Farm("rss", build, workers=2, slots=32))
    try:
        build.run("kiln", kiln, 32, None)
        results.add("memory, haproxy, -j32", "kiln", "daemon_peak", "MB", [resident(kiln.daemon.pid, "VmHWM")])
    finally:
        kiln.stop()


def resident(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"{key}:\s+(\d+) kB", file.read()).group(1)) / 1024


def memory_of_tree(results, _build):
    """A tree of many headers, all of them read by some unit."""
    results.note(f"memory, {HEADERS} headers: {UNITS} units that read {HEADERS_A_UNIT} headers each of a tree of {HEADERS}, of {HEADER_LINES} lines each, "
                 "compiled without a farm; the daemon's resident memory afterwards, and at its most.")
    root = common.work("headers", "include")
    write_tree(root)
    kiln = tool_kiln.Kiln("headers")
    try:
        for unit in range(UNITS):
            ran = common.run([*kiln.prefix, "gcc", "-Iinclude", "-c", f"unit{unit}.c", "-o", "unit.o"], os.path.dirname(root), kiln.env)
            if ran.code:
                raise common.Failed(ran.error)
        case = f"memory, {HEADERS} headers"
        results.add(case, "kiln", "daemon_resident", "MB", [resident(kiln.daemon.pid, "VmRSS")])
        results.add(case, "kiln", "daemon_peak", "MB", [resident(kiln.daemon.pid, "VmHWM")])
        scanned = kiln.json("stats").get("scanned", 0)
        if scanned != UNITS:
            raise common.Failed(f"{scanned} of {UNITS} units were scanned")
    finally:
        kiln.stop()


def write_tree(root):
    if os.path.exists(root + "/whole"):
        return
    for n in range(HEADERS):
        directory = f"{root}/d{n // 300}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/h{n}.h", "w") as file:
            file.write(f"#ifndef H{n}_H\n#define H{n}_H\n#define SIZE_{n} ({n} * 4)\n#if SIZE_{n} > 100 && defined(__GNUC__)\n#define LARGE_{n} 1\n#endif\n")
            file.writelines(f"extern int function_{n}_{line}(int first, const char *second, unsigned long third);\n" for line in range(HEADER_LINES))
            file.write("#endif\n")
    for unit in range(UNITS):
        with open(f"{os.path.dirname(root)}/unit{unit}.c", "w") as file:
            # Together the units read every header; each reads half of its neighbour's.
            for n in range(unit * HEADERS // UNITS, unit * HEADERS // UNITS + HEADERS_A_UNIT):
                at = n % HEADERS
                file.write(f'#include "d{at // 300}/h{at}.h"\n')
            file.write(f"int unit{unit};\n")
    with open(root + "/whole", "w"):
        pass


def sandbox(results, _build):
    """What the sandbox's own measurement says."""
    done = subprocess.run(["cargo", "bench", "-q", "--offline", "-p", "kiln-sandbox", "--bench", "setup"], cwd=common.ROOT, capture_output=True, text=True,
                          timeout=900)
    if done.returncode:
        raise common.Failed(done.stderr.strip()[-300:])
    results.note("sandbox: CPU of set-up and tear-down of a job whose root of 543 files differs in three from the one before, without the job's own; "
                 "`cargo bench -p kiln-sandbox`.")
    found = re.findall(r"^(.*?)\s+cpu ([\d.]+) ?(µs|us|ms|s)\b", done.stdout, re.MULTILINE)
    if not found:
        raise common.Failed(f"kiln-sandbox's bench says {done.stdout[-200:]!r}")
    scale = {"µs": 1e-3, "us": 1e-3, "ms": 1, "s": 1e3}
    for label, number, unit in found:
        results.add("sandbox, " + label.strip(), "kiln", "cpu", "ms", [float(number) * scale[unit]])
