#!/usr/bin/env python3
"""Whether two runs of the bench agree: agree.py EARLIER.json LATER.json. Compares their ratios' 95 % intervals; measures nothing.

Exit status: 0 where every interval of one run meets the other's, 1 where some do not, 2 for files that are no results.
"""

import json
import sys

from report import number, table

NAMES = ("family", "case", "metric", "tool", "peer")


def ratios(path):
    """Ratios of a raw result by what they compare."""
    try:
        with open(path) as file:
            result = json.load(file)
        return result, {tuple(row[name] for name in NAMES): row for row in result["ratios"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"agree.py: {path} is no result of the bench: {error}", file=sys.stderr)
        sys.exit(2)


def verdict(before, after):
    """How the later ratio stands to the earlier one."""
    if before["low"] <= after["ratio"] <= before["high"]:
        return "within"
    if before["low"] <= after["high"] and after["low"] <= before["high"]:
        return "intervals meet"
    return "apart"


def interval(row):
    return f"{number(row['ratio'])} ({number(row['low'])} to {number(row['high'])}, {row['n']})"


def commits(result, family):
    return result.get("runs", {}).get(family, {}).get("commit", "?")


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    (old, before), (new, after) = (ratios(path) for path in sys.argv[1:])
    both = [key for key in after if key in before]
    found = {key: verdict(before[key], after[key]) for key in both}
    families = list(dict.fromkeys(key[0] for key in both))
    kinds = ("within", "intervals meet", "apart")
    rows = [[family, commits(old, family), commits(new, family), *(sum(key[0] == family and found[key] == kind for key in both) for kind in kinds)]
            for family in families]
    print("\n".join(table(["family", "earlier", "later", *kinds], rows)))
    apart = [key for key in both if found[key] == "apart"]
    if apart:
        print("\n" + "\n".join(table(["apart", "earlier ratio (95 %, pairs)", "later"],
                                     [[", ".join(key), interval(before[key]), interval(after[key])] for key in apart])))
    missing = [key for key in {**before, **after} if key not in found]
    print(f"\n{len(both)} ratios in both, {len(both) - len(apart)} agree; {len(missing)} in one only.")
    sys.exit(bool(apart))


if __name__ == "__main__":
    main()
