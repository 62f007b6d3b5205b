#!/usr/bin/env python3
"""Renders bench/results/latest.json: a Markdown report and SVG plots beside it. Measures nothing."""

import html
import json
import os
import sys

RESULTS = os.environ.get("KILN_BENCH_RESULTS") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")
# What is plotted: file, title, family, metric, and the cases in which it is looked for.
PLOTS = [
    ("dispatch.svg", "Client CPU of a remote compile, ms per unit (median)", "dispatch", "client_cpu"),
    ("hit.svg", "CPU of a cache hit, ms per unit (median)", "hit", "hit_cpu"),
    ("scan.svg", "Finding a unit's inputs, ms of CPU (median)", "scan", "cpu"),
]
TITLES = {"wrapper": "Start costs", "hit": "Cache hits", "dispatch": "Remote compiles: the client's CPU", "scan": "Finding inputs",
          "failure": "Lost servers", "cache": "Cache service", "sched": "Scheduler"}
# Colours of the first tool, kiln, and of all others.
OWN, OTHER = "#c2410c", "#64748b"
# Metrics of which a lower figure is better; the rest describes.
LOWER_IS_BETTER = {"client_cpu", "hit_cpu", "hit_wall", "cpu", "wall", "stalled", "total", "instructions"}


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]


def family_text(result, family):
    def rows_of(key):
        return [row for row in result.get(key, []) if row["family"] == family]

    lines = [f"## {TITLES.get(family, family)} (`make bench WHAT={family}`)", ""]
    for note in rows_of("notes"):
        lines += [note["text"], ""]
    records = rows_of("records")
    if records:
        lines += table(["case", "metric", "tool", "median", "least", "most", "unit", "n"],
                       [[r["case"], r["metric"], r["tool"], number(r["median"]), number(r["min"]), number(r["max"]), r["unit"], r["n"]]
                        for r in sorted(records, key=lambda r: (r["case"], r["metric"]))]) + [""]
    ratios = rows_of("ratios")
    if ratios:
        lines += ["Ratios of medians, with the 95 % interval of paired resampling:", ""]
        lines += table(["case", "metric", "tool", "against", "ratio", "95 %", "pairs"],
                       [[r["case"], r["metric"], r["tool"], r["peer"], number(r["ratio"]), f"{number(r['low'])} to {number(r['high'])}", r["n"]]
                        for r in ratios]) + [""]
    if rows_of("errors"):
        lines += ["Errors:", ""]
        lines += table(["case", "tool", "error"], [[r["case"], r["tool"], r["message"]] for r in rows_of("errors")]) + [""]
    return lines


def losses(result):
    """Every row in which another tool is better than kiln."""
    rows = [r for r in result["ratios"] if r["ratio"] > 1 and r["metric"] in LOWER_IS_BETTER]
    lines = ["## Where kiln is not the best", ""]
    if not rows:
        return lines + ["In no compared row.", ""]
    return lines + table(["family", "case", "metric", "tool", "better", "ratio", "95 %"],
                         [[r["family"], r["case"], r["metric"], r["tool"], r["peer"], number(r["ratio"]), f"{number(r['low'])} to {number(r['high'])}"]
                          for r in rows]) + [""]


def plot(title, rows):
    """Horizontal bars: a row is (label, value, whether it is kiln's)."""
    top, height, left, width = 40, 24, 300, 860
    most = max(value for _, value, _ in rows) or 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height * len(rows) + 10}" font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="24" font-size="15">{html.escape(title)}</text>']
    for n, (label, value, own) in enumerate(rows):
        y, length = top + n * height, max(1.0, value / most * (width - left - 80))
        out.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(label)}</text>')
        out.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{height - 7}" fill="{OWN if own else OTHER}"/>')
        out.append(f'<text x="{left + length + 6:.1f}" y="{y + 15}">{number(value)}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    path = os.path.join(RESULTS, "latest.json")
    try:
        with open(path) as file:
            result = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"report.py: {path}: {error}")
    machine = result["machine"]
    lines = ["# Benchmarks", "", f"Rendered from `latest.json` by `bench/report.py`; commit {result['commit']}; {machine['cpu']}, {machine['cores']} cores, "
             f"{machine['memory_gib']} GiB, {machine['system']}, Linux {machine['kernel']}. CPU is user + system of all client-side processes, daemons included; "
             "servers are apart. Every object was compared with gcc's own.", ""]
    lines += table(["tool", "version and configuration"], result["tools"].items()) + [""]
    for file, title, family, metric in PLOTS:
        rows = [(f"{r['tool']} ({r['case']})", r["median"], r["tool"].startswith("kiln"))
                for r in sorted(result["records"], key=lambda r: r["case"]) if r["family"] == family and r["metric"] == metric]
        if rows:
            with open(os.path.join(RESULTS, file), "w") as out:
                out.write(plot(title, rows))
            lines += [f"![{title}]({file})", ""]
    families = [name for name in TITLES if any(row["family"] == name for key in ("records", "errors", "notes") for row in result[key])]
    for family in families:
        lines += family_text(result, family)
    lines += losses(result)
    with open(os.path.join(RESULTS, "latest.md"), "w") as out:
        out.write("\n".join(lines).rstrip() + "\n")
    print(f"bench/results/latest.md: {len(result['records'])} records, {len(result['errors'])} errors")


if __name__ == "__main__":
    main()
