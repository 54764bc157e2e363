"""`make bench`: every benchmark, or those named, as one JSON document."""

import importlib
import sys

import measure

BENCHMARKS = (
    "per_sample",
    "per_sample_nets",
    "federation",
    "flute",
    "crowd",
    "chip",
    "scale_sim",
    "adversary",
    "arithmetic",
    "encrypted",
    "extraction",
    "learning",
    "engines",
    "aggregation",
    "spikes",
    "invertible",
    "pruning",
    "supernet",
    "elastic",
    "search",
)

if __name__ == "__main__":
    chosen = [a for a in sys.argv[1:] if a[0] != "-"] or BENCHMARKS
    results = {name: importlib.import_module(name).run() for name in chosen}
    measure.show({"machine": measure.machine(), **results})
