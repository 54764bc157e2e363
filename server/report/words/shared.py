"""What all runs of a report share: said once."""

from collections.abc import Callable, Sequence

from server.report.facts.facts import Facts, RunFacts
from server.report.words.units import number, text


def common_of(facts: Facts) -> str:
    """One line of what is alike in all runs, and of when and by what the page was made."""
    runs = facts.runs
    told = [words.pop() for of in SHARED if runs and len(words := {of(run) for run in runs}) == 1]
    private = [run for run in runs if run.private]
    deltas = {f"δ = {text(number(run.delta))} for each {run.unit}" for run in private}
    told += deltas if len(deltas) == 1 else ()
    whose = "All runs" if len(runs) > 1 else "The run"
    made = f"privet {facts.version}, {facts.created[:10]}"
    return " · ".join(filter(None, (f"{whose}: {', '.join(filter(None, told))}", made)))


def _records(run: RunFacts) -> str:
    counted = [c.records for c in run.clients if c.records is not None]
    return f"{sum(counted):,} records trained on" if counted else ""


SHARED: Sequence[Callable[[RunFacts], str]] = (
    lambda run: run.dataset,
    _records,
    lambda run: f"{len(run.clients)} clients",
    lambda run: f"partition {run.partition}",
    lambda run: f"model {run.model}",
    lambda run: run.arithmetic,
    lambda run: f"{run.rounds} rounds",
    lambda run: f"seed {run.seed}",
    lambda run: f"tested on {run.test_records:,} records" if run.test_records else "",
)


def differing(runs: Sequence[RunFacts]) -> tuple[dict[str, str], list[str]]:
    """Settings that all runs share, and the names of those that differ."""
    each = [dict(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in each for key in settings)
    values = {key: {settings.get(key) for settings in each} for key in keys}
    common = {key: each[0][key] for key in keys if len(values[key]) == 1}
    return common, [key for key in keys if len(values[key]) > 1]
