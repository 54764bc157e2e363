"""Figures of merit: what a model's answers on test records are worth, by `[data] task`.

Every figure stands here once, as a function of sums over records. The sums may be of all records or
of many resamples of them: a leading axis [...] goes through. Shapes: N records, K classes or
labels, M bins of scores, the least first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_RANKED = 100  # classes for which a ranking of all records is made

Floats = NDArray[Any]  # or counts
Ranked = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of test records, as far as a figure needs it.

    Attributes:
        outputs: float32 [N, K]; under `classes` only of up to `MOST_RANKED` of them, else [N, 0];
            under `itself` the mean square of a record's errors [N, 1].
        y: classes int64 [N], or targets float32 [N, K]; under `itself` [N, 0].
        said: under `classes`, the class that was answered, int64 [N].
    """

    task: str
    outputs: NDArray
    y: NDArray
    said: NDArray

    def __len__(self) -> int:
        return len(self.y)

    @classmethod
    def of(cls, task: str, outputs: NDArray, y: NDArray) -> "Answers":
        """Of a model's outputs [N, K] for some records, and what is true of them."""
        said = outputs.argmax(1) if task == "classes" else np.zeros(0, np.int64)
        if task == "classes" and outputs.shape[1] > MOST_RANKED:
            outputs = outputs[:, :0]
        if task == "itself":
            error = outputs.astype(np.float64) - y
            return cls(task, np.square(error).mean(1, keepdims=True), y[:, :0], said)
        return cls(task, outputs, y, said)

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """Of several pieces of the records, in their order."""
        arrays = [[getattr(p, name) for p in parts] for name in ("outputs", "y", "said")]
        return cls(parts[0].task, *map(np.concatenate, arrays))


@dataclass(frozen=True)
class Score:
    """What a model reaches on the test set.

    Attributes:
        accuracy: share of right answers; None where no answer is right or wrong.
        figures: others, by name, as people in the field call them.
        answers: on what they stand.
    """

    loss: float | None = None
    accuracy: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    answers: Answers | None = field(default=None, repr=False, compare=False)


# ---- classes


def of_each_class(hits: Floats, there: Floats, said: Floats) -> dict[str, Floats]:
    """Of how many records of each class are answered right, are there, and are said to be [..., K].

    What has no record to be of is not a number.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / there
        precision = hits / said
        f1 = np.where(there > 0, 2 * hits / (there + said), np.nan)
    return {"recall": recall, "precision": precision, "F1": f1}


def confusion(said: NDArray, y: NDArray, num: int) -> NDArray[np.int64]:
    """How often records of a class [rows] were taken for a class [columns]."""
    return np.bincount(y * num + said, minlength=num * num).reshape(num, num)


def counts_of(answers: Answers, num: int) -> tuple[NDArray, NDArray, NDArray]:
    """Hits, records, and answers of each class [K]."""
    right = answers.said == answers.y
    counted = (answers.y[right], answers.y, answers.said)
    hits, there, said = (np.bincount(part, minlength=num) for part in counted)
    return hits, there, said


def log_odds(outputs: NDArray) -> NDArray[np.float64]:
    """How much rather each class than any other [N, K]: no rounding of a chance to 1 ties them."""
    x = outputs.astype(np.float64)
    rows, first = np.arange(len(x)), x.argmax(1)
    most = x[rows, first][:, None]
    odds = np.exp(x - most)
    rest = odds.sum(1, keepdims=True) - odds  # at least 1, where it is of another than the first
    others = x.copy()
    others[rows, first] = -np.inf
    second = others.max(1)
    rest[rows, first] = 1.0
    against = np.log(rest) + most
    against[rows, first] = np.log(np.exp(others - second[:, None]).sum(1)) + second
    return np.asarray(x - against)


def _of_classes(answers: Answers, num: int, ranked: Ranked, _: float) -> dict[str, float]:
    each = of_each_class(*counts_of(answers, num))
    found = {
        "accuracy": float((answers.said == answers.y).mean()),
        "balanced accuracy": float(np.nanmean(each["recall"])),
        "macro F1": float(np.nanmean(each["F1"])),
    }
    if ranked:
        found["AUROC"] = float(np.mean([one["AUROC"] for one in ranked]))
    if num == 2 and ranked:
        found["average precision"] = float(ranked[1]["average precision"])
    return found


# ---- rankings


def rankings(answers: Answers) -> Iterator[tuple[int, NDArray[np.bool_], NDArray]]:
    """Each class or label that some records have and others lack: which have it [N], and how
    surely the model says so [N]."""
    if answers.task not in ("classes", "labels") or not answers.outputs.shape[1]:
        return
    of_labels = answers.task == "labels"
    scores = answers.outputs if of_labels else log_odds(answers.outputs)
    for c in range(scores.shape[1]):
        positive = answers.y[:, c] > 0.5 if of_labels else answers.y == c
        if 0 < positive.mean() < 1:
            yield c, positive, scores[:, c]


def scores_of(
    positive: NDArray[np.bool_], score: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How many records that have something, and others, are at each value of a score [M], the least
    first; and at which each record is [N]."""
    values, place = np.unique(score, return_inverse=True)
    having, others = (np.bincount(place[x], minlength=len(values)) for x in (positive, ~positive))
    return having, others, place


def ranking_of_bins(positive: Floats, negative: Floats) -> dict[str, Floats]:
    """How well a score puts records that have something before others: AUROC, in which a tie counts
    half, and average precision (Manning et al. 2008, section 8.4).

    Args:
        positive, negative: how many of them are in each bin of scores [..., M]; those are ties.
    """
    above = np.cumsum(positive[..., ::-1], -1)[..., ::-1]
    others = np.cumsum(negative[..., ::-1], -1)[..., ::-1]
    num, rest = above[..., 0], others[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (negative * (above - positive / 2)).sum(-1) / (num * rest)
        precision = np.where(positive > 0, positive * (above / (above + others)), 0.0)
        return {"AUROC": auroc, "average precision": precision.sum(-1) / num}


def _of_labels(answers: Answers, num: int, ranked: Ranked, _: float) -> dict[str, float]:
    right = (answers.outputs > 0) == (answers.y > 0.5)
    found = {"label accuracy": float(right.mean())}
    if ranked:
        found["mAP"] = float(np.mean([one["average precision"] for one in ranked]))
        found["AUROC"] = float(np.mean([one["AUROC"] for one in ranked]))
    return found


# ---- numbers


def errors_of(answers: Answers, half: float) -> Floats:
    """What figures of numbers are sums of [N, C]: a count, errors, and squares.

    Args:
        half: how much of the target's unit stands for 1.
    """
    outputs = answers.outputs.astype(np.float64)
    if answers.task == "itself":
        return np.concatenate([np.ones_like(outputs), outputs], 1)
    error, y = (outputs - answers.y) * half, answers.y.astype(np.float64) * half
    y = y - y.mean()
    return np.concatenate([np.ones_like(y), np.abs(error), error**2, y, y**2], 1)


def of_errors(task: str, sums: Floats) -> dict[str, Floats]:
    """Of sums [..., C] of `errors_of`."""
    num, *rest = np.moveaxis(sums, -1, 0)
    if task == "itself":
        return {"RMSE": np.sqrt(rest[0] / num)}
    absolute, squares, y, y_squares = rest
    spread = y_squares - y**2 / num
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(spread > 1e-12 * y_squares, 1 - squares / spread, np.nan)
    return {"MAE": absolute / num, "RMSE": np.sqrt(squares / num), "R2": known}


def _of_numbers(answers: Answers, num: int, ranked: Ranked, half: float) -> dict[str, float]:
    sums = errors_of(answers, half).sum(0)
    return {name: float(value) for name, value in of_errors(answers.task, sums).items()}


FIGURES: dict[str, Callable[[Answers, int, Ranked, float], dict[str, float]]] = {
    "classes": _of_classes,
    "labels": _of_labels,
    "number": _of_numbers,
    "itself": _of_numbers,
}


def figures_of(
    answers: Answers, num: int, half: float = 1.0, ranked: Ranked | None = None
) -> dict[str, float]:
    """Every figure of a task on some records, by name.

    Args:
        num: classes or labels that a model tells apart.
        half: under `number`, how much of the target's unit stands for 1.
        ranked: what `ranking_of_bins` says of each of `rankings`, where it is known.
    """
    if ranked is None:
        counts = (scores_of(positive, score)[:2] for _, positive, score in rankings(answers))
        ranked = [ranking_of_bins(*each) for each in counts]
    return FIGURES[answers.task](answers, num, ranked, half)
