"""What to call each run of a report: what tells it from the others, in 24 characters at most."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from server.report.facts.facts import RunFacts

IN_WORDS = {  # keys that a label has already, as promise and arithmetic
    "budget.epsilon", "budget.delta", "budget.unit",
    "arithmetic.name", "arithmetic.bits", "arithmetic.stream_length",
}  # fmt: skip
QUIET = {  # they alter no promise and little else, or follow from others
    "data.held_out", "data.nominal_records", "federation.evaluate_every",
}  # fmt: skip
LAST = {"data.records", "code"}  # digests: said where nothing else tells runs apart
BARE = {"model.name", "data.name", "data.partition", "strategy.name"}  # the value says it all
COUNTED = {"federation.clients": "clients", "federation.rounds": "rounds", "data.limit": "records"}
SHARED = ("model.", "data.", "federation.")  # not chosen by whether anything is promised
MOST = 24  # characters of a label
MOST_WORDS = 4  # told beside it


def labelled(runs: Sequence[RunFacts]) -> Iterator[RunFacts]:
    """Each run with its label; with its series, the label without promise and seed; and with what
    else is its own and the series does not say."""
    promises = _promises(runs)
    several = len({run.seed for run in runs}) > 1
    seeds = [f", s{run.seed}" * several for run in runs]
    longest = max((len(p) + len(s) for p, s in zip(promises, seeds, strict=True)), default=0)
    names, told = _series(runs, MOST - longest - len(", "))
    labels = [f"{p}, {n}{s}" for p, n, s in zip(promises, names, seeds, strict=True)]
    for run, label, name, words in zip(runs, _unique(labels), names, told, strict=True):
        yield replace(run, label=label, series=name, about=", ".join(words[:MOST_WORDS]))


def promise_words(promise: float | None) -> str:
    """`ε 3`, or `no ε` of a run without a promise."""
    return "no ε" if promise is None else f"ε {promise:.3g}"


def _promises(runs: Sequence[RunFacts]) -> list[str]:
    """What was promised, and to whom where that differs."""
    several = len({run.unit for run in runs if run.private}) > 1
    return [promise_words(r.promise) + f" a {r.unit}" * (several and r.private) for r in runs]


def _series(runs: Sequence[RunFacts], room: int) -> tuple[list[str], list[list[str]]]:
    """Arithmetic, and one word after another until runs of other work are called otherwise; and
    the words that were not needed for it."""
    names = [[run.arithmetic.replace(", ", " ").replace(" = ", "")] for run in runs]
    others: list[list[str]] = [[] for _ in runs]
    for key in _told(runs):
        shared, called = key.startswith(SHARED), [" ".join(name) for name in names]
        sides = [(name, shared or run.private) for name, run in zip(called, runs, strict=True)]
        values = [dict(run.group).get(key) for run in runs]
        for i, value in enumerate(values):
            like = {v for side, v in zip(sides, values, strict=True) if side == sides[i] and v}
            if value is not None and (word := _word(key, value)):
                (names[i] if len(like) > 1 else others[i]).append(word)
    whole = [" ".join(name) for name in names]
    distinct = list(dict.fromkeys(whole))
    short = dict(zip(distinct, _unique(distinct, room), strict=True))
    return [short[name] for name in whole], others


def _unique(names: Sequence[str], most: int = MOST) -> list[str]:
    """Each within so many characters, and like names counted."""
    cut = [name if len(name) <= most else name[: most - 1].rstrip(" ,") + "…" for name in names]
    times, seen, found = Counter(cut), Counter[str](), []
    for name in cut:
        seen[name] += 1
        number = f" #{seen[name]}" if times[name] > 1 else ""
        found.append(name[: most - len(number)] + number)
    return found


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
        return any(len(values) > 1 for values in found) or (everywhere and key.startswith(SHARED))

    found = [key for key in keys if key not in IN_WORDS | QUIET and differs(key)]
    if "model.name" in found:  # the rest of its section follows from it
        found = [key for key in found if key == "model.name" or not key.startswith("model.")]
    first = ("model.", "data.", "federation.", "budget.")
    place = {p: i for i, p in enumerate(first)}
    return sorted(found, key=lambda k: (k in LAST, place.get(k.partition(".")[0] + ".", 9)))


def _word(key: str, value: str) -> str:
    if key in BARE:
        return value
    if key in COUNTED:
        whole = key == "data.limit" and value == "0"
        if value.isdecimal() and len(value) < 20:
            what = COUNTED[key].removesuffix("s") if int(value) == 1 else COUNTED[key]
            return "" if whole else f"{int(value):,} {what}"
        return value
    return f"{key.rpartition('.')[2].replace('_', ' ')} {value}"
