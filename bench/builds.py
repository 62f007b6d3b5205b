"""Whole builds: recorded once with the real compiler, then run through a tool whose servers answer from that. Knows no family."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
import typing

import common
import projects
import record
import tool_kiln

RECORDER = os.path.join(common.ROOT, "target", "bench", "recordcc")
# Directories of links by which a build finds a tool in the compiler's place.
MASQUERADE = {"distcc": "/usr/lib/distcc", "icecc": "/usr/lib/icecc/bin"}
# How those are made that bring none: ccache tells its links from compilers, sccache's name is its file's own.
LINKERS: dict[str, typing.Callable] = {"ccache": os.symlink, "ccache-newest": os.symlink, "sccache": shutil.copy}
COMPILERS = ("gcc", "g++", "cc")
# What a kernel would take from the clock and the machine.
FIXED = {"KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_VERSION": "1", "KBUILD_BUILD_USER": "user", "KBUILD_BUILD_HOST": "host"}


class Build:
    """A project's whole build: make's arguments, the file that comes out, one of its objects, and the longest that a build and the recorded one may take."""

    def __init__(self, name, project, arguments, product, first, seconds_max, recording_seconds_max):
        self.name, self.project, self.arguments, self.product, self.first = name, project, arguments, product, first
        self.seconds_max, self.recording_seconds_max = seconds_max, recording_seconds_max
        self.directory = self.digest = None
        self.units, self.compile_cpu_s = 0, 0.0

    def prepare(self):
        """A tree of its own, and all compiles recorded; `directory` is then that of the recording."""
        self.tree = common.work("build", self.project)
        self.directory = common.work("recording", "build-" + self.name)
        if not os.path.exists(self.tree):
            subprocess.run(["cp", "-a", projects.fetch(self.project), self.tree], check=True, timeout=300)
        index = os.path.join(self.directory, "index")
        if not os.path.exists(index + ".whole"):
            shutil.rmtree(self.directory, ignore_errors=True)
            links = common.work("recordcc", "gcc")
            for name in COMPILERS:
                shutil.copy(RECORDER, os.path.join(os.path.dirname(links), name))
            os.makedirs(self.directory)
            self.clean()
            self.make([self.product], os.path.dirname(links), {"KILN_BENCH_RECORDING": self.directory}, os.cpu_count(), None, self.recording_seconds_max)
            self.settle(index)
        with open(index) as file:
            lines = file.readlines()
        self.units, self.compile_cpu_s = len(lines), sum(int(line.split("\t")[1]) for line in lines) / 1e6
        with open(index + ".whole") as file:
            self.digest = file.read()

    def settle(self, index):
        """Of two compiles of one object the later counts; the product's digest says that the recording is whole."""
        with open(index) as file:
            lines = {line.split("\t", 1)[0]: line for line in file}
        with open(index, "w") as file:
            file.writelines(lines.values())
        with open(index + ".whole", "w") as file:
            file.write(self.product_digest())

    def objects(self):
        """All objects that the build compiles, as it spells them."""
        with open(os.path.join(self.directory, "index")) as file:
            return sorted(line.rstrip("\n").split("\t")[5] for line in file)

    @property
    def group(self):
        """What `tools.replay` names its compiler by."""
        return self

    def product_digest(self):
        with open(os.path.join(self.tree, self.product), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def clean(self):
        subprocess.run(["make", "-s", "clean"], cwd=self.tree, env={**projects.env(), **FIXED}, check=True, timeout=300, capture_output=True)

    def make(self, targets, links, env, jobs, core, seconds=None):
        """Builds with `links` first in PATH; (wall s, CPU s of make and all it waited for)."""
        base = projects.env()
        full = {**base, **env, **FIXED, "PATH": (links + ":" if links else "") + base["PATH"]}
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        log = common.work("build.log")
        start = time.monotonic()
        with open(log, "wb") as out:
            proc = subprocess.Popen([*pinned, "make", f"-j{jobs}", *self.arguments, *targets], cwd=self.tree, env=full, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    start_new_session=True)
        status, usage = wait(proc, seconds or self.seconds_max)
        if status:
            raise common.Failed(f"make fails: {record.last_line(log)}")
        return time.monotonic() - start, usage.ru_utime + usage.ru_stime

    def run_first(self, name, tool, jobs, core):
        """As little of a build as brings the farm the compiler."""
        self.clean()
        self.make([self.first], links_of(name, tool), tool.env, jobs, core)

    def run(self, name, tool, jobs, core):
        """One clean build through a tool: (wall s, client CPU s, share of its core that the servers were busy, share of units compiled there)."""
        self.clean()
        server = tool.server_group()
        done = tool.remote_done()
        before, busy = sum(group.cpu_ms() for group in tool.groups()), server.cpu_ms() if server else 0
        wall, cpu = self.make([self.product], links_of(name, tool), tool.env, jobs, core)
        cpu += (sum(group.cpu_ms() for group in tool.groups()) - before) / 1e3
        if self.product_digest() != self.digest:
            raise common.Failed(f"{self.product} differs from that of a plain build")
        busy = (server.cpu_ms() - busy) / 1e3 / wall if server else 0.0
        return wall, cpu, busy, None if done is None else (tool.remote_done() - done) / self.units


def wait(proc, seconds):
    """Awaits a process: its exit status and usage; it and all it started are ended after a time."""
    end = time.monotonic() + seconds
    try:
        while True:
            pid, status, usage = os.wait4(proc.pid, os.WNOHANG)
            if pid:
                proc.returncode = os.waitstatus_to_exitcode(status)
                return proc.returncode, usage
            if time.monotonic() > end:
                raise common.Failed(f"not done after {seconds} s")
            time.sleep(0.005)
    finally:
        # Also where the whole run is to end.
        if proc.returncode is None:
            os.killpg(proc.pid, signal.SIGKILL)
            proc.wait()


def links_of(name, tool):
    """The directory that stands for the compilers; None for the compiler itself."""
    if name.startswith("kiln"):
        links = common.work("kiln-links")
        if not os.path.exists(links):
            subprocess.run([tool_kiln.KILN, "links", links], check=True, timeout=30, env=tool.env, capture_output=True)
        return links
    if name in LINKERS:
        links = common.work("links", name)
        if not os.path.exists(links):
            os.makedirs(links)
            for compiler in COMPILERS:
                LINKERS[name](tool.prefix[0], os.path.join(links, compiler))
        return links
    return next((links for tool_name, links in MASQUERADE.items() if name.startswith(tool_name)), None)


BUILDS = {
    # Half a minute through the slowest tool; icecc waits for ever where it finds its servers' machine busy.
    "haproxy": Build("haproxy", "haproxy", [word for word in projects.HAPROXY if word != "V=1"], "haproxy", "src/haproxy.o", 180, 900),
    "kernel": Build("kernel", "linux", [], "vmlinux", "init/main.o", 7200, 14400),
}
