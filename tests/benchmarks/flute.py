"""The job that FLUTE publishes its speed by, here and as a stock Flower app on Ray, in turn.

Logistic regression on MNIST without DP: 1,000 clients of 60 records, 10 a round, a local epoch in
batches of 10, 100 rounds. Published of a machine with a GPU (microsoft/msrflute): FLUTE 3 min 20 s,
Flower 30 min 14 s. Flower is timed on fewer rounds: its job is its start, with the actors' imports
in the first round, and as many times its seconds a round. Evaluation, once here and after each
round there, is in no round's seconds; our whole job has it.
"""

import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import federation
import measure

CLIENTS, COHORT, BATCH, ROUNDS = 1000, 10, 10, 100
PEER_ROUNDS, REPEATS = 12, 3
PUBLISHED_S = {"FLUTE": 200, "Flower": 1814}
EXPERIMENT = f"""
[data]
name = "mnist"
[model]
name = "linear"
[training]
sample_rate = {BATCH * CLIENTS / 60_000}
local_steps = {60_000 // CLIENTS // BATCH}
learning_rate = 0.03
[budget]
unit = "none"
[federation]
clients = {CLIENTS}
cohort = {COHORT}
rounds = {ROUNDS}
evaluate_every = {ROUNDS}
"""


def ours() -> dict[str, Any]:
    """`privet run` of the whole job."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flute.toml"
        file.write_text(EXPERIMENT)
        return federation.run_file(file)


def run() -> dict[str, Any]:
    """Least, median and greatest ratio of a round's seconds and of the job's."""
    ours()  # compiles
    raw = [
        {"ours": ours(), "peer": federation.stock(CLIENTS, COHORT, BATCH, PEER_ROUNDS, "linear")}
        for _ in range(REPEATS)
    ]
    rounds = [{who: _round_s(r[who]["rounds_s"]) for who in r} for r in raw]
    jobs = [
        {"ours": r["ours"]["wall_s"], "peer": _start_s(r["peer"]) + ROUNDS * s["peer"]}
        for r, s in zip(raw, rounds, strict=True)
    ]
    return {
        "round_ratio": federation.spread(s["peer"] / s["ours"] for s in rounds),
        "job_ratio": federation.spread(s["peer"] / s["ours"] for s in jobs),
        **{
            f"{who}_{what}_s": statistics.median(s[who] for s in found)
            for who, (what, found) in product(("ours", "peer"), (("round", rounds), ("job", jobs)))
        },
        "peer_rounds": PEER_ROUNDS,
        "accuracy": raw[0]["ours"]["accuracy"],
        "published_s": PUBLISHED_S,
        "raw": raw,
    }


def _round_s(seconds: list[float]) -> float:
    """Of a round that neither begins nor ends a run."""
    return statistics.median(seconds[1:-1])


def _start_s(peer: dict[str, Any]) -> float:
    """What its wall time has beside the rounds that are counted."""
    return peer["wall_s"] - sum(peer["rounds_s"][1:])


if __name__ == "__main__":
    measure.show({"machine": measure.machine(), **run()})
