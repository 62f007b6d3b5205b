"""Real compiles to measure with: fetches projects, lists their units, changes their files. Knows no tool that is measured."""

import json
import os
import re
import shlex
import subprocess

import common

FETCH = os.path.join(common.ROOT, "crates", "kiln-testkit", "projects", "fetch.sh")
# UNITS=n measures fewer, for a quick look.
UNITS_MAX = int(os.environ.get("UNITS") or 1000)
# Make's arguments for haproxy, -O2 -g as its packagers build it; for a build as for its listing.
HAPROXY = ["V=1", "CC=gcc", "TARGET=linux-glibc", "USE_OPENSSL=1", "USE_ZLIB=1", "USE_PCRE2=1", "USE_PROMEX=1", "CPU_CFLAGS=-O2 -g", "DEBUG_CFLAGS="]


class Unit:
    """One compile: its compiler and words, its directory, its source as spelled, its object's name below the directory."""

    def __init__(self, group, number, directory, words):
        self.directory, self.compiler = directory, words[0]
        self.source = next(word for word in words if word.endswith((".c", ".cc", ".cpp")))
        at = words.index("-o")
        self.object = f"{group}-{number}.kiln-bench.o"
        # No dependency file: the object alone is compared, and peers differ in who writes it.
        kept = [word for word in words[1:at] + ["-o", self.object] + words[at + 2:] if not word.startswith("-Wp,-M") and word != "-MD"]
        self.args = kept
        self.compile_cpu_ms = None

    def argv(self, prefix=()):
        return [*prefix, self.compiler, *self.args]

    def object_path(self):
        return os.path.join(self.directory, self.object)

    def source_path(self):
        return os.path.join(self.directory, self.source)


class Group:
    """Units of one project. `header` is the one that most of its units include, directly or not."""

    def __init__(self, name, project, count, header, prepare, listing):
        self.name, self.project, self.count, self.header = name, project, count, header
        self.prepare, self.listing = prepare, listing
        self.units = []

    def root(self):
        return common.work("src", self.project)

    def fetch(self):
        """Fetches and prepares the project; needs a network the first time."""
        done = common.work("src", self.project + ".ready")
        if os.path.exists(done):
            return
        root = fetch(self.project)
        for command in self.prepare:
            ran = subprocess.run(command, cwd=root, env=env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800)
            if ran.returncode:
                raise common.Failed(f"{self.project}: {' '.join(command)}: {ran.stderr.strip()[-300:]}")
        with open(done, "w"):
            pass

    def load(self):
        """The units, spread evenly over the project in the order of their names."""
        if not self.units:
            found = {}
            for directory, words in self.listing(self.root()):
                unit_source = next((word for word in words if word.endswith((".c", ".cc", ".cpp"))), None)
                if unit_source and "-c" in words and "-o" in words:
                    found[unit_source] = (directory, words)
            ordered = [found[source] for source in sorted(found)]
            count = min(self.count, UNITS_MAX, len(ordered))
            if not count:
                raise common.Failed(f"{self.project}: no compiles listed")
            step = len(ordered) / count
            self.units = [Unit(self.name, n, *ordered[int(n * step)]) for n in range(count)]
        return self.units


def fetch(project):
    """The directory of a project's source."""
    root = common.work("src", project)
    if not os.path.exists(root):
        subprocess.run(["sh", FETCH, project, root], check=True, timeout=900)
    return root


def first_unit(group):
    """A unit without includes, by the group's compiler."""
    source = "kiln-bench-first" + os.path.splitext(group.units[0].source)[1]
    with open(os.path.join(group.root(), source), "w") as file:
        file.write("int kiln_bench_first;\n")
    return Unit(group.name, "first", group.root(), [group.units[0].compiler, "-O2", "-c", source, "-o", "x.o"])


def env(**more):
    """The environment of every measured command: no variable of the caller's steers a tool."""
    base = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": common.work("home"), "LANG": "C", "TMPDIR": "/tmp"}
    os.makedirs(base["HOME"], exist_ok=True)
    return {**base, **more}


def make_listing(arguments):
    """Compiles that make would run: lines, or their last part, that begin with a compiler."""

    def listed(root):
        text = subprocess.run(["make", "-n", *arguments], cwd=root, env=env(), capture_output=True, text=True, timeout=300).stdout
        for line in text.replace("\\\n", " ").splitlines():
            # Kbuild writes one line a target, its commands apart by semicolons.
            found = re.search(r"(?:^|;\s)(gcc [^;]* -c -o \S+ \S+)", line)
            if found:
                yield root, shlex.split(found.group(1))

    return listed


def cmake_listing(root):
    with open(os.path.join(root, "kiln-bench-build", "compile_commands.json")) as file:
        for entry in json.load(file):
            words = shlex.split(entry["command"])
            if "/src/google/protobuf/" in entry["file"]:
                yield entry["directory"], ["g++", *words[1:]]


CMAKE = ["cmake", "-S", ".", "-B", "kiln-bench-build", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -g",
         "-Dprotobuf_BUILD_TESTS=OFF", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
GROUPS = {
    "haproxy": Group("haproxy", "haproxy", 50, "include/haproxy/api.h", [], make_listing(HAPROXY)),
    "kernel": Group("kernel", "linux", 50, "include/linux/mm.h", [["make", "-s", "defconfig"], ["make", "-s", "-j2", "prepare"]], make_listing(["mm/"])),
    "c++": Group("c++", "protobuf-cmake", 40, "src/google/protobuf/port.h", [CMAKE], cmake_listing),
}


def each_group(results, act):
    """Calls `act` with the results, each group and its share of the time; what fails in one group is an error of the report."""
    left = sum(WEIGHTS.values())
    for group in GROUPS.values():
        weight = WEIGHTS[group.name]
        try:
            group.fetch()
            group.load()
            act(results, group, results.budget.share(left / weight))
        except (common.Failed, subprocess.SubprocessError, OSError) as error:
            results.error(group.name, "bench", error)
        left -= weight


# Of a family's time, by what a round through all tools takes.
WEIGHTS = {"haproxy": 1, "kernel": 1.5, "c++": 1.3}


class Change:
    """Changes files by one byte at a time: a comment at their end, so that the objects stay what they were."""

    def __init__(self, paths):
        self.paths, self.before, self.count = paths, {}, 0
        for path in paths:
            with open(path, "rb") as file:
                self.before[path] = file.read()

    def next(self):
        """Other bytes than ever before, of the same length from the first change on."""
        self.count += 1
        for path in self.paths:
            # As editors do it: a new file in the old one's place.
            with open(path + ".kiln-bench", "wb") as file:
                file.write(self.before[path] + b"/* %06d */\n" % self.count)
            os.replace(path + ".kiln-bench", path)

    def undo(self):
        for path in self.paths:
            with open(path + ".kiln-bench", "wb") as file:
                file.write(self.before[path])
            os.replace(path + ".kiln-bench", path)


def sources(units):
    return Change(sorted({unit.source_path() for unit in units}))


def header(group):
    return Change([os.path.join(group.root(), group.header)])
