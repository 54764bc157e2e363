"""The table: what a trip of each loop takes, of nets at random that are counted in the emulator.

run as: python -m clients.firmware.cycles.measure [NETS [NETS]]

It is to be run again where a kernel of c/ or the compiler has changed: a test tells. Numbers are
not negative, and of least relative error. Of an M4: cycles by ARM's table. Of an M7: instructions.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

from clients.firmware.budget import Part, count, drawn_from
from clients.firmware.compiling import TARGETS
from clients.firmware.cycles.drawn import KINDS, NETS, Drawn
from clients.firmware.cycles.predicted import TABLE, Table, name_of, taken
from clients.firmware.cycles.trips import Counts, Kernels, Trips, trips
from clients.firmware.sources import sources
from privacy.documents import to_json

ROUNDS, LEAST = 20, 0.01  # of reweighting, by errors down to this
ROUNDING = 40.0  # of a gradient to a word, takes more; where all are 0, nothing is rounded
HELD = 4  # of so many nets one is held out: the table's error is of these


def seen(drawn: Drawn, core: str, batch: int = 4) -> Iterator[tuple[Trips, float]]:
    """Of a net that is counted: each part's trips, and what they took, of a record or a step."""
    contract, layers, records = drawn
    num, parts = count(sources(contract, layers), contract, records, core, batch)
    took = {(part.phase, part.layer): amount(part, core) for part in parts}
    among = drawn_from(contract, records, batch)
    for one in trips(kernels_of(drawn), num, among):
        if (one.phase, one.layer) in took and any(one.counts.values()):
            yield one, took[one.phase, one.layer] / (1 if one.once else num)


def kernels_of(drawn: Drawn) -> Kernels:
    """Of a net."""
    contract = drawn[0]
    return Kernels(contract.sizes, contract.plan, contract.numbers)


def amount(part: Part, core: str) -> float:
    """Cycles of an M4 by ARM's table; instructions of an M7."""
    return float(part.cycles[0] if core == "m4" else sum(part.mix.values()))


def fitted(rows: list[tuple[Counts, float]]) -> Counts:
    """What each loop takes. What is far off counts less: a layer whose units are all at rest."""
    names = list(dict.fromkeys(name for counts, _ in rows for name in counts))
    took = np.array([one for _, one in rows])
    counts = np.array([[row.get(name, 0.0) for name in names] for row, _ in rows])
    counts, weights = counts / took[:, None], np.ones(len(took))
    for _ in range(ROUNDS):
        found, _ = nnls(counts * weights[:, None], weights, maxiter=10_000)
        told = counts @ found  # a layer at rest takes a part of what it is told to
        weights = np.maximum(np.abs(told - 1), LEAST) ** -0.5 / np.maximum(told, 1) ** 2
    return {name: float(f"{value:.4g}") for name, value in zip(names, found, strict=True) if value}


def measured(floats: int, words: int) -> Table:
    """On so many nets of floats, and of each kind of words, of which no two are alike."""
    found: Table = {}
    for core in TARGETS:
        rows: dict[tuple[str, str], list[tuple[Counts, float]]] = defaultdict(list)
        held: list[tuple[str, Trips, float]] = []
        for place, (kind, numbers) in enumerate(KINDS.items()):
            for draw in NETS.values():
                for number in range(words if numbers else floats):
                    drawn = draw(np.random.default_rng((place, number)), kind)
                    for one, took in seen(drawn, core):
                        name = name_of(kernels_of(drawn), one.kernel)
                        if number % HELD == 0:
                            held.append((name, one, took))
                        else:
                            rows[name, one.kernel].append((one.counts, took))
                print(core, draw.__name__, kind, file=sys.stderr, flush=True)
        found[core] = of_core(rows, held)
    return found


def is_at_rest(counts: Counts, took: float) -> bool:
    """Did no gradient come to most of a layer? Its nets are drawn, and some of their units die."""
    return took < ROUNDING * counts.get("rounded", 0)


def of_core(
    rows: dict[tuple[str, str], list[tuple[Counts, float]]], held: list[tuple[str, Trips, float]]
) -> dict[str, dict[str, Counts]]:
    """The table of a core, and its errors on what was held out."""
    found: dict[str, dict[str, Counts]] = {}
    for (name, kernel), some in sorted(rows.items()):
        found.setdefault(name, {})[kernel] = fitted([one for one in some if not is_at_rest(*one)])
    of_layers = [(name, one, took) for name, one, took in held if one.layer >= 0]
    at_work = [row for row in of_layers if not is_at_rest(row[1].counts, row[2])]
    off = np.array(
        [
            abs(taken(found.get(name, {}).get(one.kernel, {}), one.counts) / took - 1)
            for name, one, took in at_work
        ]
    )
    told = {"parts": len(off), "typical": np.median(off), "ninety": np.quantile(off, 0.9)}
    told |= {"within 15 %": np.mean(off <= 0.15), "worst": off.max()}
    told["at rest"] = len(of_layers) - len(at_work)
    found["error"] = {"of a layer": {key: round(float(v), 4) for key, v in told.items()}}
    return found


if __name__ == "__main__":
    floats, words = (int(one) for one in (*sys.argv[1:], "32", "12")[:2])
    TABLE.write_text(to_json(measured(floats, words), indent=1) + "\n")
