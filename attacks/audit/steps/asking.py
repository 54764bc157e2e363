"""A stranger's function, asked: how loud its noise is, and how far a record moves its release.

What is released has a unit of its own (a learning rate, a batch size), which nobody need know: all
movements are measured in deviations of the noise, coordinate by coordinate. Of a Gaussian mechanism
that is all that counts: a record may move it by at most 1 / noise multiplier of them.

Shapes: R runs, P numbers of a release.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.audit.steps.claims import Claims, Make, options_of
from privacy.errors import SettingsError

RUNS = 40  # in which noise is heard
ATOM = 1e-9  # of the loudest numbers: quieter ones have no noise


class Stopped(Exception):
    """A stranger's function raised an error."""


class Asked:
    """The function, and what it answered.

    Args:
        make: see `attacks.audit.steps.claims.Make`.
        seed: of the first question; no two questions have the same.
    """

    def __init__(self, make: Make, claims: Claims, seed: int = 0) -> None:
        self.make, self.claims = make, claims
        self.options = options_of(make)
        self._seed = 1000 * seed
        self.calls = 0

    def release(
        self, records: NDArray, labels: NDArray, *, seed: int | None = None, **options: float
    ) -> NDArray[np.float64]:
        """All that one training releases, in one row [P]; with options that it takes.

        A release that was divided is told as a sum over its records.

        Raises:
            Stopped: the function raised an error.
            SettingsError: it answers with something else than arrays by name.
        """
        self.calls += 1
        self._seed += 1
        chosen = {key: value for key, value in options.items() if key in self.options}
        try:
            told = self.make(records, labels, self._seed if seed is None else seed, **chosen)
        except Exception as error:  # of code that is not ours, whatever it is
            raise Stopped(f"the function stopped: {type(error).__name__}: {error}") from error
        try:
            parts = [np.asarray(told[name], np.float64).ravel() for name in sorted(told)]
            row = np.concatenate(parts)
        except (TypeError, ValueError, KeyError) as error:
            raise SettingsError(
                f"the function must return arrays by name, of numbers: {error}"
            ) from None
        self._sizes = [len(part) for part in parts]
        rate = self.claims.sample_rate if "sample_rate" in self.options else 1.0
        rate = float(chosen.get("sample_rate", 1.0 if rate is None else rate))
        divisor = {"batch": rate * len(records), "records": len(records), "nothing": 1}
        return row * divisor[self.claims.divided]

    def one_step(self, records: NDArray, labels: NDArray, **options: float) -> NDArray[np.float64]:
        """One step in which everyone takes part."""
        turned: dict[str, Any] = {"steps": 1, "sample_rate": 1.0} | options
        return self.release(records, labels, **turned)

    def silent(self, records: NDArray, labels: NDArray, **options: float) -> NDArray[np.float64]:
        """The same without noise."""
        return self.one_step(records, labels, **{"noise_multiplier": 0.0} | options)

    @cached_property
    def heard(self) -> NDArray[np.float64]:
        """Noise of one step in several runs, about its mean [R, P]."""
        x, y = self.claims.records, self.claims.labels
        if "sample_rate" not in self.options:  # or who was drawn would be heard too
            x, y = self.blank
        rows = np.stack([self.one_step(x, y) for _ in range(RUNS)])
        return rows - rows.mean(0)

    @property
    def blank(self) -> tuple[NDArray, NDArray]:
        """Records that teach nothing: one, or as many as there are where all take part."""
        x, y = self.claims.records, self.claims.labels
        num = len(x) if self.claims.sample_rate == 1 and "sample_rate" not in self.options else 1
        return np.zeros_like(x[:num]), y[:num]

    @cached_property
    def _measured(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Deviation of the noise in each number, and by which share it may be more: [P], [P].

        It is one in each array. Arrays whose noise is as loud as that of all, as far as can be
        heard, are measured together: few numbers, as a bias has, tell little by themselves.
        """
        squares = (self.heard**2).sum(0) / (RUNS - 1)
        noisy = squares > ATOM**2 * max(float(squares.max(initial=0.0)), 1e-300)
        typical = float(squares[noisy].mean()) if noisy.any() else 0.0
        parts = np.split(squares, np.cumsum(self._sizes)[:-1])
        alike = [part for part in parts if _as_loud(part, typical)]
        whole = np.concatenate(alike) if alike else np.empty(0)
        found = [(part, whole if _as_loud(part, typical) else part) for part in parts]
        return (
            np.concatenate([np.full(len(p), float(told.mean()) ** 0.5) for p, told in found]),
            np.concatenate([np.full(len(p), _doubt(len(told))) for p, told in found]),
        )

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Of the noise in each number [P]."""
        return self._measured[0]

    @property
    def surely(self) -> NDArray[np.float64]:
        """What the deviation in each number is at most, all but certainly [P]."""
        return self._measured[0] * (1 + self._measured[1])

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Where there is noise at all [P]."""
        return self.deviation > ATOM * max(float(self.deviation.max()), 1e-300)

    def moved(self, difference: NDArray[np.float64], surely: bool = False) -> float:
        """How far, in deviations of the noise; infinite where there is none, or no number.

        Args:
            surely: at the least, since the deviation was measured.
        """
        if not np.isfinite(difference).all():
            return float("inf")
        quiet = difference[~self.loud]
        if quiet.size and np.abs(quiet).max() > ATOM * max(1.0, np.abs(difference).max()):
            return float("inf")
        noise = self.surely if surely else self.deviation
        return float(np.linalg.norm(difference[self.loud] / noise[self.loud]))


def _doubt(num: int) -> float:
    """By which share a deviation that was heard in so many numbers may be wrong, all but certainly
    (1 in 10^4)."""
    return 4.0 / (2 * (RUNS - 1) * max(1, num)) ** 0.5


def _as_loud(squares: NDArray[np.float64], typical: float) -> bool:
    """Is an array's noise of the typical variance, as far as can be heard?"""
    share = (float(squares.mean()) / typical) ** 0.5 if len(squares) and typical else 0.0
    return abs(share - 1) <= _doubt(len(squares))
