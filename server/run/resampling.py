"""Resampling: how far a figure would move on other test records of the same kind (bootstrap).

What is drawn again are whole units: persons, where the data say whose a record is, since records of
one person are not independent of one another; else records (Efron 1979; Field and Welsh 2007 of
clusters). More than `GROUPS` units are dealt at random into as many groups of nearly one size, and
groups are drawn: a mean's variance comes out the same, itself uncertain by a few per cent.

Shapes: N records, C sums, B resamples, G groups.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from server.run.figures import ranking_of_bins, scores_of

RESAMPLES = 1000
GROUPS = 1000
BINS = 256  # into which scores of more different values are sorted
SPARSE = 20  # places for each record, from which most of a table is empty
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True, eq=False)
class Resamples:
    """Of some records, B times as many units as there are, drawn with replacement.

    Attributes:
        of: `records` or `persons`.
        units: how many of them.
        group: int64 [N], which group a record is drawn with.
        times: float64 [B, G], how often a group was drawn.
    """

    of: str
    units: int
    group: NDArray[np.int64]
    times: NDArray[np.float64]

    @classmethod
    def draw(cls, num: int, person: NDArray | None = None) -> "Resamples":
        """Of N records, of which each may be a person's [N]; the same at every call."""
        rng = np.random.default_rng(SEED)
        unit = np.arange(num)
        if person is not None:
            _, unit = np.unique(person, return_inverse=True)
        units = int(unit.max(initial=-1)) + 1
        groups = max(1, min(units, GROUPS))
        dealt = rng.permutation(units) % groups
        times = rng.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)
        whose = "records" if person is None else "persons"
        return cls(whose, units, dealt[unit], times.astype(np.float64))

    def sums(self, values: NDArray) -> NDArray[np.float64]:
        """Of values of each record [N, C], their sums in every resample [B, C]."""
        columns = [self.counts(np.zeros(len(v), np.int64), 1, v) for v in values.T]
        return np.concatenate(columns, 1)

    def counts(
        self, place: NDArray, places: int, weight: NDArray | None = None
    ) -> NDArray[np.float64]:
        """How many records of every resample lie in each of some places [B, places].

        Args:
            place: of each record [N]; of places below 0 or beyond the last, none is counted.
            weight: of each record [N], what it counts.
        """
        inside = (place >= 0) & (place < places)
        group, place = self.group[inside], place[inside]
        groups = self.times.shape[1]
        if weight is None and SPARSE * len(place) < groups * places:
            return self._counts_of_few(group, place, places)
        weight = weight if weight is None else weight[inside]
        counted = np.bincount(group * places + place, weight, minlength=groups * places)
        kind = np.float32 if weight is None else np.float64  # whole numbers are exact in both
        return np.asarray(self.times.astype(kind) @ counted.reshape(groups, places).astype(kind))

    @cached_property
    def _by_group(self) -> NDArray[np.float64]:
        return np.ascontiguousarray(self.times.T)

    def _counts_of_few(self, group: NDArray, place: NDArray, places: int) -> NDArray[np.float64]:
        """The same by a sparse table [places, G] of ones, of which one place may have several."""
        from privacy.dp.accounting.parts import part

        begins = np.zeros(places + 1, np.int32)
        np.cumsum(np.bincount(place, minlength=places), out=begins[1:])
        columns = group[np.argsort(place, kind="stable")].astype(np.int32)
        found, num = np.zeros((places, len(self.times))), self.times.shape[1]
        ones, times = np.ones(len(place)), self._by_group
        part("scipy.sparse", "_sparsetools").csr_matvecs(
            places, num, len(self.times), begins, columns, ones, times.ravel(), found.ravel()
        )
        return found.T

    def ranking(
        self, positive: NDArray[np.bool_], score: NDArray
    ) -> tuple[dict[str, float], dict[str, NDArray]]:
        """AUROC and average precision of a score [N], and in every resample [B].

        Of scores of more than `BINS` values, those in one bin are ties in resamples: each figure is
        moved by what that alone does to it.
        """
        having, others, place = scores_of(positive, score)
        exact = ranking_of_bins(having, others)
        if len(having) > BINS:  # as many cuts where the few are as among all
            shares = [np.cumsum(some) / some.sum() for some in (having, having + others)]
            bins = sum((BINS // 2 * share).astype(np.int64) for share in shares)
            place = bins[place]
        places = 2 * (int(place.max()) + 1)
        place = 2 * place + positive
        whole = np.bincount(place, minlength=places)
        drawn = self.counts(place, places)
        tied = ranking_of_bins(whole[1::2], whole[::2])
        found = ranking_of_bins(drawn[:, 1::2], drawn[:, ::2])
        moved = {name: found[name] + (exact[name] - tied[name]) for name in found}
        return (
            {name: float(value) for name, value in exact.items()},
            {name: np.clip(values, 0.0, 1.0) for name, values in moved.items()},
        )

    def interval(self, drawn: NDArray) -> tuple[float, float] | None:
        """Between which values the middle 95 % of resamples lie [B]; None where nothing was drawn
        that could differ, or fewer than half of the resamples have the figure."""
        drawn = drawn[np.isfinite(drawn)]
        if self.units < 2 or 2 * len(drawn) < RESAMPLES:
            return None
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)
