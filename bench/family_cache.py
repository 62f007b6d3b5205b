"""Kiln's cache server against redis-server: 50 connections read blobs of 16 KB, one at a time and 16 at a time."""

import json
import os
import re
import subprocess

import common
import net
import projects
import tool_kiln
import tools
from common import Group

ROUNDS = common.rounds(10)
CONNECTIONS, BYTES = 50, 16 * 1024
# Blobs in one request, or requests in one write of redis-benchmark; requests of a round for each.
BATCHES = {1: 20_000, 16: 4_000}
SERVER_CORE, CLIENT_CORE = {0}, {min(1, os.cpu_count() - 1)}


def measure(results):
    results.note(f"{CONNECTIONS} connections over loopback TCP read blobs of {BYTES // 1024} KB, server and client on one core each. redis: redis-benchmark "
                 "-t get, -P 1 and -P 16, no persistence; it checks nothing. kiln: BatchReadBlobs of 1 and of 16 blobs, gRPC with a token, without TLS as redis. "
                 "server_cpu is the server's alone; blobs_per_s is bounded by whichever side is full first, and server_busy says which.")
    net.isolate()
    for batch, requests in BATCHES.items():
        servers = start(results)
        try:
            rounds(results, f"{batch} at a time", batch, requests, servers)
        finally:
            for server in servers.values():
                server.group.stop()


def start(results):
    servers = {}
    for name, make in (("kiln", KilnCache), ("redis", Redis)):
        try:
            servers[name] = make()
        except (common.Failed, OSError) as error:
            results.error("start", name, error)
    return servers


class KilnCache:
    """kilnd cache on loopback."""

    def __init__(self):
        self.dir = tool_kiln.fresh_dir("cache")
        self.group, port = Group("cache-kiln"), tools.free_port()
        self.address = f"127.0.0.1:{port}"
        tool_kiln.make_tokens(self.dir)
        env = projects.env(KILN_DIR=self.dir, KILN_CACHE_LISTEN=self.address, KILN_AUTH_CREDENTIALS=self.dir + "/tokens", KILN_TLS_INSECURE="true")
        self.group.start([tool_kiln.KILND, "cache"], env, self.dir + "/log", cpus=SERVER_CORE)
        common.wait_for("kiln's cache", lambda: tools.port_open(port))

    def load(self, batch, requests):
        """Blobs a second."""
        argv = [tool_kiln.LOAD, "--address", self.address, "--token", self.dir + "/user.token", "--clients", str(CONNECTIONS), "--requests", str(requests),
                "cache", "--batch", str(batch), "--bytes", str(BYTES)]
        told = json.loads(client(argv))
        return told["served"] / told["seconds"], told["served"]


class Redis:
    """redis-server on loopback, as it is for caches: nothing is written to disk."""

    def __init__(self):
        self.group, self.port = Group("cache-redis"), tools.free_port()
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", common.work("redis", "x")[:-2]]
        self.group.start(argv, projects.env(), common.work("redis", "log"), cpus=SERVER_CORE)
        common.wait_for("redis-server", lambda: tools.port_open(self.port))
        client(["redis-benchmark", "-p", str(self.port), "-t", "set", "-d", str(BYTES), "-r", "256", "-n", "5000", "-q"])

    def load(self, batch, requests):
        blobs = requests * batch
        argv = ["redis-benchmark", "-p", str(self.port), "-t", "get", "-d", str(BYTES), "-c", str(CONNECTIONS), "-P", str(batch), "-r", "256", "-n", str(blobs), "-q"]
        found = re.findall(r"GET: ([\d.]+) requests per second", client(argv))
        if not found:
            raise common.Failed("redis-benchmark told nothing")
        return float(found[-1]), blobs


def client(argv):
    """What a load generator prints."""
    done = subprocess.run(argv, env=projects.env(), capture_output=True, text=True, timeout=common.COMMAND_SECONDS_MAX,
                          preexec_fn=lambda: os.sched_setaffinity(0, CLIENT_CORE))
    if done.returncode:
        raise common.Failed(f"{argv[0]}: {done.stderr.strip()[-200:]}")
    return done.stdout


def rounds(results, case, batch, requests, servers):
    rates, cpu, busy = ({name: [] for name in servers} for _ in range(3))
    for _ in results.budget.rounds(ROUNDS, results, case):
        for name, server in list(servers.items()):
            before = server.group.cpu_ms()
            try:
                rate, blobs = server.load(batch, requests)
            except (common.Failed, subprocess.SubprocessError) as error:
                results.error(case, name, error)
                servers.pop(name).group.stop()
                continue
            spent = server.group.cpu_ms() - before
            rates[name].append(rate)
            cpu[name].append(spent * 1e3 / blobs)
            busy[name].append(spent / (blobs / rate * 1e3))
    for name in servers:
        results.add(case, name, "blobs_per_s", "1/s", rates[name])
        results.add(case, name, "server_cpu", "us/blob", cpu[name])
        results.add(case, name, "server_busy", "of 1", busy[name])
    if len(servers) == 2:
        results.compare(case, "server_cpu", cpu["kiln"], cpu["redis"], "kiln", "redis")
        results.compare(case, "blobs_per_s", rates["kiln"], rates["redis"], "kiln", "redis")
