"""Real compile commands to measure with: fetches projects, lists their units. Knows no tool that is measured."""

import hashlib
import os
import shlex
import shutil
import subprocess

import common

FETCH = os.path.join(common.ROOT, "crates", "kiln-testkit", "projects", "fetch.sh")
# make's arguments that print every compile of a project; -O2 -g as its packagers build it.
LISTING = {
    "haproxy": ["make", "-n", "V=1", "CC=gcc", "TARGET=linux-glibc", "CPU_CFLAGS=-O2 -g", "DEBUG_CFLAGS="],
    "re2": ["make", "-n", "CXX=g++", "CXXFLAGS=-O2 -g -Wall", "obj/libre2.a"],
}
# UNITS=n measures fewer, for a quick look.
UNITS_MAX = int(os.environ.get("UNITS") or 50)


class Unit:
    """One compile: its words without the compiler, the compiler, the directory, the object (the same file for every tool)."""

    def __init__(self, project, root, words):
        self.project, self.root, self.compiler = project, root, words[0]
        self.source = next(w for w in words if w.endswith((".c", ".cc")))
        self.object = os.path.join(root, "kiln-bench.o")
        at = words.index("-o")
        self.args = words[1:at] + ["-o", "kiln-bench.o"] + words[at + 2:]
        self.reference = self.reference_code = None
        self.compile_cpu_ms = 0.0

    def argv(self, prefix=()):
        return [*prefix, self.compiler, *self.args]

    def take_object(self):
        """Bytes of the object that was just written, which is removed; None where there is none."""
        try:
            with open(self.object, "rb") as file:
                data = file.read()
            os.remove(self.object)
        except FileNotFoundError:
            return None
        return data


def digest(data):
    return hashlib.sha256(data).hexdigest()


def code_digest(data):
    """Digest of an object without its debug information."""
    path = common.work("strip.o")
    with open(path, "wb") as file:
        file.write(data)
    subprocess.run(["objcopy", "--strip-debug", path], check=True, timeout=60)
    with open(path, "rb") as file:
        return digest(file.read())


def env(**more):
    """The environment of every measured command: no variable of the caller's steers a tool."""
    base = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": common.work("home"), "LANG": "C", "TMPDIR": "/tmp"}
    os.makedirs(base["HOME"], exist_ok=True)
    return {**base, **more}


def fetch(name):
    """The directory of a project; it is fetched the first time, which needs a network."""
    root = common.work("src", name)
    if not os.path.exists(root):
        subprocess.run(["sh", FETCH, name, root], check=True, timeout=600)
    return root


def units(name, limit=UNITS_MAX):
    """Units of a project, spread evenly over it in the order of their names; each with the digest of gcc's object."""
    root = fetch(name)
    listing = subprocess.run(LISTING[name], cwd=root, capture_output=True, text=True, timeout=120).stdout
    found = {}
    for line in listing.replace("\\\n", " ").splitlines():
        words = shlex.split(line) if line.startswith(("gcc ", "g++ ")) else []
        if "-c" in words and "-o" in words:
            unit = Unit(name, root, words)
            found[unit.source] = unit
    ordered = [found[source] for source in sorted(found)]
    limit = min(limit, UNITS_MAX)
    step = max(1.0, len(ordered) / limit)
    chosen = [ordered[int(n * step)] for n in range(min(limit, len(ordered)))]
    if not chosen:
        raise common.Failed(f"{name}: make listed no compiles")
    refer(chosen)
    return chosen


def refer(chosen):
    """Compiles each unit plainly: what all others must produce."""
    for unit in chosen:
        ran = common.run(unit.argv(), unit.root, env())
        data = unit.take_object()
        unit.compile_cpu_ms = ran.cpu_ms
        if ran.code or data is None:
            raise common.Failed(f"{unit.source}: gcc itself fails: {ran.error}")
        unit.reference, unit.reference_code = digest(data), code_digest(data)


def touch(chosen):
    """Adds a comment to every source: other bytes, for gcc as for a cache, and a time of change."""
    for unit in chosen:
        path = os.path.join(unit.root, unit.source)
        if not os.path.exists(path + ".untouched"):
            shutil.copy2(path, path + ".untouched")
        with open(path, "a") as file:
            file.write("/* touched */\n")


def restore(chosen):
    for unit in chosen:
        path = os.path.join(unit.root, unit.source)
        if os.path.exists(path + ".untouched"):
            os.replace(path + ".untouched", path)
            os.utime(path)


class Sample:
    """One good compile through a tool."""

    def __init__(self, cpu_ms, wall_ms, exact):
        self.cpu_ms, self.wall_ms, self.exact = cpu_ms, wall_ms, exact


def measure(unit, tool):
    """One compile through a tool, with the CPU of its client-side daemons.

    A failure, or an object whose code is not gcc's, is an error. `exact` says whether every byte was: preprocessing
    apart from compiling, as some tools do, changes the columns in debug information.
    """
    before = sum(group.cpu_ms() for group in tool.groups())
    ran = common.run(unit.argv(tool.prefix), unit.root, tool.env)
    cpu_ms = ran.cpu_ms + sum(group.cpu_ms() for group in tool.groups()) - before
    data = unit.take_object()
    if ran.code or data is None:
        raise common.Failed(f"{unit.source}: exit {ran.code}: {ran.error}")
    exact = digest(data) == unit.reference
    if not exact and code_digest(data) != unit.reference_code:
        raise common.Failed(f"{unit.source}: WRONG OBJECT")
    return Sample(cpu_ms, ran.wall_ms, exact)
