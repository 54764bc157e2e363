"""Points of a search that descend from those tried before: what is best so far crossed and changed.

Parents are the best by how many rounds of fronts stand before them, and of equals those with most
room about them (NSGA-II: Deb et al. 2002, sections III A and B). A child has each axis of one of
two, and a chance of something else.
"""

import math
import random
from collections.abc import Sequence

from server.sweep.axes import Axis, Point
from server.sweep.proposals.told import place

PARENTS = 16
STEP = 0.1  # of a range: the deviation of a change

Scores = Sequence[tuple[float, ...]]  # each to be as great as can be


def parents_of(points: Sequence[Point], scores: Scores) -> list[Point]:
    """The best points, the very best first.

    Args:
        points: that were judged; `scores` are theirs.
    """
    return [points[i] for i in ranked(scores)[:PARENTS]]


def child_of(axes: Sequence[Axis], parents: Sequence[Point], dice: random.Random) -> Point:
    """A point out of two parents, of which the first are more often taken."""
    mother, father = (parents[min(dice.choices(range(len(parents)), k=2))] for _ in "12")
    return {
        axis.key: _changed(axis, dice.choice((mother, father))[axis.key], dice)
        if dice.random() < 1 / len(axes)
        else dice.choice((mother, father))[axis.key]
        for axis in axes
    }


def any_of(axes: Sequence[Axis], dice: random.Random) -> Point:
    """A point at random."""
    return {axis.key: _anywhere(axis, dice) for axis in axes}


def ranked(scores: Scores) -> list[int]:
    """Places of all scores, the best first: by fronts, and within one the loneliest first."""
    left, found = list(range(len(scores))), []
    while left:
        front = [left[i] for i in first_front([scores[i] for i in left])]
        room = _room([scores[i] for i in front])
        found += [i for _, i in sorted(zip(room, front, strict=True), key=lambda pair: -pair[0])]
        left = [i for i in left if i not in front]
    return found


def first_front(scores: Scores) -> list[int]:
    """Places of those that no other beats."""
    return [i for i, mine in enumerate(scores) if not any(beats(other, mine) for other in scores)]


def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Is `a` as great in all, and greater in one?"""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def _room(front: Scores) -> list[float]:
    """The sum over objectives of the distance between a score's neighbours; ends have no end."""
    room = [0.0] * len(front)
    for values in zip(*front, strict=True):
        order = sorted(range(len(front)), key=values.__getitem__)
        width = values[order[-1]] - values[order[0]] or 1.0
        room[order[0]] = room[order[-1]] = math.inf
        for before, at, after in zip(order, order[1:], order[2:], strict=False):
            room[at] += (values[after] - values[before]) / width
    return room


def _anywhere(axis: Axis, dice: random.Random) -> object:
    if not axis.range:
        return dice.choice(axis.labels)
    return _at(axis, dice.random())


def _changed(axis: Axis, label: object, dice: random.Random) -> object:
    """Another choice; or a place of a range nearby."""
    if not axis.range:
        return dice.choice([other for other in axis.labels if other != label] or [label])
    assert isinstance(label, int | float)
    return _at(axis, min(1.0, max(0.0, place(axis, label) + dice.gauss(0, STEP))))


def _at(axis: Axis, place: float) -> object:
    """The inverse of `place`, a whole number where the ends are."""
    assert axis.range
    low, high = axis.range.low, axis.range.high
    found = low * (high / low) ** place if axis.range.log else low + (high - low) * place
    whole = isinstance(low, int) and isinstance(high, int)
    return min(high, max(low, round(found) if whole else found))
