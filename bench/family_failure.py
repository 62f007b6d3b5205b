"""How long a unit stands still when what compiles it is lost. Wall seconds; two servers on hosts of their own, real compilers."""

import os
import signal
import subprocess
import threading
import time

import common
import projects
import tool_kiln
import tools

ROUNDS = common.rounds(2)
# The unit is lost this long after its compiler was seen to start.
LOSS_AFTER_SECONDS = 0.5
# How often the processes of this machine are looked at.
LOOK_SECONDS = 0.01
# Cases that take minutes: distcc waits 300 s (DISTCC_IO_TIMEOUT), icecc 720 s.
LONG = {("distcc", "stopped"), ("distcc", "cut off"), ("icecc", "stopped")}
CASES = ("refused", "black-holed", "killed", "stopped", "cut off")


def measure(results):
    results.note("Two servers of two slots each, on hosts (network namespaces) of their own, and for kiln and icecc a third with the scheduler; one unit of "
                 "some seconds. refused, black-holed: one server is gone before the unit starts, its host answering with resets or with nothing; killed, stopped, "
                 f"cut off: {LOSS_AFTER_SECONDS} s after the unit's compiler was seen on a server, that one and its compilers get SIGKILL or SIGSTOP, or its host's "
                 "packets vanish. stalled: from the loss until a compiler was seen to start on the unit again, anywhere; for refused and black-holed the "
                 "unit's time less an undisturbed one's by the same tool. next: the time of the same unit, started again at once. coordinator: the scheduler is "
                 "killed while units run, two at a time; slowest: the slowest of them.")
    if not common.FULL:
        results.note("Only with FULL=1: " + ", ".join(f"{tool} {case}" for tool, case in sorted(LONG)) + ": they wait for minutes.")
    source = slow_source()
    chosen = common.chosen("TOOLS")
    todo = [(case, name) for case in [*CASES, "coordinator"] for name in makers(case) if (not chosen or name in chosen)
            and (common.FULL or (name, case) not in LONG) and (name, case) != ("distcc", "coordinator")]
    for number, (case, name) in enumerate(todo):
        act = coordinator if case == "coordinator" else rounds
        budget = results.budget.share(len(todo) - number)
        attempt(results, case, name, lambda: act(results, case, name, makers(case)[name], source, budget))


def attempt(results, case, name, act):
    try:
        act()
    except (common.Failed, OSError, subprocess.SubprocessError) as error:
        results.error(case, name, error)


def makers(case):
    tag = "f-" + case.replace(" ", "-")
    return {
        "kiln": lambda: tool_kiln.Kiln(tag + "-kiln", tool_kiln.Farm(tag + "-kiln", workers=2, slots=2, apart=True), fallback="silent"),
        "distcc": lambda: tools.Distcc(tag + "-distcc", servers=2, slots=2, fallback=True, apart=True),
        "icecc": lambda: tools.Icecc(tag + "-icecc", servers=2, slots=2, apart=True)}


def slow_source():
    """A unit that compiles for some seconds, in a directory of its own."""
    path = common.work("slow", "slow.c")
    with open(path, "w") as file:
        for n in range(300):
            file.write(f"int f{n}(int *a, int n) {{ int s = {n}; for (int i = 0; i < n; i++) {{ a[i] += s * i; s ^= a[i] >> {n % 31}; }} return s; }}\n")
    return os.path.dirname(path)


def rounds(results, case, name, make, source, budget):
    found = {"undisturbed": [], "total": [], "stalled": [], "next": []}
    reference = compile_once(source, [], projects.env())[1]
    try:
        for _ in budget.rounds(ROUNDS, results, f"{case}, {name}"):
            for key, value in zip(found, one_loss(case, make, source, reference)):
                found[key].append(value)
    finally:
        for key, values in found.items():
            results.add(case, name, key, "s", values)


def one_loss(case, make, source, reference):
    """Seconds: an undisturbed unit, one whose server is lost, what that one stood still, and one after it."""
    tool = make()
    try:
        compile_once(source, tool.prefix, tool.env)
        undisturbed, plain = compile_once(source, tool.prefix, tool.env)
        if case in ("refused", "black-holed"):
            lose_before(tool, case)
            total, data = compile_once(source, tool.prefix, tool.env)
            stalled = max(0.0, total - undisturbed)
        else:
            watch = Watch(tool, case)
            try:
                total, data = compile_once(source, tool.prefix, tool.env)
            finally:
                watch.over = True
            stalled = watch.finish()
        following, after = compile_once(source, tool.prefix, tool.env)
    finally:
        tool.stop()
    if not reference == plain == data == after:
        raise common.Failed("WRONG OBJECT")
    return undisturbed, total, stalled, following


def compile_once(directory, prefix, env, output="slow.o"):
    """Compiles the slow unit: wall seconds and the object's bytes."""
    ran = common.run([*prefix, "gcc", "-O2", "-c", "slow.c", "-o", output], directory, env)
    if ran.code:
        raise common.Failed(f"exit {ran.code}: {ran.error}")
    path = os.path.join(directory, output)
    with open(path, "rb") as file:
        data = file.read()
    os.remove(path)
    return ran.wall_ms / 1e3, data


def lose_before(tool, case):
    """One server is gone before anything is asked of it; the other is not."""
    server, host = servers(tool)[0]
    if case == "refused":
        strike([server], signal.SIGKILL)
        return
    if not host.holder:
        raise common.Failed("needs network namespaces")
    host.black_hole()


def servers(tool):
    """Processes that compile for others, with their hosts."""
    farm = getattr(tool, "farm", None) or tool
    return [(proc.pid, host) for proc, host in zip(farm.workers, farm.hosts)]


def strike(pids, sig):
    parents = process_table()[0]
    for pid in [*pids, *(child for pid in pids for child in below(pid, parents))]:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


class Watch(threading.Thread):
    """Waits for a compiler below one of the servers, strikes that server, and waits for the next compiler."""

    def __init__(self, tool, case):
        super().__init__(daemon=True)
        self.servers, self.case = dict(servers(tool)), case
        self.lost_at = self.again_at = None
        self.over = False
        self.start()

    def run(self):
        server, seen = self.find()
        if server is None:
            return
        time.sleep(LOSS_AFTER_SECONDS)
        if self.case == "cut off":
            self.servers[server].black_hole()
        else:
            strike([server], signal.SIGKILL if self.case == "killed" else signal.SIGSTOP)
        self.lost_at = time.monotonic()
        while not self.over and self.again_at is None:
            if set(compilers()) - seen:
                self.again_at = time.monotonic()
            time.sleep(LOOK_SECONDS)

    def find(self):
        """The server below which a compiler runs, and all compilers that run then."""
        while not self.over:
            running = compilers()
            parents = process_table()[0] if running else {}
            for pid in running:
                at = pid
                while at in parents and at not in self.servers:
                    at = parents[at]
                if at in self.servers:
                    return at, set(running)
            time.sleep(LOOK_SECONDS)
        return None, set()

    def finish(self):
        """Seconds from the loss to the next compiler."""
        self.over = True
        self.join()
        if self.lost_at is None:
            raise common.Failed("the unit ended before its server could be lost")
        if self.again_at is None:
            raise common.Failed("the unit ended without another compiler: its server was not lost to it")
        return self.again_at - self.lost_at


def compilers():
    """Those below this process: others may compile on this machine too."""
    parents, names = process_table()
    own = set(below(os.getpid(), parents))
    return [pid for pid, name in names.items() if name == "cc1" and pid in own]


def process_table():
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    head, tail = file.read().rsplit(")", 1)
            except OSError:
                continue
            parents[int(entry)] = int(tail.split()[1])
            names[int(entry)] = head.split("(", 1)[1]
    return parents, names


def below(pid, parents):
    found = []
    for child, parent in parents.items():
        if parent == pid:
            found += [child, *below(child, parents)]
    return found


def coordinator(results, case, name, make, source, budget):
    """The scheduler dies while units run, two at a time."""
    undisturbed, slowest = [], []
    for _ in budget.rounds(ROUNDS, results, f"{case}, {name}"):
        tool = make()
        try:
            compile_once(source, tool.prefix, tool.env)
            undisturbed.append(max(pairs(tool, source, None)))
            slowest.append(max(pairs(tool, source, (getattr(tool, "farm", None) or tool).scheduler)))
        finally:
            tool.stop()
    results.add(case, name, "undisturbed", "s", undisturbed)
    results.add(case, name, "slowest", "s", slowest)


def pairs(tool, source, victim):
    """Three units after each other in two lines at once; the victim dies in the first. Seconds of each unit."""
    found, failed = [], []

    def line(number):
        try:
            for _ in range(3):
                found.append(compile_line(source, tool, f"slow{number}.o"))
        except common.Failed as error:
            failed.append(error)

    lines = [threading.Thread(target=line, args=(number,)) for number in range(2)]
    for thread in lines:
        thread.start()
    if victim:
        time.sleep(LOSS_AFTER_SECONDS)
        victim.kill()
    for thread in lines:
        thread.join()
    if failed:
        raise failed[0]
    return found


def compile_line(source, tool, output):
    """One compile beside others: `common.run` is for one at a time."""
    start = time.monotonic()
    code = common.run_beside([*tool.prefix, "gcc", "-O2", "-c", "slow.c", "-o", output], source, tool.env)
    if code:
        raise common.Failed(f"exit {code}")
    return time.monotonic() - start
