"""What to call each run of a report: what tells it from the others, in few words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from server.report.facts.facts import RunFacts

IN_WORDS = {  # keys that a label has already, as promise and arithmetic
    "budget.epsilon", "budget.delta", "budget.unit",
    "arithmetic.name", "arithmetic.bits", "arithmetic.stream_length",
}  # fmt: skip
QUIET = {"data.held_out", "federation.evaluate_every"}  # they alter no promise and little else
BARE = {"model.name", "data.name", "data.partition", "strategy.name"}  # the value says it all
COUNTED = {"federation.clients": "clients", "federation.rounds": "rounds", "data.limit": "records"}
MOST = 3  # told beside promise and arithmetic


def labelled(runs: Sequence[RunFacts]) -> Iterator[RunFacts]:
    """Each run with its label, and its series: the label without promise and seed."""
    if len(runs) == 1:
        yield replace(runs[0], series=runs[0].arithmetic)
        return
    told = _told(runs)
    several_seeds = len({run.seed for run in runs}) > 1
    several_units = len({run.unit for run in runs if run.private}) > 1
    labels, series = [], []
    for run in runs:
        group = dict(run.group)
        words = [_word(key, group[key]) for key in told if key in group][:MOST]
        series.append(", ".join([run.arithmetic, *filter(None, words)]))
        promise = "no promise" if run.promise is None else f"ε = {run.promise:.3g}"
        if several_units and run.private:
            promise += f" a {run.unit}"
        seed = [f"seed {run.seed}"] * several_seeds
        labels.append(", ".join([promise, series[-1], *seed]))
    times = Counter(labels)
    for run, label, line in zip(runs, labels, series, strict=True):
        name = label if times[label] == 1 else f"{label} ({run.name})"
        yield replace(run, label=name, series=line)


def _told(runs: Sequence[RunFacts]) -> list[str]:
    """Keys whose values differ, those of the model and the data first.

    What differs only between runs with a promise and runs without, such as the learning rate, is
    said by the promise.
    """
    sides = [[dict(r.group) for r in runs if r.private is side] for side in (True, False)]
    keys = dict.fromkeys(key for side in sides for group in side for key in group)

    def differs(key: str) -> bool:
        found = [{group[key] for group in side if key in group} for side in sides]
        everywhere = len(found[0] | found[1]) > 1
        shared = key.startswith(("model.", "data.", "federation."))
        return any(len(values) > 1 for values in found) or (everywhere and shared)

    found = [key for key in keys if key not in IN_WORDS | QUIET and differs(key)]
    if "model.name" in found:  # the rest of its section follows from it
        found = [key for key in found if key == "model.name" or not key.startswith("model.")]
    first = ("model.", "data.", "federation.", "budget.")
    return sorted(found, key=lambda k: next((i for i, p in enumerate(first) if k.startswith(p)), 9))


def _word(key: str, value: str) -> str:
    if key in BARE:
        return value
    if key in COUNTED:
        whole = key == "data.limit" and value == "0"
        if value.isdecimal() and len(value) < 20:
            return "" if whole else f"{int(value):,} {COUNTED[key]}"
        return value
    return f"{key.rpartition('.')[2].replace('_', ' ')} {value}"
