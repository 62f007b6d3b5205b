"""What every family of the bench needs: processes with their CPU time, statistics, the raw result. Knows no tool."""

import json
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.environ.get("KILN_BENCH_RESULTS") or os.path.join(ROOT, "bench", "results")
FULL = os.environ.get("FULL") == "1"
# The driver, compiled by scripts/bench from drive.c.
DRIVE = os.path.join(ROOT, "target", "bench", "drive")
# Resamples of one bootstrap: the ends of a 95 % interval are then the 50th value from either side.
BOOTSTRAP_ROUNDS = 2000
# No single command of the bench runs longer; distcc's own longest wait is 301 s, and runs only with FULL=1.
COMMAND_SECONDS_MAX = 900 if FULL else 120


def rounds(count):
    """Rounds of a family: twice as many with FULL=1; ROUNDS=n for a quick look."""
    return int(os.environ.get("ROUNDS") or (2 * count if FULL else count))


# Groups whose processes have not been ended yet.
RUNNING = set()


class Budget:
    """The time a family has got, so that all of them together end when they are said to; None: no end, as with FULL=1."""

    def __init__(self, seconds):
        self.end = None if FULL or seconds is None else time.monotonic() + seconds

    def share(self, of):
        """What is left, divided by `of`."""
        part = Budget(0)
        part.end = self.end and time.monotonic() + max(0, self.end - time.monotonic()) / of
        return part

    def rounds(self, count, results, case):
        """Numbers of rounds, fewer than `count` where the time is over; the report says so."""
        for number in range(count):
            if number and self.end and time.monotonic() > self.end:
                results.note(f"{case}: {number} of {count} rounds: the family's time was over.")
                return
            yield number


def chosen(what):
    """TOOLS=a,b or SIZES=a,b: the only tools, or sizes of the farm, to measure; empty: all."""
    return [name for name in (os.environ.get(what) or "").split(",") if name]


def own_program(name):
    """A program that the bench installed; None where it did not."""
    path = os.path.join(os.environ.get("KILN_BENCH_TOOLS", ""), "bin", name)
    return path if os.path.exists(path) else None


def program(name):
    """A program of a peer: the one that the bench installed, or the system's; None where there is none."""
    return own_program(name) or shutil.which(name)


# Of client and servers, where wall time is compared: one each.
CLIENT_CORE, SERVER_CORE = min(1, os.cpu_count() - 1), 0
# A share of the servers' core beyond which the farm, not the client, may be what is measured.
FARM_BOUND = 0.8
# Seconds of each family, 44 minutes in all, and what they start takes five more: the rest of an hour is for what is built and fetched before.
BUDGETS = {"wrapper": 30, "dispatch": 960, "hit": 420, "scan": 210, "failure": 300, "cache": 40, "sched": 30, "build": 440, "costs": 260, "kernel": None}


class Failed(Exception):
    """A tool did not do what was asked; the text is what the report says about it."""


class Ended(Exception):
    """The whole run is to end now."""


class Ran:
    """One finished command: exit status, user + system CPU in ms with its waited-for children, wall time in ms."""

    def __init__(self, status, usage, wall_ms, error):
        self.code = os.waitstatus_to_exitcode(status)
        self.cpu_ms = (usage.ru_utime + usage.ru_stime) * 1e3
        self.wall_ms = wall_ms
        self.error = error


def run(argv, cwd, env):
    """Runs a command to its end, by spawn and wait4. Its output goes to a file, whose last line is kept for errors."""
    log = os.path.join(work(), "command.log")
    here = os.getcwd()
    out = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
    try:
        os.chdir(cwd)
        start = time.monotonic()
        pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.alarm(COMMAND_SECONDS_MAX)
        _, status, usage = os.wait4(pid, 0)
        wall_ms = (time.monotonic() - start) * 1e3
        signal.alarm(0)
    finally:
        os.chdir(here)
        os.close(out)
        os.close(null)
    error = ""
    if status:
        with open(log, errors="replace") as text:
            error = (text.read().strip().splitlines() or [""])[-1][-300:]
    return Ran(status, usage, wall_ms, error)


def run_beside(argv, cwd, env):
    """Runs a command while others run; its exit status."""
    return subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=COMMAND_SECONDS_MAX).returncode


def work(*parts):
    """A path below the directory of this run; its parents exist."""
    base = os.environ["KILN_BENCH_WORK"]
    path = os.path.join(base, *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def memory(name):
    """A new directory in memory that any user may write to, for what a server keeps only while it works; below `work` where there is none."""
    base = "/dev/shm" if os.path.ismount("/dev/shm") and os.access("/dev/shm", os.W_OK) else work()
    path = os.path.join(base, f"kiln-bench-{os.getpid()}", name)
    forget(path)
    os.makedirs(path)
    os.chmod(path, 0o1777)
    return path


def forget(path):
    """Removes what `memory` made."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass


# Where the CPU of control groups is counted, and in which of their files.
ACCOUNTS = (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat"))


def new_account(name):
    """A control group of this name and the file in which its CPU is counted; None where none can be made."""
    for base, usage in ACCOUNTS:
        path = os.path.join(base, name)
        try:
            os.mkdir(path)
        except OSError:
            continue
        if os.path.exists(os.path.join(path, usage)):
            return path, os.path.join(path, usage)
        os.rmdir(path)
    return None


def account_ms(usage):
    """CPU that is counted in such a file."""
    with open(usage) as file:
        text = file.read()
    if usage.endswith("cpu.stat"):
        return int(text.split("usage_usec ")[1].split()[0]) / 1e3
    return int(text) / 1e6


class Whole:
    """The bench with all that it starts, also what outlives its parent: one control group, above those of the groups."""

    name = f"kiln-bench-{os.getpid()}"

    def __init__(self):
        self.account = new_account(self.name)
        if self.account:
            self.move(self.account[0])

    def move(self, path):
        with open(os.path.join(path, "cgroup.procs"), "w") as file:
            file.write(str(os.getpid()))

    def cpu_s(self):
        """CPU of it all so far; where it cannot be counted, that of the processes which were waited for."""
        if self.account:
            return account_ms(self.account[1]) / 1e3
        used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    def end(self):
        """Leaves the control group, which goes if nothing else is in it."""
        if not self.account:
            return
        try:
            self.move(os.path.dirname(self.account[0]))
            os.rmdir(self.account[0])
        except OSError as error:
            print(f"  {self.account[0]} is left: {error}", flush=True)


class Group:
    """Processes whose CPU is counted together, those that ended included.

    A cgroup where one can be made, else each started process's own clock (both nanoseconds) with the children it waited for
    (10 ms ticks).
    """

    def __init__(self, name):
        self.procs, self.adopted = [], []
        RUNNING.add(self)
        self.path, self.usage = new_account(f"{Whole.name}/{name}") or new_account(f"{Whole.name}-{name}") or (None, None)

    def start(self, argv, env, log, host=None, cpus=None):
        """Starts a server or daemon in this group, inside a host, on certain cores; it is ended by `stop`."""
        tasks = self.usage and os.path.join(self.path, "cgroup.procs")

        def join():
            if tasks:
                with open(tasks, "w") as file:
                    file.write(str(os.getpid()))
            if cpus:
                os.sched_setaffinity(0, cpus)
            if host:
                host.enter()

        with open(log, "ab") as out:
            proc = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=join, start_new_session=True)
        self.procs.append(proc)
        return proc

    def adopt(self, pid):
        """A process that one of the group left running: it counts and ends with the group."""
        self.adopted.append(pid)

    def cpu_ms(self):
        """CPU of all of the group so far."""
        if not self.usage:
            return sum(map(process_ms, [*(proc.pid for proc in self.procs), *self.adopted]))
        return account_ms(self.usage)

    def stop(self):
        RUNNING.discard(self)
        for proc in self.procs:
            for sig in (signal.SIGCONT, signal.SIGTERM):
                try:
                    os.killpg(proc.pid, sig)
                except ProcessLookupError:
                    pass
        for pid in self.adopted:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for proc in self.procs:
            try:
                proc.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(proc.pid, signal.SIGKILL)
                proc.wait()
        if self.usage:
            for _ in range(20):
                try:
                    os.rmdir(self.path)
                    break
                except OSError:
                    self.kill_rest()
                    time.sleep(0.1)
        self.procs, self.adopted = [], []

    def kill_rest(self):
        with open(os.path.join(self.path, "cgroup.procs")) as file:
            for pid in file.read().split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass


def process_ms(pid):
    """CPU of a process, its ended threads too, and of the children it waited for; 0 where it is gone."""
    try:
        # CPUCLOCK_SCHED of another process, as clock_getcpuclockid(3) makes it.
        own = time.clock_gettime(~pid << 3 | 2) * 1e3
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return own + sum(int(fields[n]) for n in (13, 14)) * 1e3 / os.sysconf("SC_CLK_TCK")


def wait_for(what, ready, seconds=20):
    """Polls until `ready()`; a tool that does not come up has failed."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise Failed(f"{what} did not come up in {seconds} s")
        time.sleep(0.02)


def ratio_interval(ours, theirs):
    """Ratio of the medians of pairs, with its 95 % bootstrap interval: (ratio, low, high). Pairs are resampled together."""
    rng = random.Random(1)
    pairs = list(zip(ours, theirs))
    found = []
    for _ in range(BOOTSTRAP_ROUNDS):
        sample = [pairs[rng.randrange(len(pairs))] for _ in pairs]
        below = statistics.median(b for _, b in sample)
        if below > 0:
            found.append(statistics.median(a for a, _ in sample) / below)
    found.sort()
    below = statistics.median(theirs)
    if not found or below <= 0:
        return None
    edge = len(found) // 40
    return statistics.median(ours) / below, found[edge], found[-1 - edge]


class Results:
    """What one family found."""

    def __init__(self, family):
        self.family = family
        self.budget = Budget(BUDGETS[family])
        # Whether all of it was measured.
        self.complete = True
        # Of the run: its commit and how long it took.
        self.run = {}
        self.records, self.ratios, self.errors, self.notes = [], [], [], []

    def add(self, case, tool, metric, unit, values):
        values = list(values)
        if not values:
            return
        self.records.append({
            "family": self.family, "case": case, "tool": tool, "metric": metric, "unit": unit,
            "median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4), "n": len(values)})

    def compare(self, case, metric, ours, theirs, tool, peer):
        found = ratio_interval(ours, theirs) if len(ours) == len(theirs) and len(ours) > 1 else None
        if found:
            self.ratios.append({
                "family": self.family, "case": case, "tool": tool, "peer": peer, "metric": metric,
                "ratio": round(found[0], 4), "low": round(found[1], 4), "high": round(found[2], 4), "n": len(ours)})

    def error(self, case, tool, message):
        print(f"  {case}: {tool}: ERROR {message}", flush=True)
        self.errors.append({"family": self.family, "case": case, "tool": tool, "message": str(message)[:400]})

    def note(self, text):
        self.notes.append({"family": self.family, "text": text})


def stop_all():
    """Ends every process that a family left behind."""
    for group in list(RUNNING):
        group.stop()


def parsed(text):
    """An object in JSON; an empty one where a program printed something else."""
    try:
        return json.loads(text)
    except ValueError:
        return {}


def output_of(argv, env=None):
    """First line that a command prints, or why there is none."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"missing ({error.__class__.__name__})"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/etc/os-release") as file:
        system = [line.split("=", 1)[1].strip().strip('"') for line in file if line.startswith("PRETTY_NAME=")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "name": "host", "cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30), "system": system[0] if system else "", "kernel": platform.release()}


def clean(value):
    """The value without paths of this machine and checkout."""
    text = json.dumps(value)
    for path, name in ((os.environ["KILN_BENCH_WORK"], "WORK"), (ROOT, "KILN"), (os.path.expanduser("~"), "HOME")):
        text = text.replace(path, name)
    return json.loads(text)
