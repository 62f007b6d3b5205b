"""kiln as it is measured: a daemon, and a farm of its own on other hosts. Knows no family."""

import glob
import os
import random
import shutil
import socket
import subprocess

import common
import net
import projects
from common import Failed, Group

BINARIES = os.environ.get("KILN_BENCH_BINARIES") or os.path.join(common.ROOT, "target", "release")
KILN = os.path.join(BINARIES, "kiln")
KILND = os.path.join(BINARIES, "kilnd")
REPLAY = os.path.join(BINARIES, "kiln-bench-worker")
LOAD = os.path.join(BINARIES, "kiln-bench-load")
# On a host of its own; its workers follow.
SCHEDULER_PORT = 8980


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


def fresh_dir(name):
    """An empty directory that nobody else may read."""
    path = common.work("k", name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path, mode=0o700)
    return path


def make_tokens(directory):
    """A file of credentials, and one with the token of each role."""
    tokens = os.path.join(directory, "tokens")
    for role in ("worker", "user"):
        subprocess.run([KILND, "token", "new", "--role", role, "--name", role, "--file", tokens], check=True, capture_output=True, timeout=30,
                       env=projects.env(KILN_DIR=directory))
    with open(tokens) as file:
        lines = [line for line in file if line.strip() and not line.startswith("#")]
    for line in lines:
        path = os.path.join(directory, ("worker" if "worker" in line else "user") + ".token")
        with open(path, "w") as file:
            file.write(line)
        os.chmod(path, 0o600)


class Farm:
    """A scheduler and workers, on one host or with `apart` each on its own. With a recording the workers answer from it, else they compile."""

    def __init__(self, name, recording=None, workers=1, slots=16, sleeps=False, empty=False, tls=True, apart=False, cpus=None, delay_ms=0):
        self.dir, self.group, self.tls, self.slots, self.count, self.cpus = fresh_dir(name), Group(f"{name}-farm"), tls, slots, workers, cpus
        self.host = net.Host(delay_ms)
        self.hosts = [net.Host() for _ in range(workers)] if apart else [self.host] * workers
        try:
            self.secrets()
            own = bool(self.host.holder)
            first = SCHEDULER_PORT if own else free_port(workers + 1)
            self.address = f"{self.host.address}:{first}"
            self.worker_addresses = [f"{host.address}:{first + 1 + n}" for n, host in enumerate(self.hosts)]
            self.scheduler = self.serve("scheduler", [KILND, "scheduler"], self.host, KILN_SCHEDULER_LISTEN=self.address)
            self.workers = self.start_compiling() if recording is None else [self.start_replaying(recording, sleeps, empty)]
        except BaseException:
            self.stop()
            raise

    def secrets(self):
        """A CA, the hosts' certificate, tokens of a worker and a user: what a farm over TCP needs."""
        names = [word for address in {host.address for host in [self.host, *self.hosts]} for word in ("--host", address)]
        for command in (["cert", "ca", "--dir", self.dir], ["cert", "node", "--dir", self.dir, *names, "host"]):
            subprocess.run([KILND, *command], check=True, capture_output=True, timeout=30, env=projects.env(KILN_DIR=self.dir))
        make_tokens(self.dir)

    def client_env(self):
        """How anyone reaches the farm as a user."""
        return {"KILN_FARM_SCHEDULERS": self.address, "KILN_AUTH_TOKEN_FILE": self.dir + "/user.token", **self.tls_env(False)}

    def tls_env(self, server):
        if not self.tls:
            return {"KILN_TLS_INSECURE": "true"}
        own = {"KILN_TLS_CERT": self.dir + "/host.pem", "KILN_TLS_KEY": self.dir + "/host.key"} if server else {}
        return {"KILN_TLS_CA": self.dir + "/ca.pem", **own}

    def serve(self, name, argv, host, **settings):
        home = os.path.join(self.dir, name)
        env = projects.env(KILN_DIR=home, KILN_AUTH_CREDENTIALS=self.dir + "/tokens", KILN_AUTH_TOKEN_FILE=self.dir + "/worker.token",
                           KILN_FARM_SCHEDULERS=self.address, **self.tls_env(True), **settings)
        return self.group.start(argv, env, f"{self.dir}/{name}.log", host, self.cpus)

    def start_compiling(self):
        return [self.serve(f"w{n}", [KILND, "worker"], self.hosts[n], KILN_WORKER_NAME=f"w{n}", KILN_WORKER_SLOTS=str(self.slots),
                           KILN_WORKER_DEDICATED="true", KILN_WORKER_YIELDS="false", KILN_WORKER_LISTEN=address)
                for n, address in enumerate(self.worker_addresses)]

    def start_replaying(self, recording, sleeps, empty):
        argv = [REPLAY, "--recording", recording.directory, "--dir", self.dir + "/replay", "--slots", str(self.slots), "--scheduler", self.address,
                "--token", self.dir + "/worker.token", *(f"--listen={address}" for address in self.worker_addresses)]
        if self.tls:
            argv += ["--ca", self.dir + "/ca.pem", "--cert", self.dir + "/host.pem", "--key", self.dir + "/host.key"]
        argv += ["--sleep"] if sleeps else []
        argv += ["--empty"] if empty else []
        return self.serve("replay", argv, self.host)

    def stop(self):
        self.group.stop()
        for host in {self.host, *self.hosts}:
            host.end()
        # Toolchains and results, some hundred MB.
        shutil.rmtree(self.dir, ignore_errors=True)


class Kiln:
    """A daemon, the client, and the farm it uses, if any. `client` holds the daemon's processes."""

    prefix = [KILN]
    fresh_after_changes = False
    # Its daemon leaves what it knows of files and compilers to the next one.
    keeps = True

    def __init__(self, name, farm=None, cache=False, fallback="fail", cpus=None, **settings):
        self.name, self.farm, self.home, self.cpus = name, farm, common.work("k", name + "-client"), cpus
        self.cache, self.client, self.settings = cache, None, settings
        self.env = projects.env(KILN_DIR=self.home, KILN_FALLBACK=fallback if farm else "silent")
        self.forget()
        self.start()

    def forget(self):
        """Nothing is left of daemons before."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home, mode=0o700)

    def start(self):
        self.client = Group(self.name + "-client")
        settings = {"KILN_DAEMON_CACHE": "true" if self.cache else "false", "KILN_DAEMON_LOCAL_WORKER": "none", **self.settings,
                    **(self.farm.client_env() if self.farm else {})}
        self.daemon = self.client.start([KILND, "daemon"], {**self.env, **settings}, self.home + ".log", cpus=self.cpus)
        try:
            common.wait_for("kiln's daemon", lambda: glob.glob(self.home + "/run/*sock*"))
            if self.farm:
                common.wait_for("kiln's workers", lambda: self.workers_seen() == self.farm.count)
        except Failed:
            self.client.stop()
            raise

    def restart(self, keep=False):
        self.client.stop()
        if not keep:
            self.forget()
        self.start()

    def workers_seen(self):
        return len((self.json("status").get("farm") or {}).get("workers") or [])

    def json(self, what):
        done = subprocess.run([KILN, what, "--json"], env=self.env, capture_output=True, text=True, timeout=20)
        return common.parsed(done.stdout)

    def counted(self):
        return self.farm.host.counted() if self.farm else None

    def prove(self, _unit):
        """Its counters are looked at after each round."""

    def remote_done(self):
        return self.json("stats").get("remote", 0)

    def host_of_farm(self):
        return self.farm.host

    def groups(self):
        return [self.client]

    def server_group(self):
        return self.farm and self.farm.group

    def stop(self):
        self.client.stop()
        if self.farm:
            self.farm.stop()
        shutil.rmtree(self.home, ignore_errors=True)
