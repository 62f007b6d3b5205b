"""Whole builds on simulated farms: servers answer each compile after the time that it took when it was recorded."""

import subprocess

import builds
import common
import net
import tool_kiln
import tools

# Farm size: servers and slots of each.
FARMS = {8: (1, 8), 64: (2, 32), 512: (16, 32)}
# Pairs for each; what a small farm takes is its compilers' sleep, which hardly varies.
ROUNDS = {size: 10 if common.FULL else common.rounds(count) for size, count in {64: 10, 8: 2, 512: 2}.items()}
# Links tried with the middle farm: rate, and delay each way in ms.
LINKS = [("100mbit", 1), ("1gbit", 1), ("1gbit", 20)] if common.FULL else [("100mbit", 1), ("1gbit", 20)]
LINK_ROUNDS = 5 if common.FULL else common.rounds(2)
PLAIN_ROUNDS = 3
# Their servers keep no file, at most the compiler.
FORGETFUL = ("distcc", "distcc-pump", "icecc")


def measure(results):
    measure_build(results, builds.BUILDS["haproxy"], ROUNDS, LINKS)
    results.note("The kernel's whole defconfig takes hours: `make bench WHAT=kernel`.")


def measure_build(results, build, rounds_of, links):
    """One project's build by each tool: `rounds_of` each size of farm, then over each link."""
    results.note("make -j (farm's cores + 2), nothing built before; the client (make, wrappers, daemon, link) on one core, all servers on another. Servers are "
                 "real, their compiler sleeps the CPU time of the recorded compile and answers with its result: no server compiles. client_cpu is that of make and "
                 f"all below it and of the client's daemons. The product ({build.product}) must be that of a plain build to the byte. "
                 f"farm_busy is the share of the servers' core in use: over {common.FARM_BOUND} the row is farm-bound. No cache; farms are warm: one build before, of one object for those whose servers keep no files ("
                 f"{', '.join(FORGETFUL)}); "
                 "compiled_remotely is the share of units that a server compiled, where the tool tells; the rest the client did. kiln's daemon lives on between builds, pump's include server is new for each, as they are in use. "
                 "gcc: compile_cpu is that of all compiles when they were recorded, what one core alone would need at the least.")
    build.prepare()
    results.add(build.name, "gcc", "compile_cpu", "s", [build.compile_cpu_s])
    if common.FULL:
        add(results, f"{build.name}, this core alone", "gcc", [build.run("gcc", tools.Plain(), 1, common.CLIENT_CORE) for _ in range(PLAIN_ROUNDS)])
    todo = [(f"{build.name}, {size} cores", size, None, rounds) for size, rounds in rounds_of.items()]
    if net.isolate():
        todo += [(f"{build.name}, 64 cores, {rate}/s, {delay} ms", 64, (rate, delay), LINK_ROUNDS) for rate, delay in links]
    else:
        results.error(build.name, "links", "needs network namespaces")
    for number, (case, size, link, rounds) in enumerate(todo):
        # The first, of which the most is wanted, gets half.
        budget = results.budget.share(2 if number == 0 else len(todo) - number)
        compare(results, build, case, size, link, (rounds, budget))


def makers(build, size, tag, delay):
    servers, slots = FARMS[size]
    settings = {"sleeps": True, "cpus": {common.SERVER_CORE}, "delay_ms": delay}
    client = {common.CLIENT_CORE}
    # icecc's daemons each unpack the tarball with all that was recorded: one of them has all the slots.
    return {
        "kiln": lambda: tool_kiln.Kiln(tag + "k", tool_kiln.Farm(tag + "k", build, workers=servers, slots=slots, **settings), fallback="silent", cpus=client),
        "distcc-pump": lambda: tools.Pump(tag + "p", build, servers=servers, slots=slots, client_cpus=client, **settings),
        "distcc": lambda: tools.Distcc(tag + "d", build, servers=servers, slots=slots, **settings),
        "icecc": lambda: tools.Icecc(tag + "i", build, servers=1, slots=size, client_cpus=client, **settings)}


def compare(results, build, case, size, link, rounds):
    running, found = {}, {}
    try:
        for name, make in makers(build, size, f"b{build.name}{size}", link[1] if link else 0).items():
            if common.chosen("TOOLS") and name not in common.chosen("TOOLS"):
                continue
            try:
                running[name] = make()
                if link:
                    running[name].host_of_farm().limit(link[0])
                before = build.run_first if name in FORGETFUL else build.run
                before(name, running[name], size + 2, common.CLIENT_CORE)
                found[name] = []
            except (common.Failed, OSError, subprocess.SubprocessError) as error:
                drop(results, case, name, error, running)
        for _ in rounds[1].rounds(rounds[0], results, case):
            for name in list(running):
                try:
                    if running[name].fresh_after_changes:
                        running[name].restart()
                    found[name].append(build.run(name, running[name], size + 2, common.CLIENT_CORE))
                except (common.Failed, OSError, subprocess.SubprocessError) as error:
                    drop(results, case, name, error, running)
                    # What it did until then stands in the report, without a ratio.
                    add(results, case, name, found.pop(name))
    finally:
        for tool in running.values():
            tool.stop()
    for name, values in found.items():
        add(results, case, name, values)
        if name != "kiln" and "kiln" in found:
            for at, metric in ((0, "wall"), (1, "client_cpu")):
                results.compare(case, metric, [value[at] for value in found["kiln"]], [value[at] for value in values], "kiln", name)


def drop(results, case, name, error, running):
    results.error(case, name, error)
    tool = running.pop(name, None)
    if tool:
        tool.stop()


def add(results, case, name, values):
    for at, (metric, unit) in enumerate((("wall", "s"), ("client_cpu", "s"), ("farm_busy", "of 1"))):
        results.add(case, name, metric, unit, [value[at] for value in values])
    results.add(case, name, "compiled_remotely", "of 1", [value[3] for value in values if value[3] is not None])
    if values and sorted(value[2] for value in values)[len(values) // 2] > common.FARM_BOUND:
        results.note(f"farm-bound: {case}, {name}.")
