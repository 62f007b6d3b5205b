#!/usr/bin/env python3
"""Renders bench/results/latest.json: a Markdown report and SVG plots beside it, and README's figures. Measures nothing."""

import html
import json
import math
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.environ.get("KILN_BENCH_RESULTS") or os.path.join(ROOT, "bench", "results")
TITLES = {"wrapper": "Start costs", "dispatch": "Remote compiles: the client's CPU", "hit": "Cache hits", "scan": "Finding inputs", "build": "Whole builds on simulated farms", "kernel": "A whole kernel on simulated farms",
          "failure": "Lost servers", "cache": "Cache service", "sched": "Scheduler", "costs": "What kiln costs beside"}
# Share of the machine's CPU that processes outside the bench may have had; what the kernel does for a wire counts as theirs.
OTHERS_MAX = 0.15
# Metrics of which more, or less, is better; any other only describes, or follows from one of these.
HIGHER_IS_BETTER = {"blobs_per_s", "grants_per_s", "exact_objects"}
LOWER_IS_BETTER = {"cpu", "wall", "instructions", "client_cpu", "wall_alone", "sent", "received", "hit_cpu", "hit_wall", "tree_cpu", "tree_wall", "build_cpu", "build_wall",
                   "server_cpu", "stalled", "total", "next", "slowest"}
# Colours of the tools; kiln's is the first.
COLOURS = ["#c2410c", "#64748b", "#0f766e", "#7c3aed", "#a16207", "#be185d", "#1d4ed8"]
# README's table: what a row says, family, case, metric. Columns are the tools.
README_TOOLS = ["kiln", "distcc-pump", "icecc", "distcc", "ccache", "sccache"]
README_ROWS = [
    ("CPU of a wrapper's start, µs", "wrapper", "start", "cpu"),
    *((f"client CPU a remote compile, {label}, ms", "dispatch", f"{group}, warm", "client_cpu") for label, group in (("haproxy", "haproxy"), ("kernel", "kernel"), ("C++", "c++"))),
    ("the same, the source just changed, haproxy, ms", "dispatch", "haproxy, touched", "client_cpu"),
    ("bytes sent a remote compile, haproxy, KB", "dispatch", "haproxy, warm", "sent"),
    *((f"CPU of a cache hit, {label}, ms", "hit", group, "hit_cpu") for label, group in (("haproxy", "haproxy"), ("kernel", "kernel"), ("C++", "c++"))),
    ("CPU of a whole build of hits, haproxy, s", "hit", "haproxy, whole tree", "tree_cpu"),
    ("haproxy's whole build, farm of 64 cores, s", "build", "haproxy, 64 cores", "wall"),
    ("the kernel's whole defconfig, farm of 64 cores, one build, s", "kernel", "kernel, 64 cores", "wall"),
    ("a server is killed in a compile: seconds until it runs again", "failure", "killed", "stalled"),
]
BEGIN, END = "<!-- figures: written by bench/report.py -->\n", "<!-- end of figures -->\n"


def is_busy(result, family):
    """Whether others used the machine while a family was measured."""
    run = result.get("runs", {}).get(family)
    return not run or run["others"] > OTHERS_MAX


def number(value):
    """Three significant digits."""
    if value is None or value == 0:
        return "0" if value == 0 else ""
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]


def unique(values):
    return list(dict.fromkeys(values))


def family_text(result, family):
    def rows_of(key):
        return [row for row in result.get(key, []) if row["family"] == family]

    lines = [f"## {TITLES.get(family, family)} (`make bench WHAT={family}`)", ""]
    run = result.get("runs", {}).get(family)
    if run:
        lines += [f"Commit {run['commit']}, {run['date']}: {run['seconds']} s, {run['cpu_seconds']} s of CPU; other work took {run['others']:.0%} of the machine."
                  + (" **To be measured anew: the machine was busy.**" if is_busy(result, family) else ""), ""]
    for note in rows_of("notes"):
        lines += [note["text"], ""]
    records = rows_of("records")
    for metric in unique(r["metric"] for r in records):
        chosen = {(r["case"], r["tool"]): r for r in records if r["metric"] == metric}
        tools = unique(tool for _, tool in chosen)
        unit = next(iter(chosen.values()))["unit"]
        lines += [f"**{metric}**, {unit}: median (least to most, n)", ""]
        rows = [[case, *(cell(chosen.get((case, tool))) for tool in tools)] for case in unique(case for case, _ in chosen)]
        lines += table(["case", *tools], rows) + [""]
    ratios = rows_of("ratios")
    if ratios:
        lines += ["Ratios of medians, with the 95 % interval of paired resampling:", ""]
        lines += table(["case", "metric", "tool", "against", "ratio", "95 %", "pairs"], map(ratio_row, ratios)) + [""]
    if rows_of("errors"):
        lines += ["Errors:", ""]
        lines += table(["case", "tool", "error"], [[r["case"], r["tool"], r["message"]] for r in rows_of("errors")]) + [""]
    return lines


def cell(record):
    if not record:
        return ""
    spread = f" ({number(record['min'])} to {number(record['max'])}, {record['n']})" if record["n"] > 1 else ""
    return number(record["median"]) + spread


def ratio_row(r):
    return [r["case"], r["metric"], r["tool"], r["peer"], number(r["ratio"]), f"{number(r['low'])} to {number(r['high'])}", r["n"]]


def losses(result):
    """Every row in which another tool is better than kiln, or than that variant of it where it has no plain one."""
    cells = {}
    for r in result["records"]:
        if r["metric"] in HIGHER_IS_BETTER | LOWER_IS_BETTER:
            cells.setdefault((r["family"], r["case"], r["metric"]), {})[r["tool"]] = r
    intervals = {(r["family"], r["case"], r["metric"], r["tool"], r["peer"]): f"{number(r['low'])} to {number(r['high'])}" for r in result["ratios"]}
    rows = []
    for (family, case, metric), tools in cells.items():
        own = ["kiln"] if "kiln" in tools else [name for name in tools if name.startswith("kiln")]
        for name in own:
            for peer, record in tools.items():
                ours, theirs = tools[name]["median"], record["median"]
                if not peer.startswith("kiln") and (ours < theirs if metric in HIGHER_IS_BETTER else ours > theirs):
                    ratio = number(ours / theirs) if theirs else ""
                    rows.append([family, case, f"{metric}, {record['unit']}", name, number(ours), peer, number(theirs), ratio,
                                 intervals.get((family, case, metric, name, peer), ""), record["n"]])
    lines = ["## Where kiln is not the best", "", "Every row of the tables above in which another tool's median is better; a ratio whose interval holds 1 is no difference.", ""]
    if not rows:
        return lines + ["None.", ""]
    return lines + table(["family", "case", "metric", "tool", "its", "better", "its", "ratio", "95 %", "n"], rows) + [""]


def colour(tool, tools):
    others = [name for name in tools if not name.startswith("kiln")]
    return COLOURS[0] if tool.startswith("kiln") else COLOURS[1 + others.index(tool) % (len(COLOURS) - 1)]


def svg(width, height, title, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="24" font-size="15">{html.escape(title)}</text>', *parts, "</svg>", ""])


def bars(title, groups):
    """Horizontal bars: a group is (label, [(tool, value)])."""
    top, height, left, width = 40, 22, 130, 860
    tools = unique(tool for _, rows in groups for tool, _ in rows)
    most = max(value for _, rows in groups for _, value in rows) or 1
    out, y = [], top
    for label, rows in groups:
        out.append(f'<text x="10" y="{y + 14}" font-weight="bold">{html.escape(label)}</text>')
        y += height
        for tool, value in rows:
            length = max(1.0, value / most * (width - left - 80))
            out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(tool)}</text>')
            out.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{height - 7}" fill="{colour(tool, tools)}"/>')
            out.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}">{number(value)}</text>')
            y += height
        y += 8
    return svg(width, y + 6, title, out)


def lines_plot(title, series):
    """Lines over farm sizes, both axes logarithmic: series is {tool: [(size, seconds)]}."""
    width, height, left, top, right, bottom = 860, 420, 70, 50, 140, 40
    sizes = sorted({size for points in series.values() for size, _ in points})
    values = [value for points in series.values() for _, value in points]
    low, high = math.log(min(values) / 1.2), math.log(max(values) * 1.2)

    def x(size):
        return left + (math.log(size) - math.log(sizes[0])) / (math.log(sizes[-1]) - math.log(sizes[0]) or 1) * (width - left - right)

    def y(value):
        return height - bottom - (math.log(value) - low) / (high - low) * (height - top - bottom)

    out = []
    for size in sizes:
        out.append(f'<line x1="{x(size):.1f}" y1="{top}" x2="{x(size):.1f}" y2="{height - bottom}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{x(size):.1f}" y="{height - bottom + 20}" text-anchor="middle">{size} cores</text>')
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        if low < math.log(step) < high:
            out.append(f'<line x1="{left}" y1="{y(step):.1f}" x2="{width - right}" y2="{y(step):.1f}" stroke="#e2e8f0"/>')
            out.append(f'<text x="{left - 8}" y="{y(step) + 4:.1f}" text-anchor="end">{step} s</text>')
    # Labels at the right end, kept apart.
    ends = sorted((y(points[-1][1]), tool) for tool, points in series.items())
    at = 0.0
    for wanted, tool in ends:
        at = max(wanted, at + 16)
        out.append(f'<text x="{width - right + 10}" y="{at + 4:.1f}" fill="{colour(tool, list(series))}">{html.escape(tool)}</text>')
    for tool, points in series.items():
        path = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour(tool, list(series))}" stroke-width="2"/>')
        out += [f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3" fill="{colour(tool, list(series))}"/>' for size, value in points]
    return svg(width, height, title, out)


def find(result, family, metric, cases):
    """For each case the tools that have the metric, with its medians."""
    found = []
    for case, label in cases:
        rows = [(r["tool"], r["median"]) for r in result["records"] if (r["family"], r["case"], r["metric"]) == (family, case, metric)]
        if rows:
            found.append((label, rows))
    return found


def plots(result):
    """File, title and text of each plot for which there are records."""
    names = {"haproxy": "haproxy", "kernel": "kernel", "c++": "C++"}
    dispatch = find(result, "dispatch", "client_cpu", [(f"{case}, warm", label) for case, label in names.items()])
    if dispatch:
        title = "CPU of the client for a remote compile, ms (median)"
        yield "dispatch.svg", title, bars(title, dispatch)
    hit = find(result, "hit", "hit_cpu", names.items())
    if hit:
        title = "CPU of a cache hit, ms (median)"
        yield "hit.svg", title, bars(title, hit)
    for family, project in (("build", "haproxy"), ("kernel", "kernel")):
        series = {}
        for size in (8, 64, 512):
            for _, rows in find(result, family, "wall", [(f"{project}, {size} cores", "")]):
                for tool, value in rows:
                    series.setdefault(tool, []).append((size, value))
        # One size of farm makes no line.
        if any(len(points) > 1 for points in series.values()):
            title = f"Whole build of {project}: seconds, by the cores of the farm"
            yield f"build-{project}.svg", title, lines_plot(title, series)


def readme_figures(result):
    """README's table: each row names where its figures stand in latest.json, for the test that compares them."""
    rows = []
    for label, family, case, metric in README_ROWS:
        found = {r["tool"]: r["median"] for r in result["records"] if (r["family"], r["case"], r["metric"]) == (family, case, metric)}
        if "kiln" in found:
            rows.append([f"{label} <!-- {family}; {case}; {metric} -->", *(number(found.get(tool)) for tool in README_TOOLS)])
    if not rows:
        return ""
    machine = result["machine"]
    busy = [name for name in unique(row[0].split("<!-- ")[1].split(";")[0] for row in rows) if is_busy(result, name)]
    text = [f"Medians of `make bench` on {machine['cores']} cores of {machine['cpu']}, {machine['system']}, commit {result['commit']}; "
            "only ratios within one run mean anything. Conditions, spreads, peers' configurations and the rows in which kiln is not the best: "
            "[bench/results/latest.md](bench/results/latest.md)."]
    if busy:
        text += ["", f"**To be measured anew: the machine was busy with other work during {', '.join(busy)}.**"]
    text += ["", *table(["", *README_TOOLS], rows), ""]
    for file, title, _ in plots(result):
        text += [f"![{title}](bench/results/{file})", ""]
    return "\n".join(text)


def write_readme(result):
    path = os.path.join(ROOT, "README.md")
    with open(path) as file:
        text = file.read()
    if BEGIN in text and END in text:
        before, rest = text.split(BEGIN, 1)
        figures = readme_figures(result)
        with open(path, "w") as file:
            file.write(before + BEGIN + figures + END + rest.split(END, 1)[1])


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
    for plot, title, text in plots(result):
        with open(os.path.join(RESULTS, plot), "w") as out:
            out.write(text)
        lines += [f"![{title}]({plot})", ""]
    families = [name for name in TITLES if any(row["family"] == name for key in ("records", "errors", "notes") for row in result[key])]
    for family in families:
        lines += family_text(result, family)
    lines += losses(result)
    with open(os.path.join(RESULTS, "latest.md"), "w") as out:
        out.write("\n".join(lines).rstrip() + "\n")
    if "KILN_BENCH_RESULTS" not in os.environ:
        write_readme(result)
    print(f"{os.path.join(RESULTS, 'latest.md')}: {len(result['records'])} records, {len(result['errors'])} errors")


if __name__ == "__main__":
    main()
