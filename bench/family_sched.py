"""Kiln's scheduler: slots lent and taken back a second, by clients that compile nothing."""

import json
import os
import subprocess

import common
import projects
import record
import tool_kiln

ROUNDS = common.rounds(10)
CLIENTS = 50
# Slots in one request, and requests of a round.
BATCHES = {1: 20_000, 16: 4_000}
WORKERS, SLOTS = 8, 512


def measure(results):
    results.note(f"{CLIENTS} clients over a wire of their own (TCP, TLS, a user's token each) ask for slots of a farm of {WORKERS} workers of {SLOTS}, "
                 "1 and 16 in a request, and give them back. One grant is its share of an Acquire and a Release, signed token included. "
                 "No peer: distcc has no scheduler, and icecc's speaks only to its own daemons, one connection for each.")
    recording = record.Recording(projects.GROUPS["haproxy"])
    farm = tool_kiln.Farm("sched", recording, workers=WORKERS, slots=SLOTS)
    try:
        client = tool_kiln.Kiln("sched", farm)
        client.client.stop()
        for batch, requests in BATCHES.items():
            rounds(results, farm, batch, requests)
    finally:
        farm.stop()


def rounds(results, farm, batch, requests):
    rates, cpu = [], []
    case = f"{batch} at a time"
    for _ in results.budget.rounds(ROUNDS, results, case):
        before = common.process_ms(farm.scheduler.pid)
        argv = [tool_kiln.LOAD, "--address", farm.address, "--token", farm.dir + "/user.token", "--ca", farm.dir + "/ca.pem", "--clients", str(CLIENTS),
                "--requests", str(requests), "scheduler", "--batch", str(batch)]
        done = subprocess.run(argv, env=projects.env(), capture_output=True, text=True, timeout=common.COMMAND_SECONDS_MAX)
        if done.returncode:
            raise common.Failed(f"{os.path.basename(argv[0])}: {done.stderr.strip()[-200:]}")
        told = json.loads(done.stdout)
        rates.append(told["served"] / told["seconds"])
        cpu.append((common.process_ms(farm.scheduler.pid) - before) * 1e3 / told["served"])
    results.add(case, "kiln", "grants_per_s", "1/s", rates)
    results.add(case, "kiln", "scheduler_cpu", "us/grant", cpu)
