"""The client's CPU for a remote compile: servers answer from recorded compiles at once, so that the client is what is measured."""

import statistics
import subprocess
import typing

import common
import projects
import record
import tool_kiln
import tool_sccache
import tools

ROUNDS = common.rounds(10)
EMPTY_ROUNDS = common.rounds(5)
# What they take of a group's time, roughly, by the time of the rest.
EMPTY_SHARE = 0.1
# Of what stands beside the comparison, or is far behind in it, so that the others have their ten.
SELDOM, SELDOM_ROUNDS = ("kiln, no TLS", "distcc-lzo", "sccache-dist"), EMPTY_ROUNDS if common.FULL else 3
# As a build runs them, and one at a time for the wait of a single unit.
JOBS = 8
# One unit in so many is run alone.
ALONE_STEP = 10
NOTES = (
    "The remote side of every tool is real (scheduler, worker, distccd, iceccd) but its compiler is not: it answers with the object that gcc gave, "
    "at once. CPU is user + system of all client processes and of the client's daemons; servers are not counted. A round is all units of a group, "
    f"{JOBS} at once, the client on one core and all servers on another; pairs are rounds. TU/s is 2000 / client CPU ms: what a client of two cores can send out. Every object is compared with gcc's.",
    "States: empty farm (nothing known anywhere), cold (daemon or include server just started, nothing known from before, headers in the farm), "
    "restarted (the same, with what kiln's daemon leaves to the next one), warm (unchanged), "
    "touched (every source has another byte than ever before), header (one central header has). No cache of results answers anywhere. "
    "The first use of a compiler (kiln packages it, icecc makes its tarball before) is measured apart, by a unit without includes.",
    f"{', '.join(SELDOM)}: {SELDOM_ROUNDS} rounds, each compared with kiln's of the same.",
    "Sent and received: what the client's wire carried, all protocol headers included, counted by the kernel. Files: of it, input files, by kiln's own counter.",
)


def measure(results):
    for note in NOTES:
        results.note(note)
    projects.each_group(results, measure_group)


def measure_group(results, group, budget):
    recording = record.Recording(group)
    results.add(group.name, "gcc", "compile_cpu", "ms/TU", [unit.compile_cpu_ms for unit in group.units])
    Dispatch(results, recording, budget).run()


# Tools that remember nothing between two units: all states cost them the same.
FORGETFUL = ("distcc", "distcc-lzo", "icecc", "sccache-dist")
# Variants of a tool that is measured anyway: of the first group alone, and never one unit at a time.
VARIANTS = ("kiln, no TLS", "distcc-lzo")


def contestants(recording, empty):
    """Name and maker of each tool."""
    suffix = f"{recording.group.name}{'-empty' if empty else ''}".replace("+", "x")
    client, server = {common.CLIENT_CORE}, {"cpus": {common.SERVER_CORE}, "empty": empty}
    makers: dict[str, typing.Callable] = {
        "kiln": lambda: tool_kiln.Kiln("dt-" + suffix, tool_kiln.Farm("dt-" + suffix, recording, **server), cpus=client),
        "kiln, no TLS": lambda: tool_kiln.Kiln("dp-" + suffix, tool_kiln.Farm("dp-" + suffix, recording, tls=False, **server), cpus=client),
    }
    for name, kind in (("distcc-pump", tools.Pump), ("distcc", tools.Distcc), ("distcc-lzo", tools.DistccLzo), ("icecc", tools.Icecc)):
        makers[name] = lambda name=name, kind=kind: kind(f"d-{name}-{suffix}", recording, client_cpus=client, **server)
    if common.program("sccache-dist"):
        makers["sccache-dist"] = lambda: tool_sccache.SccacheDist("d-sccache-" + suffix, recording, client_cpus=client, **server)
    return {name: make for name, make in makers.items() if wanted(name, recording.group, empty)}


def wanted(name, group, empty):
    """Empty objects show what is left of the cost without the output's bytes; TOOLS=a,b measures fewer, for a quick look."""
    chosen = common.chosen("TOOLS")
    if chosen:
        return name in chosen
    if common.FULL:
        return True
    first = group is next(iter(projects.GROUPS.values()))
    return not (empty and name in FORGETFUL) and (first or name not in VARIANTS)


class Dispatch:
    """One group through all tools and states."""

    def __init__(self, results, recording, budget):
        self.budget = budget
        self.results, self.recording, self.group = results, recording, recording.group
        self.tools, self.rounds = {}, {}
        self.changes = {"touched": projects.sources(self.group.units), "header": projects.header(self.group)}

    def run(self):
        self.states(self.budget.share(1 + EMPTY_SHARE), empty=False)
        if contestants(self.recording, True):
            self.states(self.budget, empty=True)

    def states(self, budget, empty):
        try:
            self.start(empty)
            what = f"{self.group.name}{', empty objects' if empty else ''}"
            for number in budget.rounds(EMPTY_ROUNDS if empty else ROUNDS, self.results, what):
                if number == SELDOM_ROUNDS:
                    self.end([name for name in SELDOM if name in self.tools])
                if empty:
                    self.each("warm, empty objects", empty=True)
                else:
                    self.changing()
                    self.each("warm")
                    self.each("alone", [name for name in self.tools if name not in VARIANTS], jobs=1, chosen=range(0, self.recording.first, ALONE_STEP))
        finally:
            self.end(list(self.tools))
            # What was measured stands in the report, whatever came then.
            self.report()

    def end(self, names):
        for name in names:
            self.tools.pop(name).stop()

    def start(self, empty):
        for name, make in contestants(self.recording, empty).items():
            suffix = ", empty objects" if empty else ""
            try:
                self.tools[name] = make()
                self.tools[name].prove(self.recording.units[self.recording.first])
                self.one("first use of the compiler" + suffix, name, chosen=[self.recording.first], empty=empty)
                self.one(None if name in FORGETFUL else "empty farm" + suffix, name, empty=empty)
            except (common.Failed, OSError, subprocess.SubprocessError) as error:
                self.fail("start", name, error)

    def changing(self):
        """The states in which something differs from the round before, for the tools that remember."""
        remembering = [name for name in self.tools if name not in FORGETFUL]
        self.restart(remembering)
        self.each("first use, daemon cold", remembering, chosen=[self.recording.first])
        self.each("cold", remembering)
        keeping = [name for name in remembering if name in self.tools and self.tools[name].keeps]
        self.restart(keeping, keep=True)
        self.each("first use, daemon restarted", keeping, chosen=[self.recording.first])
        self.each("restarted", keeping)
        for state, change in self.changes.items():
            change.next()
            self.refresh()
            try:
                self.each(state, remembering)
            finally:
                change.undo()
            # Back in the state before; a tool that starts afresh for the next change has nothing to go back to.
            self.each(None, [name for name in remembering if name in self.tools and not self.tools[name].fresh_after_changes])
        self.refresh()
        self.each(None, [name for name in remembering if name in self.tools and self.tools[name].fresh_after_changes])

    def refresh(self):
        self.restart([name for name, tool in self.tools.items() if tool.fresh_after_changes])

    def restart(self, names, **how):
        for name in names:
            try:
                self.tools[name].restart(**how)
            except (common.Failed, OSError) as error:
                self.fail("restart", name, error)

    def each(self, state, names=None, **how):
        for name in list(self.tools) if names is None else names:
            try:
                if name in self.tools:
                    self.one(state, name, **how)
            except (common.Failed, OSError, subprocess.SubprocessError) as error:
                self.fail(state or "unchanged again", name, error)

    def one(self, state, name, jobs=JOBS, chosen=None, empty=False):
        tool = self.tools[name]
        kiln = isinstance(tool, tool_kiln.Kiln)
        before, stats = tool.remote_done(), tool.json("stats") if kiln else None
        found = record.drive(self.recording, tool, jobs, chosen, empty, common.CLIENT_CORE)
        count = len(found.unit_wall_ms)
        if before is not None and tool.remote_done() - before != count:
            raise common.Failed(f"{tool.remote_done() - before} of {count} units were compiled remotely" + (why(tool.json("stats")) if kiln else ""))
        if kiln:
            found.files = (tool.json("stats").get("uploaded_bytes", 0) - stats.get("uploaded_bytes", 0)) / count
        if state:
            self.rounds.setdefault(state, {}).setdefault(name, []).append(found)

    def fail(self, state, name, error):
        self.results.error(f"{self.group.name}, {state}", name, error)
        tool = self.tools.pop(name, None)
        if tool:
            tool.stop()

    def report(self):
        for state, by_tool in self.rounds.items():
            case = f"{self.group.name}, {state}"
            for name, rounds in by_tool.items():
                self.add(case, name, rounds, alone=state == "alone")
                if name != "kiln" and "kiln" in by_tool:
                    metric = "wall_alone" if state == "alone" else "client_cpu"
                    pairs = (by_tool["kiln"][:len(rounds)], rounds)
                    values = [[r.wall_ms if state == "alone" else r.cpu_ms for r in rows] for rows in pairs]
                    self.results.compare(case, metric, *values, "kiln", name)
        self.rounds = {}

    def add(self, case, name, rounds, alone):
        add = self.results.add
        add(case, name, "client_cpu", "ms/TU", [r.cpu_ms for r in rounds])
        add(case, name, "client_cpu_processes", "ms/TU", [r.processes_ms for r in rounds])
        add(case, name, "tu_per_s", "TU/s", [2000 / r.cpu_ms for r in rounds])
        add(case, name, "wall_alone" if alone else "wall", "ms/TU", [r.wall_ms / len(r.unit_wall_ms) for r in rounds])
        busy = [r.farm_busy for r in rounds if r.farm_busy is not None]
        add(case, name, "farm_busy", "of 1", busy)
        if busy and statistics.median(busy) > common.FARM_BOUND:
            self.results.note(f"farm-bound: {case}, {name}: its wall time is its server's.")
        add(case, name, "exact_objects", "of 1", [r.exact for r in rounds])
        add(case, name, "sent", "KB/TU", [r.sent / 1e3 for r in rounds if r.sent is not None])
        add(case, name, "received", "KB/TU", [r.received / 1e3 for r in rounds if r.received is not None])
        add(case, name, "sent_files", "KB/TU", [r.files / 1e3 for r in rounds if r.files is not None])


def why(stats):
    return "".join(f"; {key} {stats.get(key)}" for key in ("local", "fallback", "refused", "unprovable", "hits"))
