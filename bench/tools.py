"""kiln's peers: how each is started, called and ended, in its best documented configuration. Knows no family.

With a recording, a peer's server is real but the compiler it calls is replay.c; without one it calls the compiler itself.
"""

import glob
import os
import re
import shutil
import socket
import subprocess

import common
import net
import projects
import tool_kiln
from common import Failed, Group
from tool_kiln import free_port

# icecc's daemons ask for their scheduler every few seconds.
ICECC_SECONDS = 30
# Names under which a client may ask for a compiler.
COMPILERS = [prefix + name + suffix for prefix in ("", "x86_64-linux-gnu-") for name in ("gcc", "g++") for suffix in ("", "-12")] + ["cc", "c++"]
INCLUDE_SERVER = "/usr/lib/python3/dist-packages/include_server"


def replay(recording, sleeps, empty, seen_at=None):
    """The replaying compiler for a recording, which it finds at `seen_at`."""
    where = seen_at or recording.directory
    path = common.work("replay", f"{recording.group.name}-{'s' if sleeps else ''}{'e' if empty else ''}{'c' if seen_at else ''}".replace("+", "x"), "gcc")
    flags = [f'-DRECORDING="{where}"'] + ["-DSLEEP"] * sleeps + ["-DEMPTY"] * empty
    subprocess.run(["gcc", "-O2", "-static", *flags, "-o", path, os.path.join(common.ROOT, "bench", "replay.c")], check=True, timeout=60)
    for name in COMPILERS:
        link = os.path.join(os.path.dirname(path), name)
        if name != "gcc":
            if os.path.exists(link):
                os.remove(link)
            os.link(path, link)
    return os.path.dirname(path)


def opened(path):
    """A directory that any user may write to: servers run as users of their own."""
    os.makedirs(path, exist_ok=True)
    os.chmod(os.environ["KILN_BENCH_WORK"], 0o755)
    os.chmod(path, 0o777)
    return path


class Plain:
    """The compiler itself."""

    prefix, describe = [], "as installed"
    # Of its servers; None where it has none.
    host: net.Host = None
    fresh_after_changes = keeps = False

    def __init__(self, _name="plain"):
        self.env = projects.env()

    def groups(self):
        return []

    def counted(self):
        return self.host.counted() if self.host else None

    def host_of_farm(self):
        return self.host

    def server_group(self):
        """Processes that serve others; None where there are none."""
        return getattr(self, "server", None)

    def restart(self):
        """Forgets what a daemon of the tool knows; most have none."""

    def prove(self, unit):
        """Fails where the tool would do the client's work otherwise than it is said to."""

    def remote_done(self):
        """Compiles that its servers did so far, where that can be told."""
        return None

    def stop(self):
        pass


class Distcc(Plain):
    """distcc without pump: preprocesses on the client."""

    prefix = ["/usr/bin/distcc"]
    describe = "plain mode (preprocesses on the client), plain TCP, the servers' TMPDIR in memory"
    options = ""

    def __init__(self, name, recording=None, sleeps=False, empty=False, slots=16, servers=1, fallback=False, apart=False, cpus=None, client_cpus=None, delay_ms=0):
        self.base, self.server, self.slots = opened(common.work(name)), Group(name + "-server"), slots
        self.scratch = common.memory(name)
        self.cpus, self.client_cpus = cpus, client_cpus
        self.hosts = [net.Host() for _ in range(servers)] if apart else [net.Host(delay_ms)] * servers
        self.host = self.hosts[0]
        path = projects.env()["PATH"]
        if recording:
            path = replay(recording, sleeps, empty) + ":" + path
        try:
            first = 3632 if self.host.holder else free_port(servers)
            ports = [(host, first + n) for n, host in enumerate(self.hosts)]
            self.workers = [self.serve(host, port, path) for host, port in ports]
            hosts = " ".join(f"{host.address}:{port}/{slots}{self.options}" for host, port in ports)
            self.env = projects.env(DISTCC_HOSTS=hosts, DISTCC_DIR=opened(self.base + "/state"), DISTCC_FALLBACK="1" if fallback else "0")
            for host, port in ports:
                common.wait_for("distccd", lambda: port_open(port, host))
        except BaseException:
            self.stop()
            raise

    def serve(self, host, port, path):
        argv = ["distccd", "--no-detach", "--daemon", "--allow", "10.77.0.0/16", "--allow", "127.0.0.1", "--listen", host.address, "-p", str(port),
                "-j", str(self.slots), "--log-file", f"{self.base}/{port}.log", "-P", f"{self.base}/{port}.pid", "--enable-tcp-insecure", "--log-level", "error"]
        if os.geteuid() == 0:
            argv += ["--user", "distccd"]
        return self.server.start(argv, projects.env(PATH=path, TMPDIR=self.scratch), f"{self.base}/{port}.out", host, self.cpus)

    def stop(self):
        self.server.stop()
        common.forget(self.scratch)
        for host in set(self.hosts):
            host.end()


class DistccLzo(Distcc):
    """The same with compression."""

    describe = "plain mode, LZO on (hosts with ,lzo), plain TCP, the servers' TMPDIR in memory"
    options = ",lzo"


class Pump(Distcc):
    """distcc's pump mode: an include server on the client, headers sent with each job."""

    describe = ("pump mode (,cpp,lzo), plain TCP, the servers' TMPDIR in memory; its include server's extension built anew with PY_SSIZE_T_CLEAN: as Debian 12 ships it, pump fails on every "
                "file and preprocesses on the client")
    options = ",cpp,lzo"
    include_server = None
    # It takes no file to change while it runs: a build has a fresh one.
    fresh_after_changes = True

    def __init__(self, name, *words, **more):
        self.mended = mended_pump()
        super().__init__(name, *words, **more)
        self.start_include_server()

    def start_include_server(self):
        self.include_server = Group(os.path.basename(self.base) + "-include-server")
        socket_path, pid_path = self.base + "/include.socket", self.base + "/include.pid"
        for path in (socket_path, pid_path):
            if os.path.exists(path):
                os.remove(path)
        argv = ["/usr/bin/python3", self.mended + "/include_server.py", "--port", socket_path, "--pid_file", pid_path, "-d1"]
        self.include_server.start(argv, {**self.env, "PYTHONOPTIMIZE": "1", "PYTHONPATH": self.mended}, self.base + "/include.log",
                                  cpus=self.client_cpus)
        common.wait_for("pump's include server", lambda: os.path.exists(pid_path) and os.path.exists(socket_path))
        with open(pid_path) as file:
            pid = file.read().strip()
        self.include_server.adopt(int(pid))
        self.env = {**self.env, "INCLUDE_SERVER_PORT": socket_path, "INCLUDE_SERVER_PID": pid}

    def groups(self):
        return [self.include_server]

    def restart(self):
        self.include_server.stop()
        self.start_include_server()

    def prove(self, unit):
        done = subprocess.run(unit.argv(self.prefix), cwd=unit.directory, env={**self.env, "DISTCC_VERBOSE": "1"}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        if done.returncode or "got DOTD" not in done.stderr:
            told = [line.split(") ", 1)[-1] for line in done.stderr.splitlines() if re.search("warning|error|fail|replay:|could not", line, re.IGNORECASE)]
            raise Failed(f"pump does not send the source: exit {done.returncode}: {'; '.join(told)[-300:]}")

    def stop(self):
        if self.include_server:
            self.include_server.stop()
        super().stop()


def mended_pump():
    """The directory of an include server that works."""
    directory = common.work("pump")
    if not glob.glob(directory + "/*.so"):
        source = common.work("src", "distcc")
        if not os.path.exists(source) or not os.path.isdir(INCLUDE_SERVER):
            raise Failed("distcc-pump or distcc's source is not there")
        subprocess.run(["sh", os.path.join(common.ROOT, "bench", "pump.sh"), source, directory], check=True, timeout=300, capture_output=True)
    return directory


# Where jobs that run inside a tarball see the recording.
INSIDE = "/kiln-bench-recording"


def replaying_tarball(base, recording, sleeps, empty):
    """A compiler's tarball as icecc and sccache take it, with the replaying compiler and what it answers from."""
    root = base + "/env"
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root + "/usr/bin")
    for compiler in glob.glob(replay(recording, sleeps, empty, INSIDE) + "/*"):
        shutil.copy(compiler, root + "/usr/bin")
    shutil.copytree(recording.directory, root + INSIDE)
    for directory in ("tmp", "dev", "etc", "bin"):
        os.makedirs(f"{root}/{directory}")
    # icecc's daemon uses one only if it has an assembler and its /bin/true runs.
    with open(base + "/true.c", "w") as file:
        file.write("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", root + "/bin/true", base + "/true.c"], check=True, timeout=60)
    shutil.copy(root + "/bin/true", root + "/usr/bin/as")
    os.chmod(root + "/tmp", 0o1777)
    tar = base + "/kiln-bench-env.tar.gz"
    subprocess.run(["tar", "-C", root, "-czf", tar, "."], check=True, timeout=300)
    return tar


class Icecc(Plain):
    """icecc with a scheduler, a local daemon that takes no jobs and one remote daemon. Needs root (chroot)."""

    prefix = ["/usr/bin/icecc"]
    describe = "default (preprocesses with -fdirectives-only), the compiler's tarball made before, plain TCP, the servers' directory in memory"
    def __init__(self, name, recording=None, sleeps=False, empty=False, slots=16, servers=1, apart=False, cpus=None, client_cpus=None, delay_ms=0):
        if os.geteuid() != 0:
            raise Failed("icecc's daemons must start as root to use chroot")
        shutil.rmtree(common.work(name), ignore_errors=True)
        base = self.base = opened(common.work(name))
        self.scratch = common.memory(name)
        self.server, self.client, self.host, self.cpus = Group(name + "-server"), Group(name + "-client"), net.Host(delay_ms), cpus
        self.hosts = [net.Host() for _ in range(servers)] if apart else [self.host] * servers
        try:
            tar = self.tarball(recording, sleeps, empty)
            self.net, self.port = f"kilnbench{os.getpid()}", 8765 if self.host.holder else free_port(2 + servers)
            self.scheduler = self.server.start(["icecc-scheduler", "-n", self.net, "-p", str(self.port), "-l", base + "/sched.log", "-vv"], projects.env(),
                                               base + "/sched.out", self.host, cpus)
            # Not by a connection: one that is closed at once keeps this scheduler from the next ones.
            common.wait_for("icecc's scheduler", lambda: says(base + "/sched.log", "scheduler ready"))
            self.workers = [self.daemon(self.server, self.scratch, f"remote{n}", self.port + 10 + n, slots, [], host, cpus) for n, host in enumerate(self.hosts)]
            # On hosts apart a job has to leave this one, which the scheduler would choose for a lone job as it likes.
            self.daemon(self.client, base, "local", self.port + 9, 0 if apart else 1, ["--no-remote"], None, client_cpus)
            self.env = projects.env(ICECC_TEST_SOCKET=base + "/local.sock", ICECC_VERSION=tar, ICECC_TEST_REMOTEBUILD="1")
            if servers == 1:
                self.env["ICECC_PREFERRED_HOST"] = "remote0"
            logs = ["local", *(f"remote{n}" for n in range(servers))]
            common.wait_for("icecc's daemons", lambda: all(says(f"{base}/{log}.log", "Connected to scheduler") for log in logs), ICECC_SECONDS)
        except BaseException:
            self.stop()
            raise

    def tarball(self, recording, sleeps, empty):
        """The environment that jobs run in: the compiler's, as icecc makes it, or one that holds the replaying compiler."""
        if recording:
            return replaying_tarball(self.base, recording, sleeps, empty)
        envs = common.work("icecc-env")
        os.makedirs(envs, exist_ok=True)
        if not glob.glob(envs + "/*.tar*"):
            subprocess.run(["icecc-create-env", "/usr/bin/gcc", "/usr/bin/g++"], cwd=envs, env=projects.env(), check=True, capture_output=True, timeout=120)
        return glob.glob(envs + "/*.tar*")[0]

    def remote_done(self):
        count = 0
        for log in glob.glob(self.base + "/remote*.log"):
            with open(log, errors="replace") as file:
                count += file.read().count("Remote compilation completed with exit code 0")
        return count

    def daemon(self, group, home, role, port, slots, more, host, cpus):
        argv = ["iceccd", "-n", self.net, "-N", role, "-s", f"{self.host.address}:{self.port}", "-p", str(port), "-m", str(slots),
                "-b", f"{home}/{role}", "-l", f"{self.base}/{role}.log", "-vv", *more]
        return group.start(argv, projects.env(ICECC_TEST_SOCKET=f"{self.base}/{role}.sock"), f"{self.base}/{role}.out", host, cpus)

    def groups(self):
        return [self.client]

    def stop(self):
        self.client.stop()
        self.server.stop()
        common.forget(self.scratch)
        for host in {self.host, *self.hosts}:
            host.end()


def says(log, text):
    """Whether a daemon's log holds a text."""
    try:
        with open(log, errors="replace") as file:
            return text in file.read()
    except OSError:
        return False


class Ccache(Plain):
    """The system's ccache in direct mode, its default, with a cache of its own."""

    describe = "defaults: direct mode, zstd level 1"

    def __init__(self, name="ccache"):
        if not self.program():
            raise Failed("ccache is not installed")
        self.prefix = [self.program()]
        home = common.work(name, "cache")
        shutil.rmtree(home, ignore_errors=True)
        self.env = projects.env(CCACHE_DIR=home)

    @staticmethod
    def program():
        return shutil.which("ccache")


class CcacheNewest(Ccache):
    """The newest ccache, as its makers build it."""

    @staticmethod
    def program():
        return common.own_program("ccache")


def port_open(port, host=None):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host.address if host else "127.0.0.1", port)) == 0


def versions():
    """Every tool with its version and the configuration it is measured in."""
    rows = {
        "kiln": ([tool_kiln.KILN, "--version"], "release build; farm over TCP with TLS and tokens"),
        "gcc": (["gcc", "--version"], Plain.describe), "clang-scan-deps-14": (["clang-14", "--version"], "one process for all units, -j 1"),
        "distcc": (["distcc", "--version"], Distcc.describe), "distcc-lzo": (["distcc", "--version"], DistccLzo.describe),
        "distcc-pump": (["distcc", "--version"], Pump.describe), "icecc": (["icecc", "--version"], Icecc.describe),
        "ccache": (["ccache", "--version"], Ccache.describe),
        "ccache-newest": ([CcacheNewest.program() or "ccache-newest", "--version"], f"the makers' own binary; {Ccache.describe}")}
    return {name: f"{common.output_of(argv)}; {how}" for name, (argv, how) in rows.items()}
