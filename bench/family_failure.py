"""How long a unit stands still when the server that compiles it is lost. Wall seconds; servers of two slots, on this machine."""

import os
import signal
import threading
import time

import common
import projects
import tools

ROUNDS = 5 if common.FULL else 3
# The unit is lost this long after its compiler was seen to start.
LOSS_AFTER_SECONDS = 0.5


def measure(results):
    results.note("stalled: wall time of the unit, less what had passed when its server was lost, less an undisturbed run through the same "
                 "tool: what lies between the loss and the start anew. killed: SIGKILL to the server and the compiler below it; "
                 "stopped: SIGSTOP to both.")
    if not common.FULL:
        results.note("distcc and a stopped server: only with FULL=1, for it waits 300 s (DISTCC_IO_TIMEOUT).")
    source = slow_source()
    for how, sig in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
        for name, make in (("kiln", lambda: tools.Kiln("fail", workers=2)), ("distcc", lambda: tools.Distcc("faildistcc"))):
            if name == "distcc" and how == "stopped" and not common.FULL:
                continue
            try:
                rounds(results, how, sig, name, make, source)
            except (common.Failed, OSError) as error:
                results.error(how, name, error)


def slow_source():
    """A unit that compiles for some seconds, in a directory of its own; its objects must equal a plain one's."""
    path = common.work("slow", "slow.c")
    with open(path, "w") as file:
        for n in range(600):
            file.write(f"int f{n}(int *a, int n) {{ int s = {n}; for (int i = 0; i < n; i++) {{ a[i] += s * i; s ^= a[i] >> {n % 31}; }} return s; }}\n")
    return os.path.dirname(path)


def rounds(results, how, sig, name, make, source):
    undisturbed, stalled, total = [], [], []
    reference = compile_once(common.work("slow", "x")[:-2], [], projects.env(), None)[1]
    for _ in range(ROUNDS):
        tool = make()
        try:
            env = {**tool.env, "KILN_FALLBACK": "silent", "DISTCC_FALLBACK": "1"}
            compile_once(source, tool.prefix, env, None)
            whole, data, _ = compile_once(source, tool.prefix, env, None)
            disturbed, again, lost_at = compile_once(source, tool.prefix, env, lambda: lose(tool, sig))
        finally:
            tool.stop()
        if lost_at is None:
            raise common.Failed("the unit ended before its server could be lost")
        if reference not in (data, again) or data != again:
            raise common.Failed("WRONG OBJECT")
        undisturbed.append(whole)
        total.append(disturbed)
        stalled.append(max(0.0, disturbed - lost_at - whole))
    results.add(how, name, "undisturbed", "s", undisturbed)
    results.add(how, name, "total", "s", total)
    results.add(how, name, "stalled", "s", stalled)


def compile_once(directory, prefix, env, lose_server):
    """Compiles the slow unit: (wall seconds, object, seconds until its server was lost)."""
    found = {}
    start = time.monotonic()

    def watch():
        end = start + 30
        while time.monotonic() < end and "done" not in found:
            if lose_server():
                found["lost"] = time.monotonic() - start
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch) if lose_server else None
    if watcher:
        watcher.start()
    ran = common.run([*prefix, "gcc", "-O2", "-c", "slow.c", "-o", "slow.o"], directory, env)
    wall = time.monotonic() - start
    found["done"] = True
    if watcher:
        watcher.join()
    if ran.code:
        raise common.Failed(f"exit {ran.code}: {ran.error}")
    with open(os.path.join(directory, "slow.o"), "rb") as file:
        data = file.read()
    os.remove(os.path.join(directory, "slow.o"))
    return wall, data, found.get("lost")


def lose(tool, sig):
    """Signals the server that is compiling, with all below it, once its cc1 runs; says whether it did."""
    parents, names = process_table()
    servers = {proc.pid for proc in getattr(tool, "workers", None) or [tool.proc]}
    for pid, name in names.items():
        if name != "cc1":
            continue
        at = pid
        while at in parents and at not in servers:
            at = parents[at]
        if at in servers:
            time.sleep(LOSS_AFTER_SECONDS)
            for victim in [at, *below(at, process_table()[0])]:
                try:
                    os.kill(victim, sig)
                except ProcessLookupError:
                    pass
            return True
    return False


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
