"""Figures of merit of a model's outputs on test records, by `[data] task`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import metrics

MOST_RANKED = 100  # classes for which a ranking of all records is made


@dataclass(frozen=True)
class Score:
    """What a model reaches on the test set.

    Attributes:
        accuracy: share of right answers; None where no answer is right or wrong.
        figures: others, by name, as people in the field call them.
    """

    loss: float | None = None
    accuracy: float | None = None
    figures: dict[str, float] = field(default_factory=dict)


def of_classes(outputs: NDArray, y: NDArray) -> dict[str, float]:
    """Of logits [N, K] and classes [N]."""
    num, said = outputs.shape[1], outputs.argmax(1)
    counts = confusion(said, y, num)
    there = counts.sum(1) > 0
    recall = counts.diagonal()[there] / counts.sum(1)[there]
    precision = counts.diagonal() / np.maximum(counts.sum(0), 1)
    both = np.maximum(recall + precision[there], 1e-12)
    found = {
        "balanced accuracy": float(recall.mean()),
        "macro F1": float((2 * recall * precision[there] / both).mean()),
    }
    if there.sum() > 1 and num <= MOST_RANKED:
        each = [_auroc(y == c, _odds(outputs, c)) for c in np.flatnonzero(there)]
        found["AUROC"] = float(np.mean(each))
        if num == 2:
            found["average precision"] = float(
                metrics.average_precision_score(y == 1, _odds(outputs, 1))
            )
    return found


def _odds(outputs: NDArray, c: int) -> NDArray:
    """How much rather a class than any other: its log-odds, which no rounding to 1 can tie."""
    others = np.delete(outputs, c, axis=1).astype(np.float64)
    most = others.max(1, keepdims=True)
    rest = most[:, 0] + np.log(np.exp(others - most).sum(1))
    return outputs[:, c] - rest


def _auroc(positive: NDArray, score: NDArray) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    return float(metrics.roc_auc_score(positive, score))


def of_labels(outputs: NDArray, y: NDArray) -> dict[str, float]:
    """Of logits [N, K] and labels 0 or 1 [N, K]."""
    mixed = [k for k in range(y.shape[1]) if 0 < y[:, k].mean() < 1]
    found = {"label accuracy": float(((outputs > 0) == (y > 0.5)).mean())}
    if mixed:
        found["mAP"] = float(
            np.mean([metrics.average_precision_score(y[:, k], outputs[:, k]) for k in mixed])
        )
        found["AUROC"] = float(np.mean([_auroc(y[:, k] > 0.5, outputs[:, k]) for k in mixed]))
    return found


def of_number(outputs: NDArray, y: NDArray, half: float = 1.0) -> dict[str, float]:
    """Of numbers [N, 1] as -1 to 1, of which `half` of the unit is 1."""
    error = (outputs - y).ravel() * half
    spread = float(((y - y.mean()) ** 2).sum()) * half**2
    return {
        "MAE": float(np.abs(error).mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "R2": 1 - float((error**2).sum()) / spread if spread else float("nan"),
    }


def of_itself(outputs: NDArray, y: NDArray) -> dict[str, float]:
    """Of records [N, K] and what was made of them."""
    return {"RMSE": float(np.sqrt(((outputs - y) ** 2).mean()))}


FIGURES: dict[str, Callable[[NDArray, NDArray], dict[str, float]]] = {
    "classes": of_classes,
    "labels": of_labels,
    "number": of_number,
    "itself": of_itself,
}


def confusion(said: NDArray, y: NDArray, num: int) -> NDArray[np.int64]:
    """How often records of a class [rows] were taken for a class [columns]."""
    counts = torch.bincount(torch.from_numpy(y * num + said), minlength=num * num)
    return counts.numpy().reshape(num, num)
