"""[data] task: what a model is to say of a record, and in which numbers that is kept."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Schema
from privacy.errors import DataError

TASKS = ("classes", "labels", "number", "itself")
YES, NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def classes_of(path: Path, texts: NDArray, schema: Schema) -> tuple[NDArray, NDArray]:
    """Labels as numbers int64 [N], and which records have one.

    Raises:
        DataError: one is not in the schema.
    """
    if not schema.labels:
        raise DataError(f"{path}: its schema has no labels = [...]; privet data describe drafts it")
    known = {label: place for place, label in enumerate(schema.labels)}
    known |= dict.fromkeys(schema.unlabelled, -1)
    found, back = np.unique(texts.astype(str), return_inverse=True)
    unknown = [text for text in found if text not in known]
    if unknown:
        row = int(np.flatnonzero(texts.astype(str) == unknown[0])[0]) + 1
        raise DataError(
            f"{path}: record {row} has the label {str(unknown[0])[:40]!r}, which is not in the "
            "schema; add it to labels, or to unlabelled"
        )
    y = np.array([known[text] for text in found], dtype=np.int64)[back]
    return y, y >= 0


def flags_of(path: Path, targets: Sequence[str], columns: Sequence[NDArray]) -> NDArray[np.float32]:
    """Several yes or no of each record, float32 [N, K].

    Raises:
        DataError: a value is neither.
    """
    flags = []
    for name, texts in zip(targets, columns, strict=True):
        lower = np.char.lower(texts.astype(str))
        yes, no = np.isin(lower, list(YES)), np.isin(lower, list(NO))
        if (wrong := np.flatnonzero(~(yes | no))).size:
            raise DataError(
                f"{path}: record {wrong[0] + 1}, {name}: {str(texts[wrong[0]])[:20]!r}, must be 0 "
                "or 1 under task = 'labels'"
            )
        flags.append(yes.astype(np.float32))
    return np.stack(flags, axis=1)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def numbers_of(path: Path, target: str, values: NDArray, schema: Schema) -> NDArray[np.float32]:
    """A number of each record between the schema's low and high, as -1 to 1, float32 [N, 1].

    Raises:
        DataError: the schema has no bounds; or a value is no number.
    """
    if schema.low is None or schema.high is None:
        raise DataError(f"{path}: task = 'number' needs low and high of {target} in the schema")
    told = values
    if values.dtype.kind not in "iuf":
        told = np.array([_number(value) for value in values], dtype=np.float64)
    if (wrong := np.flatnonzero(~np.isfinite(told))).size:
        raise DataError(
            f"{path}: record {wrong[0] + 1}, {target}: {str(values[wrong[0]])[:20]!r}, must be a "
            "finite number under task = 'number'"
        )
    half = (schema.high - schema.low) / 2
    scaled = (np.clip(told, schema.low, schema.high) - schema.low) / half - 1
    return scaled.astype(np.float32)[:, None]
