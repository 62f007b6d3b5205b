"""Records compiles by the bare compiler: objects, messages, time. Every tool's remote side answers from it. Knows no tool.

The format is told in crates/kiln-bench/src/recording.rs.
"""

import concurrent.futures
import hashlib
import os
import shutil
import signal
import subprocess
import time

import common
import projects


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Recording:
    """The compiles of a group, recorded once a run."""

    def __init__(self, group):
        self.group, self.directory = group, common.work("recording", group.name)
        group.load()
        # Beside the group's own units: one without includes, for what only the first use of a compiler costs.
        self.first = len(group.units)
        units = self.units = [*group.units, projects.first_unit(group)]
        index = os.path.join(self.directory, "index")
        wanted = [self.line(n, unit) for n, unit in enumerate(units)]
        if not self.holds(index, wanted):
            shutil.rmtree(self.directory, ignore_errors=True)
            os.makedirs(self.directory)
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                times = list(pool.map(self.record, range(len(units)), units))
            with open(index + ".new", "w") as file:
                file.writelines("\t".join([fields[0], str(int(cpu_ms * 1e3)), *fields[1:]]) + "\n" for fields, cpu_ms in zip(wanted, times))
            os.replace(index + ".new", index)
        with open(index) as file:
            for unit, line in zip(units, file):
                unit.compile_cpu_ms = int(line.split("\t")[1]) / 1e3
        self.digests = [digest(self.object(n)) for n in range(len(units))]

    def line(self, n, unit):
        # The flags tell nothing here: each source is compiled once. Last, the list of files that pump's server sends with each object.
        return [str(n), unit.directory, unit.source, "-", unit.object, unit.object + ".d"]

    def holds(self, index, wanted):
        """Whether a recording of just these units is there."""
        try:
            with open(index) as file:
                lines = [line.rstrip("\n").split("\t") for line in file]
        except OSError:
            return False
        return [[fields[0], *fields[2:]] for fields in lines] == wanted

    def object(self, n):
        with open(os.path.join(self.directory, f"{n}.0"), "rb") as file:
            return file.read()

    def record(self, n, unit):
        """Compiles one unit plainly; CPU ms."""
        errors = os.path.join(self.directory, f"{n}.err")
        with open(errors, "wb") as out:
            more = ["-MMD", "-MF", os.path.join(self.directory, f"{n}.1")]
            proc = subprocess.Popen([*unit.argv(), *more], cwd=unit.directory, env=projects.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            _, status, usage = os.wait4(proc.pid, 0)
            proc.returncode = os.waitstatus_to_exitcode(status)
        if proc.returncode:
            with open(errors, errors="replace") as file:
                raise common.Failed(f"{unit.source}: gcc itself fails: {file.read()[-300:]}")
        os.replace(unit.object_path(), os.path.join(self.directory, f"{n}.0"))
        return (usage.ru_utime + usage.ru_stime) * 1e3


class Round:
    """All units once through a tool: client CPU ms a unit (processes and daemons), wall ms of the whole and of each."""

    def __init__(self, processes_ms, daemons_ms, wall_ms, unit_wall_ms, exact):
        self.processes_ms, self.daemons_ms, self.wall_ms, self.unit_wall_ms, self.exact = processes_ms, daemons_ms, wall_ms, unit_wall_ms, exact
        self.cpu_ms = processes_ms + daemons_ms
        self.sent = self.received = self.files = None
        # Share of one core that the servers were busy; None where there are none.
        self.farm_busy = None


# What a daemon still has to do once its last answer is out is its cost too.
SETTLE_SECONDS = 0.15


def drive(recording, tool, jobs, chosen=None, empty=False, core=None):
    """Runs units through a tool, `jobs` at once, on one core where it is given, and compares every object. Returns a Round."""
    units = recording.units
    numbers = range(recording.first) if chosen is None else chosen
    path, log = common.work("drive.list"), common.work("drive.log")
    with open(path, "wb") as file:
        for n in numbers:
            words = [units[n].directory, *units[n].argv(tool.prefix)]
            file.write(b"".join(os.fsencode(word) + b"\0" for word in words) + b"\0")
    if os.path.exists(log):
        os.remove(log)
    before, wire = sum(group.cpu_ms() for group in tool.groups()), tool.counted()
    server = tool.server_group()
    server_ms = server.cpu_ms() if server else 0
    printed = run_driver([*(["taskset", "-c", str(core)] if core is not None else []), common.DRIVE, str(jobs), path, log], tool.env)
    time.sleep(SETTLE_SECONDS)
    daemons = sum(group.cpu_ms() for group in tool.groups()) - before
    lines = [line.split() for line in printed.splitlines()]
    if len(lines) != len(numbers) + 1:
        raise common.Failed(f"the driver broke: {last_line(log)}")
    for row in lines[:-1]:
        if row[1] != "0":
            raise common.Failed(f"{units[numbers[int(row[0])]].source}: status {row[1]}: {last_line(log)}")
    exact = compare(recording, numbers, empty)
    processes = sum(int(row[2]) for row in lines[:-1]) / 1e3
    count = len(numbers)
    found = Round(processes / count, daemons / count, int(lines[-1][1]) / 1e3, [int(row[3]) / 1e3 for row in lines[:-1]], exact)
    if server:
        found.farm_busy = (server.cpu_ms() - server_ms) / (found.wall_ms + SETTLE_SECONDS * 1e3)
    if wire:
        after = tool.counted()
        found.sent, found.received = (after[0] - wire[0]) / count, (after[1] - wire[1]) / count
    return found


def run_driver(argv, env):
    """What the driver prints; it and all it started are ended after a time."""
    proc = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        return proc.communicate(timeout=common.COMMAND_SECONDS_MAX)[0]
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        proc.communicate()
        raise common.Failed(f"not done after {common.COMMAND_SECONDS_MAX} s") from None


def compare(recording, numbers, empty):
    """Share of objects that are gcc's to the byte; an object with other code is an error. Removes them."""
    exact = 0
    for n in numbers:
        unit = recording.units[n]
        try:
            with open(unit.object_path(), "rb") as file:
                data = file.read()
            os.remove(unit.object_path())
        except FileNotFoundError:
            raise common.Failed(f"{unit.source}: no object") from None
        if digest(data) == (digest(b"") if empty else recording.digests[n]):
            exact += 1
        elif empty or code_digest(data) != code_digest(recording.object(n)):
            raise common.Failed(f"{unit.source}: WRONG OBJECT")
    return exact / len(numbers)


def code_digest(data):
    """Digest of an object without its debug information: preprocessing apart from compiling changes columns in that."""
    path = common.work("strip.o")
    with open(path, "wb") as file:
        file.write(data)
    subprocess.run(["objcopy", "--strip-debug", path], check=True, timeout=60)
    with open(path, "rb") as file:
        return digest(file.read())


def last_line(path):
    try:
        with open(path, errors="replace") as file:
            return (file.read().strip().splitlines() or [""])[-1][-300:]
    except OSError:
        return ""
