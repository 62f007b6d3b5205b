#!/usr/bin/env python3
"""Measures families and writes the raw result: measure.py [FAMILY...]. Renders nothing: that is report.py."""

import datetime
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import common
import net
import projects
import tool_sccache
import tools

# Families that need no project's source.
SOURCELESS = {"wrapper", "failure", "cache"}
FAMILIES = ["wrapper", "dispatch", "hit", "scan", "failure", "cache", "sched", "build", "costs"]
# Those that are measured only where they are asked for, or with FULL=1.
LONG = ["kernel"]


def load(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def save(path, result):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as file:
        json.dump(common.clean(result), file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(path + ".new", path)


def commit():
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=common.ROOT, capture_output=True, text=True)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno", "--", "crates"], cwd=common.ROOT, capture_output=True, text=True).stdout
    return done.stdout.strip() + ("-dirty" if dirty.strip() else "")


def measured(family, whole):
    """Results of one family; what a family could not do at all is one of its errors."""
    results = common.Results(family)
    start, own, all_of = time.monotonic(), whole.cpu_s(), busy()
    try:
        importlib.import_module(f"family_{family}").measure(results)
    except common.Ended as error:
        results.error("all", "bench", error)
        results.complete = False
    except Exception as error:  # pylint: disable=broad-except
        # Whatever a family stumbles over, the others are measured.
        traceback.print_exc()
        results.error("all", "bench", f"{error.__class__.__name__}: {error}")
    finally:
        common.stop_all()
    seconds, own, all_of = time.monotonic() - start, whole.cpu_s() - own, busy() - all_of
    results.run = {"commit": commit(), "date": f"{datetime.date.today():%Y-%m-%d}", "seconds": round(seconds), "cpu_seconds": round(own),
                   "others": round(max(0.0, all_of - own) / seconds / os.cpu_count(), 3), "full": common.FULL}
    return results


def busy():
    """CPU seconds that this machine was not idle since its start, time that its host took from it included."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def end(*_):
    """SIGTERM: what was measured so far is kept, with an error that says so."""
    raise common.Ended("ended by a signal before all was measured")


def replace_family(result, found):
    """Puts a family's new results in the place of its old ones."""
    for key in ("records", "ratios", "errors", "notes"):
        kept = [row for row in result.get(key, []) if row["family"] != found.family]
        result[key] = kept + getattr(found, key)
    result.setdefault("runs", {})[found.family] = found.run
    return result


def fetch():
    """All sources; a family that needs one that cannot be had says so itself."""
    for name, act in [*((group.name, group.fetch) for group in projects.GROUPS.values()), ("distcc", lambda: projects.fetch("distcc"))]:
        print(f"== sources of {name}", flush=True)
        try:
            act()
        except (common.Failed, subprocess.SubprocessError, OSError) as error:
            print(f"  {name} cannot be fetched: {error}", flush=True)


def main():
    every = FAMILIES + LONG
    wanted = sys.argv[1:] or (every if common.FULL else FAMILIES)
    unknown = [name for name in wanted if name not in every]
    if unknown:
        sys.exit(f"measure.py: no family is called {unknown[0]}; there are {', '.join(every)}")
    own = "KILN_BENCH_WORK" not in os.environ
    if own:
        os.environ["KILN_BENCH_WORK"] = tempfile.mkdtemp(prefix="kiln-bench-")
    latest = os.path.join(common.RESULTS, "latest.json")
    today = os.path.join(common.RESULTS, f"{datetime.date.today():%Y-%m-%d}-{common.machine()['name']}.json")
    signal.signal(signal.SIGTERM, end)
    start, whole = time.monotonic(), common.Whole()
    try:
        if set(wanted) - SOURCELESS:
            fetch()
        # What was just unpacked is not written out while the first family is measured.
        os.sync()
        net.isolate()
        head = {"machine": common.machine(), "commit": commit(), "tools": {**tools.versions(), **tool_sccache.versions()}, "full": common.FULL}
        for number, family in enumerate(wanted):
            print(f"== {family} ({number + 1} of {len(wanted)}); {elapsed(start)} since the start", flush=True)
            found = measured(family, whole)
            for path in (today, latest):
                save(path, replace_family({**load(path), **head}, found))
            print(f"   {family}: {elapsed(time.monotonic() - found.run['seconds'])}, {found.run['cpu_seconds']} s of CPU, {len(found.records)} records, "
                  f"{len(found.errors)} errors; {elapsed(start)} since the start", flush=True)
            if not found.complete:
                sys.exit(1)
    finally:
        common.stop_all()
        whole.end()
        if own:
            shutil.rmtree(os.environ["KILN_BENCH_WORK"], ignore_errors=True)


def elapsed(since):
    seconds = round(time.monotonic() - since)
    return f"{seconds // 60} min {seconds % 60:02} s"


if __name__ == "__main__":
    main()
