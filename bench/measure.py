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

import common
import net
import projects
import tools

FAMILIES = ["wrapper", "dispatch", "hit", "scan", "failure", "cache", "sched", "build", "costs"]

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


def measured(family):
    """Results of one family; what a family could not do at all is one of its errors."""
    results = common.Results(family)
    print(f"== {family}", flush=True)
    start = time.monotonic()
    try:
        importlib.import_module(f"family_{family}").measure(results)
    except (common.Failed, subprocess.SubprocessError, OSError) as error:
        results.error("all", "bench", error)
    except common.Ended as error:
        results.error("all", "bench", error)
        results.complete = False
    finally:
        common.stop_all()
    results.note(f"Took {time.monotonic() - start:.0f} s; load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    return results


def end(*_):
    """SIGTERM: what was measured so far is kept, with an error that says so."""
    raise common.Ended("ended by a signal before all was measured")


def replace_family(result, found):
    """Puts a family's new results in the place of its old ones."""
    for key in ("records", "ratios", "errors", "notes"):
        kept = [row for row in result.get(key, []) if row["family"] != found.family]
        result[key] = kept + getattr(found, key)
    return result


def main():
    wanted = sys.argv[1:] or FAMILIES
    unknown = [name for name in wanted if name not in FAMILIES]
    if unknown:
        sys.exit(f"measure.py: no family is called {unknown[0]}; there are {', '.join(FAMILIES)}")
    own = "KILN_BENCH_WORK" not in os.environ
    if own:
        os.environ["KILN_BENCH_WORK"] = tempfile.mkdtemp(prefix="kiln-bench-")
    latest = os.path.join(common.RESULTS, "latest.json")
    today = os.path.join(common.RESULTS, f"{datetime.date.today():%Y-%m-%d}-{common.machine()['name']}.json")
    signal.signal(signal.SIGTERM, end)
    try:
        for group in projects.GROUPS.values():
            group.fetch()
        projects.fetch("distcc")
        net.isolate()
        head = {"machine": common.machine(), "commit": commit(), "tools": tools.versions(), "full": common.FULL}
        for family in wanted:
            found = measured(family)
            for path in (today, latest):
                save(path, replace_family({**load(path), **head}, found))
            if not found.complete:
                sys.exit(1)
    finally:
        common.stop_all()
        if own:
            shutil.rmtree(os.environ["KILN_BENCH_WORK"], ignore_errors=True)


if __name__ == "__main__":
    main()
