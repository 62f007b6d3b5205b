"""The kernel's whole defconfig on simulated farms: takes hours, and is measured only where it is asked for."""

import builds
import common
import family_build

# Pairs for each size of farm; the client's own make alone takes minutes.
ROUNDS = {size: common.rounds(count) for size, count in {64: 3, 8: 1, 512: 1}.items()}


def measure(results):
    family_build.measure_build(results, builds.BUILDS["kernel"], ROUNDS, [])
