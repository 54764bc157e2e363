"""What a proposal is made after; and points of the axes as numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.sweep.axes import Axis, Point


class Told(NamedTuple):
    """A candidate that was tried.

    Attributes:
        scores: of its objectives, each to be as great as can be; None if it broke a limit, and was
            not trained.
        over: by each limit, the logarithm of what it costs as a share of what it may.
    """

    point: Point
    scores: Sequence[float] | None
    over: Mapping[str, float]


def ranked(axis: Axis) -> list[float]:
    """The choices of an axis from the least to the greatest, if they are all numbers."""
    numbers = [x for x in axis.labels if isinstance(x, int | float) and not isinstance(x, bool)]
    return sorted(numbers) if len(numbers) == len(axis.labels) and not axis.range else []


def numbers_of(axes: Sequence[Axis], point: Point) -> list[float]:
    """A point in the unit cube.

    A range is its place between the ends, choices of numbers are their rank, and each other choice
    has a coordinate of its own.
    """
    found: list[float] = []
    for axis in axes:
        label = point[axis.key]
        if axis.range:
            found.append(place(axis, label))
        elif ranks := ranked(axis):
            found.append(ranks.index(label) / max(1, len(ranks) - 1))
        else:
            found += [float(label == other) for other in axis.labels]
    return found


def place(axis: Axis, value: float) -> float:
    """Where a value of a range stands, in [0, 1]."""
    assert axis.range
    low, high = axis.range.low, axis.range.high
    if axis.range.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
