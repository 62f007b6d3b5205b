"""The kernel's whole defconfig on simulated farms: takes hours, and is measured only where it is asked for."""

import builds
import common
import family_build

# Pairs for each size of farm; the client's own make alone takes minutes. SIZES=a,b: of these sizes alone.
ROUNDS = {64: 3, 8: 1, 512: 1}


def measure(results):
    sizes = common.chosen("SIZES") or map(str, ROUNDS)
    rounds = {size: common.rounds(count) for size, count in ROUNDS.items() if str(size) in sizes}
    family_build.measure_build(results, builds.BUILDS["kernel"], rounds, [])
