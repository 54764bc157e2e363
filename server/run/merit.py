"""Merit: what a run's last model reaches on the test set, with intervals, by class: `test.json`.

It is computed once, when training ends or by `privet evaluate`, and read by whoever tells of it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset
from clients.data.settings import Data
from server.run.figures import (
    Answers,
    confusion,
    counts_of,
    errors_of,
    figures_of,
    of_each_class,
    of_errors,
    rankings,
)
from server.run.resampling import LEVEL, RESAMPLES, SEED, Resamples

NAME = "test.json"
MOST_MATRIX = 100  # classes of which the whole matrix is kept
MOST_PAIRS = 30  # of classes that are taken for one another
MOST_LISTED = 1000  # classes that are told one by one: those with most records
BLOCK = 500  # classes whose resamples are in memory at a time

Found = dict[str, Any]
Drawn = dict[str, NDArray]


def half_of(data: Data) -> float:
    """How much of a target's unit stands for 1 in the numbers that a model is trained on."""
    schema = data.schema
    if data.task != "number" or schema is None or schema.low is None or schema.high is None:
        return 1.0
    return (schema.high - schema.low) / 2


def names_of(dataset: Dataset) -> tuple[str, ...]:
    """Of the classes or labels, as their owner calls them; else their numbers."""
    return dataset.names or tuple(map(str, range(dataset.num_classes)))


def merit_of(answers: Answers, dataset: Dataset, data: Data, number: int) -> Found:
    """All that is told of a model's answers on the whole test set.

    Args:
        number: of the round after which it said so.
    """
    person = dataset.test_person
    resamples = Resamples.draw(len(answers), None if person is None else person.astype(str))
    found: Found = {
        "round": number,
        "task": answers.task,
        "records": len(answers),
        "resampled": {
            "of": resamples.of,
            "units": resamples.units,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "seed": SEED,
        },
    }
    half, names, ranked = half_of(data), names_of(dataset), list[dict[str, float]]()
    rows: list[Found] = []
    if answers.task == "classes":
        drawn, rows = _classes(answers, names, resamples)
        found |= _matrix(answers, names)
    elif answers.task == "labels":
        drawn, rows = _labels(answers, names, resamples)
    else:
        drawn = of_errors(answers.task, resamples.sums(errors_of(answers, half)))
        found["unit"] = data.schema.unit if answers.task == "number" and data.schema else ""
    every = []
    for c, positive, score in rankings(answers):
        exact, again = resamples.ranking(positive, score)
        ranked.append(exact)
        every.append(again)
        rows[c] |= {name: _figure(exact[name], again[name], resamples) for name in exact}
    if every:
        drawn |= {name: _mean([one[name] for one in every]) for name in ranked[0]}
        drawn["mAP"] = drawn["average precision"]
    if answers.task == "classes" and len(names) == 2 and every:
        drawn["average precision"] = every[1]["average precision"]
    told = figures_of(answers, len(names), half, ranked)
    found["figures"] = {
        name: _figure(value, drawn.get(name), resamples) for name, value in told.items()
    }
    return found | {"classes": rows}


def _figure(value: float, drawn: NDArray | None, resamples: Resamples) -> Found | None:
    """A value and the ends of its interval, None where there is none; None where it is unknown."""
    value = float(value)
    if not np.isfinite(value):
        return None
    ends = None if drawn is None else resamples.interval(drawn)
    if ends is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": min(ends[0], value), "high": max(ends[1], value)}


def _classes(
    answers: Answers, names: tuple[str, ...], resamples: Resamples
) -> tuple[Drawn, list[Found]]:
    """Figures of all classes in every resample; and a row for each class."""
    num = len(names)
    hits, there, said = counts_of(answers, num)
    whole = of_each_class(hits, there, said)
    listed = set(np.argsort(-there, kind="stable")[:MOST_LISTED].tolist())
    rows: list[Found] = []
    right = answers.said == answers.y
    total = {name: np.zeros(RESAMPLES) for name in ("hits", "classes", "recall", "F1")}
    for first in range(0, num, BLOCK):
        size = min(BLOCK, num - first)
        of_answers, of_truth = answers.said - first, answers.y - first
        counted = (
            resamples.counts(np.where(right, of_truth, -1), size),
            resamples.counts(of_truth, size),
            resamples.counts(of_answers, size),
        )
        drawn = of_each_class(*counted)
        total["hits"] += counted[0].sum(1)
        total["classes"] += (counted[1] > 0).sum(1)
        for name in ("recall", "F1"):
            total[name] += np.nansum(drawn[name], 1)
        for c in range(first, first + size):
            if c in listed:
                row: Found = {"name": names[c], "records": int(there[c])}
                for name, values in whole.items():
                    row[name] = _figure(values[c], drawn[name][:, c - first], resamples)
                rows.append(row)
    records = resamples.counts(np.zeros(len(answers), np.int64), 1)[:, 0]
    of_all = {
        "accuracy": total["hits"] / records,
        "balanced accuracy": total["recall"] / total["classes"],
        "macro F1": total["F1"] / total["classes"],
    }
    return of_all, rows


def _labels(
    answers: Answers, names: tuple[str, ...], resamples: Resamples
) -> tuple[Drawn, list[Found]]:
    """The same of labels, several of which a record may have."""
    right = (answers.outputs > 0) == (answers.y > 0.5)
    sums = resamples.sums(np.stack([np.ones(len(answers)), right.mean(1)], 1))
    of_all = {"label accuracy": sums[:, 1] / sums[:, 0]}
    there = (answers.y > 0.5).sum(0)
    rows: list[Found] = [
        {"name": name, "records": int(num)} for name, num in zip(names, there, strict=True)
    ]
    return of_all, rows


def _mean(drawn: list[NDArray]) -> NDArray:
    """Over those classes that a resample has."""
    table = np.stack(drawn)
    there = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, table, 0.0).sum(0) / there.sum(0))


def _matrix(answers: Answers, names: tuple[str, ...]) -> Found:
    """How often a class [rows] was taken for a class [columns]; and the pairs of most mistakes."""
    num, wrong = len(names), answers.said != answers.y
    pairs, counts = np.unique(answers.y[wrong] * num + answers.said[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    confused = [
        {"is": names[pair // num], "taken_for": names[pair % num], "records": int(count)}
        for pair, count in zip(pairs[order], counts[order], strict=True)
    ]
    if num > MOST_MATRIX:
        return {"confused": confused}
    return {"matrix": confusion(answers.said, answers.y, num).tolist(), "confused": confused}
