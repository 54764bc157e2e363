"""[data] task: what a model is to say of a record, and in which numbers that is kept."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Schema
from privacy.errors import DataError

TASKS = ("classes", "labels", "number", "itself")
YES, NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})
Place = Callable[[int], str]  # where a record lies, by its number, for an error


def classes_of(
    path: Path, target: str, texts: NDArray, schema: Schema, place: Place
) -> NDArray[np.int64]:
    """Labels as numbers int64 [N]; -1 of records that have none.

    Raises:
        DataError: one is not in the schema.
    """
    if not schema.labels:
        raise DataError(f"{path}: its schema has no labels = [...]; privet data describe drafts it")
    known = {label: place for place, label in enumerate(schema.labels)}
    known |= dict.fromkeys(schema.unlabelled, -1)
    found, first, back = np.unique(texts.astype(str), return_index=True, return_inverse=True)
    unknown = [at for at, text in enumerate(found) if text not in known]
    if unknown:
        at = min(unknown, key=lambda one: first[one])
        raise DataError(
            f"{path}: {place(int(first[at]))}, {target}: the label {str(found[at])[:40]!r} is not "
            "in the schema; add it to labels, or to unlabelled"
        )
    return np.array([known[text] for text in found], dtype=np.int64)[back]


def flags_of(
    path: Path, targets: Sequence[str], columns: Sequence[NDArray], place: Place
) -> NDArray[np.float32]:
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
                f"{path}: {place(int(wrong[0]))}, {name}: {str(texts[wrong[0]])[:20]!r}, must be 0 "
                "or 1 under task = 'labels'; mend it"
            )
        flags.append(yes.astype(np.float32))
    return np.stack(flags, axis=1)


def numbers_of(
    path: Path, target: str, values: NDArray, schema: Schema, place: Place, counts: Counter[str]
) -> NDArray[np.float32]:
    """A number of each record between the schema's low and high, as -1 to 1, float32 [N, 1].

    Args:
        values: numbers, or text of numbers.
        counts: of what lies outside, which is clipped, one more is counted each time.

    Raises:
        DataError: the schema has no bounds, or a value is no number.
    """
    if schema.low is None or schema.high is None or not schema.low < schema.high:
        raise DataError(
            f"{path}: task = 'number' needs low and high of {target} in the schema, low < high: "
            "above its first table"
        )
    numbers = _finite(path, target, values, place)
    if outside := int(((numbers < schema.low) | (numbers > schema.high)).sum()):
        counts[f"{target}: clipped"] += outside
    half = (schema.high - schema.low) / 2
    scaled = (np.clip(numbers, schema.low, schema.high) - schema.low) / half - 1
    return scaled.astype(np.float32)[:, None]


def _finite(path: Path, target: str, values: NDArray, place: Place) -> NDArray[np.float64]:
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        numbers = np.array([_number(value) for value in values])
    if (wrong := np.flatnonzero(~np.isfinite(numbers))).size:
        raise DataError(
            f"{path}: {place(int(wrong[0]))}, {target}: {str(values[wrong[0]])[:20]!r}, must be a "
            "finite number under task = 'number'; mend it, or leave the record out"
        )
    return numbers


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return np.nan
