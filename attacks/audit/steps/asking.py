"""A stranger's function, asked: how loud its noise is, and how far a record moves its release.

What is released has a unit of its own (a learning rate, a batch size), which nobody need know: all
movements are measured in deviations of the noise, coordinate by coordinate. Of a Gaussian mechanism
that is all that counts: a record may move it by at most 1 / noise multiplier of them.

Shapes: R runs, P numbers of a release.
"""

import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from attacks.audit.steps.claims import Claims, Make, options_of
from privacy.errors import SettingsError

RUNS, LONG = 40, 400  # in which noise is heard; where it is in doubt
CERTAIN = 1e-4  # chance that noise is louder than it is said to be at most
ATOM = 1e-9  # of the loudest numbers: quieter ones have no noise


Told = Callable[[int, float], None]  # calls until now, and the seconds that they took


class Stopped(Exception):
    """A stranger's function raised an error, or released what is no number."""


class Asked:
    """The function, and what it answered.

    Args:
        make: see `attacks.audit.steps.claims.Make`.
        seed: of the first question; no two questions have the same, but those without noise,
            which have one.
        tell: is told of each call.
    """

    def __init__(self, make: Make, claims: Claims, seed: int = 0, tell: Told | None = None) -> None:
        self.make, self.claims, self._tell = make, claims, tell
        self.options = options_of(make)
        self._seed = self._still = 1000 * seed
        self.calls, self._seconds = 0, 0.0
        self._shapes: dict[str, tuple[int, ...]] = {}

    def release(
        self, records: NDArray, labels: NDArray, *, seed: int | None = None, **options: float
    ) -> NDArray[np.float64]:
        """All that one training releases, in one row [P]; with options that it takes.

        A release that was divided is told as a sum over its records.

        Raises:
            Stopped: the function raised an error.
            SettingsError: it answers with something else than arrays by name.
        """
        self._seed += 1
        chosen = {key: value for key, value in options.items() if key in self.options}
        parts = self._asked(records, labels, self._seed if seed is None else seed, chosen)
        row = np.concatenate([parts[name].ravel() for name in sorted(parts)])
        rate = self.claims.sample_rate if "sample_rate" in self.options else 1.0
        rate = float(chosen.get("sample_rate", 1.0 if rate is None else rate))
        divisor = {"batch": rate * len(records), "records": len(records), "nothing": 1}
        return row * divisor[self.claims.divided]

    def _asked(
        self, records: NDArray, labels: NDArray, seed: int, chosen: dict[str, float]
    ) -> dict[str, NDArray[np.float64]]:
        """What the function returns, of copies of its own."""
        began = time.perf_counter()
        try:
            told = self.make(np.array(records), np.array(labels), seed, **chosen)
        except (Exception, SystemExit) as error:  # of code that is not ours, whatever it is
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise Stopped(f"the function stopped: {said}") from error
        self.calls += 1
        self._seconds += time.perf_counter() - began
        if self._tell:
            self._tell(self.calls, self._seconds)
        parts = arrays_of(told)
        shapes = {name: part.shape for name, part in parts.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise SettingsError(
                "the function must return the same arrays whatever the records: it returned "
                f"{_said(self._shapes)}, and then {_said(shapes)}"
            )
        return parts

    def one_step(
        self, records: NDArray, labels: NDArray, *, seed: int | None = None, **options: float
    ) -> NDArray[np.float64]:
        """One step in which everyone takes part."""
        turned: dict[str, Any] = {"steps": 1, "sample_rate": 1.0} | options
        return self.release(records, labels, seed=seed, **turned)

    def silent(self, records: NDArray, labels: NDArray, another: int = 0) -> NDArray[np.float64]:
        """The same without noise, always by one seed, or by another."""
        return self.one_step(records, labels, seed=self._still + another, noise_multiplier=0.0)

    @property
    def missing(self) -> str:
        """The handle that it lacks to be asked without noise, and without chance."""
        if "noise_multiplier" not in self.options:
            return "noise_multiplier"
        by_chance = "sample_rate" not in self.options and self.claims.sample_rate != 1
        return "sample_rate" * by_chance

    @cached_property
    def heard(self) -> NDArray[np.float64]:
        """Noise of one step in several runs, about its mean [R, P]."""
        return self._hear(RUNS)

    def _hear(self, runs: int) -> NDArray[np.float64]:
        x, y = self.claims.records, self.claims.labels
        if "sample_rate" not in self.options:  # or who was drawn would be heard too
            x, y = self.blank
        rows = np.stack([self.one_step(x, y) for _ in range(runs)])
        if lost := int((~np.isfinite(rows)).any(0).sum()):
            raise Stopped(f"{lost} of {rows.shape[1]} released numbers are NaN or infinite")
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
        parts = self._by_array(squares)
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
        """What the deviation in each number is at most [P], if arrays whose noise is as loud as
        that of all, as far as can be heard, have the same."""
        return self._measured[0] * (1 + self._measured[1])

    @cached_property
    def alone(self) -> NDArray[np.float64]:
        """The same [P], of each array measured by itself: whatever the noise of the others is."""
        return self._at_most(self.heard)

    @cached_property
    def alone_for_long(self) -> NDArray[np.float64]:
        """The same [P], of noise that is heard ten times as long: few numbers tell enough then."""
        return self._at_most(self._hear(LONG))

    def _at_most(self, heard: NDArray[np.float64]) -> NDArray[np.float64]:
        parts, of_freedom = self._by_array((heard**2).sum(0)), len(heard) - 1
        chance = CERTAIN / len(parts)
        return np.concatenate([
            np.full(len(part), (part.sum() / chi2.ppf(chance, of_freedom * len(part))) ** 0.5)
            for part in parts
        ])  # fmt: skip

    def _by_array(self, row: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        sizes = [math.prod(self._shapes[name]) for name in sorted(self._shapes)]
        return np.split(row, np.cumsum(sizes)[:-1])

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Where there is noise at all [P]."""
        return self.deviation > ATOM * max(float(self.deviation.max()), 1e-300)

    def moved(
        self, difference: NDArray[np.float64], noise: NDArray[np.float64] | None = None
    ) -> float:
        """How far, in deviations of the noise; infinite where there is none, or no number.

        Args:
            noise: deviations of it [P]; None: those that were measured.
        """
        quiet = difference[~self.loud]
        if not np.isfinite(difference).all():
            return float("inf")
        if quiet.size and np.abs(quiet).max() > ATOM * max(1.0, np.abs(difference).max()):
            return float("inf")
        noise = self.deviation if noise is None else noise
        return float(np.linalg.norm(difference[self.loud] / noise[self.loud]))


def arrays_of(told: object) -> dict[str, NDArray[np.float64]]:
    """Arrays by name, numpy's or another library's, as numpy's.

    Raises:
        SettingsError: it is something else.
    """
    if not isinstance(told, Mapping) or not told:
        empty = "an empty " * isinstance(told, Mapping)
        raise SettingsError(
            f'the function must return arrays by name, as {{"weights": first - last}}: it '
            f"returned {empty}{type(told).__name__}"
        )
    found = {}
    for name, value in told.items():
        try:
            if hasattr(value, "detach"):  # a tensor of torch
                value = value.detach().cpu().double()
            array = np.asarray(value)
            if np.iscomplexobj(array):
                raise TypeError("complex numbers; release their parts")
            found[str(name)] = array.astype(np.float64)
        except Exception as error:  # of whatever library it is
            said = str(error).partition("\n")[0]
            raise SettingsError(
                f"the function must return arrays by name, of numbers: {name}: {said}"
            ) from None
    return found


def _said(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))


def _doubt(num: int) -> float:
    """By which share a deviation that was heard in so many numbers may be wrong, all but certainly
    (1 in 10^4)."""
    return 4.0 / (2 * (RUNS - 1) * max(1, num)) ** 0.5


def _as_loud(squares: NDArray[np.float64], typical: float) -> bool:
    """Is an array's noise of the typical variance, as far as can be heard?"""
    share = (float(squares.mean()) / typical) ** 0.5 if len(squares) and typical else 0.0
    return abs(share - 1) <= _doubt(len(squares))
