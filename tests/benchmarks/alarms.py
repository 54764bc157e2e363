"""False alarms of the audit: correct code, over arithmetics, strategies, engines and noise sources.

    python tests/benchmarks/alarms.py [RUNS] [CALLS] [FIRST SEED]

RUNS audits (200), dealt over all cells one after another, each with a seed of its own; CALLS of
the step for canaries (1,500, and 200 of the server, in `privet audit`). One line of JSON at the
end, and one on stderr for each audit.
"""

import itertools
import json
import sys
import time
import warnings
from collections import Counter
from typing import Any

from server.adversary import auditing
from server.adversary.auditing import audit_of
from server.experiment.loading import load_experiment

ARITHMETICS = (
    ("arithmetic.name=float",),
    ("arithmetic.name=float", "training.distortion=0.5"),
    ("arithmetic.name=fixed",),
    ("arithmetic.name=fixed", "arithmetic.bits=4", "arithmetic.rounding=stochastic"),
    ("arithmetic.name=fixed", "arithmetic.gradient_bits=2"),
    ("arithmetic.name=ternary",),
    ("arithmetic.name=binary",),
    ("arithmetic.name=stochastic",),
)
ENGINES = ("compiled", "onepass", "hooks")
STRATEGIES = (
    ("strategy.name=fedavg",),
    ("strategy.name=fedavgm", "strategy.server_learning_rate=2", "strategy.server_momentum=0.9"),
    ("strategy.name=fedprox", "strategy.proximal_mu=0.1"),
    ("strategy.name=fedadam",),
    ("strategy.name=fedyogi",),
    ("strategy.name=fedadagrad",),
)
NOISE = ("seeded", "secure")
SHARED = ("budget.unit=client", "federation.clients=20")


def cells() -> list[tuple[str, ...]]:
    """Every setting that is audited: what goes together of all four."""
    of_records = [
        (*arithmetic, *strategy, f"training.per_sample={engine}", f"training.noise={noise}")
        for noise, engine, strategy, arithmetic in itertools.product(
            NOISE, ENGINES, STRATEGIES[:3], ARITHMETICS
        )
        if engine != "hooks" or arithmetic[0].endswith("float")
    ]
    of_clients = [
        (*SHARED, *strategy, *ARITHMETICS[0], f"training.noise={noise}")
        for noise, strategy in itertools.product(NOISE, STRATEGIES)
    ]
    return [cell for pair in itertools.zip_longest(of_records, of_clients) for cell in pair if cell]


def run(runs: int = 200, calls: int = 1500, first_seed: int = 0) -> dict[str, Any]:
    """Audit correct code so often."""
    warnings.filterwarnings("ignore")
    auditing.CALLS = {"record": calls, "client": min(calls, 200)}
    accused: Counter[str] = Counter()
    alarms, shares, everything = [], [], cells()
    started = time.process_time()
    for i in range(runs):
        cell, seed = everything[i % len(everything)], first_seed + i
        done = audit_of(load_experiment("tiny", list(cell)).resolve(), None, seed)
        failed = {check.name: check.measured for check in done.checks if not check.passed}
        accused.update(failed)
        if failed:
            alarms.append({"settings": cell, "seed": seed, "failed": failed})
        shares.append(max(bound.epsilon for bound in done.bounds) / done.epsilon)
        print(i + 1, " ".join(cell), failed or "green", file=sys.stderr, flush=True)
    return {
        "runs": runs,
        "cells": len(everything),
        "false_alarms": len(alarms),
        "by_check": dict(accused),
        "alarms": alarms,
        "share_of_epsilon_proven": sorted(round(s, 3) for s in shares),
        "cpu_seconds_each": (time.process_time() - started) / runs,
    }


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
