"""kiln as it is measured: a daemon, and a farm of its own on other hosts. Knows no family."""

import glob
import json
import os
import shutil
import subprocess

import common
import net
import projects
from common import Failed, Group

BINARIES = os.environ.get("KILN_BENCH_BINARIES") or os.path.join(common.ROOT, "target", "release")
KILN = os.path.join(BINARIES, "kiln")
KILND = os.path.join(BINARIES, "kilnd")
REPLAY = os.path.join(BINARIES, "kiln-bench-worker")
# The first ports of a farm's host.
SCHEDULER_PORT, WORKER_PORT = 8980, 8990


class Farm:
    """A scheduler and workers on one host. With a recording the workers answer from it, else they compile."""

    def __init__(self, name, recording=None, workers=1, slots=16, sleeps=False, empty=False, tls=True):
        self.dir = common.work("k", name)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, mode=0o700)
        self.host, self.group, self.tls, self.slots, self.count = net.Host(), Group(f"{name}-farm"), tls, slots, workers
        try:
            self.secrets()
            self.address = f"{self.host.address}:{SCHEDULER_PORT}"
            self.scheduler = self.serve("scheduler", [KILND, "scheduler"], KILN_SCHEDULER_LISTEN=self.address)
            self.workers = self.start_workers(recording, sleeps, empty)
        except BaseException:
            self.stop()
            raise

    def secrets(self):
        """A CA, the host's certificate, tokens of a worker and a user: what a farm over TCP needs."""
        tokens = os.path.join(self.dir, "tokens")
        commands = [["cert", "ca", "--dir", self.dir], ["cert", "node", "--dir", self.dir, "--host", self.host.address, "host"],
                    ["token", "new", "--role", "worker", "--name", "worker", "--file", tokens],
                    ["token", "new", "--role", "user", "--name", "user", "--file", tokens]]
        for command in commands:
            subprocess.run([KILND, *command], check=True, capture_output=True, timeout=30, env=projects.env(KILN_DIR=self.dir))
        with open(tokens) as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
        for line in lines:
            role = "worker" if "worker" in line else "user"
            path = os.path.join(self.dir, role + ".token")
            with open(path, "w") as file:
                file.write(line)
            os.chmod(path, 0o600)

    def client_env(self):
        """How anyone reaches the farm as a user."""
        return {"KILN_FARM_SCHEDULERS": self.address, "KILN_AUTH_TOKEN_FILE": self.dir + "/user.token", **self.tls_env(False)}

    def tls_env(self, server):
        if not self.tls:
            return {"KILN_TLS_INSECURE": "true"}
        own = {"KILN_TLS_CERT": self.dir + "/host.pem", "KILN_TLS_KEY": self.dir + "/host.key"} if server else {}
        return {"KILN_TLS_CA": self.dir + "/ca.pem", **own}

    def serve(self, name, argv, **settings):
        home = os.path.join(self.dir, name)
        env = projects.env(KILN_DIR=home, KILN_AUTH_CREDENTIALS=self.dir + "/tokens", KILN_AUTH_TOKEN_FILE=self.dir + "/worker.token",
                           KILN_FARM_SCHEDULERS=self.address, **self.tls_env(True), **settings)
        return self.group.start(argv, env, f"{self.dir}/{name}.log", self.host)

    def start_workers(self, recording, sleeps, empty):
        if recording is None:
            return [self.serve(f"w{n}", [KILND, "worker"], KILN_WORKER_NAME=f"w{n}", KILN_WORKER_SLOTS=str(self.slots), KILN_WORKER_DEDICATED="true",
                               KILN_WORKER_YIELDS="false", KILN_WORKER_LISTEN=f"{self.host.address}:{WORKER_PORT + n}") for n in range(self.count)]
        argv = [REPLAY, "--recording", recording.directory, "--dir", self.dir + "/replay", "--slots", str(self.slots), "--scheduler", self.address,
                "--token", self.dir + "/worker.token"]
        argv += [f"--listen={self.host.address}:{WORKER_PORT + n}" for n in range(self.count)]
        if self.tls:
            argv += ["--ca", self.dir + "/ca.pem", "--cert", self.dir + "/host.pem", "--key", self.dir + "/host.key"]
        argv += ["--sleep"] if sleeps else []
        argv += ["--empty"] if empty else []
        return [self.serve("replay", argv)]

    def stop(self):
        self.group.stop()
        self.host.end()


class Kiln:
    """A daemon, the client, and the farm it uses, if any. `client` holds the daemon's processes."""

    prefix = [KILN]
    fresh_after_changes = False

    def __init__(self, name, farm=None, cache=False, fallback="fail"):
        self.name, self.farm, self.home = name, farm, common.work("k", name + "-client")
        self.cache, self.client = cache, None
        self.env = projects.env(KILN_DIR=self.home, KILN_FALLBACK=fallback if farm else "silent")
        self.start()

    def start(self):
        """A daemon that knows nothing."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home, mode=0o700)
        self.client = Group(self.name + "-client")
        settings = {"KILN_DAEMON_CACHE": "true" if self.cache else "false", "KILN_DAEMON_LOCAL_WORKER": "none", **(self.farm.client_env() if self.farm else {})}
        self.daemon = self.client.start([KILND, "daemon"], {**self.env, **settings}, self.home + ".log")
        try:
            common.wait_for("kiln's daemon", lambda: glob.glob(self.home + "/run/*sock*"))
            if self.farm:
                common.wait_for("kiln's workers", lambda: self.workers_seen() == self.farm.count)
        except Failed:
            self.client.stop()
            raise

    def restart(self):
        self.client.stop()
        self.start()

    def workers_seen(self):
        return len((self.json("status").get("farm") or {}).get("workers") or [])

    def json(self, what):
        done = subprocess.run([KILN, what, "--json"], env=self.env, capture_output=True, text=True, timeout=20)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def counted(self):
        return self.farm.host.counted() if self.farm else None

    def prove(self, _unit):
        """Its counters are looked at after each round."""

    def remote_done(self):
        return self.json("stats").get("remote", 0)

    def groups(self):
        return [self.client]

    def stop(self):
        self.client.stop()
        if self.farm:
            self.farm.stop()
