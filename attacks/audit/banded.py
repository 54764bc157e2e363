"""Noise that later rounds take back in part: is it what a banded matrix makes of Gaussian noise?

Whoever sees the releases can put them through the matrix. What comes out must be noise of one
deviation, whose parts know nothing of one another; what a client adds must not meet itself there.

Shapes: T rounds; P numbers of a release.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from attacks.audit.claim import LEVEL, Check
from attacks.audit.noise import misfits

Whole = NDArray[np.int64]
Column = Sequence[int]  # of the matrix: its entries from the diagonal down


def through(columns: Sequence[Column], releases: Whole) -> Whole:
    """The matrix times the releases [T, P]."""
    found = np.zeros_like(releases)
    for at, (column, release) in enumerate(zip(columns, releases, strict=True)):
        for below, entry in enumerate(column[: len(releases) - at]):
            found[at + below] += int(entry) * release
    return found


def whitened(windows: Sequence[tuple[Sequence[Column], Whole]], deviation: float) -> Check:
    """Releases of silent rounds, put through their matrix, are independent Gaussian noise.

    Args:
        windows: columns of rounds in a row, and those rounds' releases [T, P], in steps.
        deviation: that is charged, in steps: of noise that hides one client in one round.
    """
    found: dict[str, float] = {}
    ratio = 1.0
    for name, (columns, releases) in zip(("first rounds", "last rounds"), windows, strict=False):
        longest = max(math.hypot(*column) for column in columns)
        unit = deviation * longest
        z = through(columns, releases) / unit
        ratio = max(ratio, float(np.sqrt(np.mean(z**2))), key=lambda r: abs(r - 1))
        found |= {f"{kind} of the {name}": p for kind, p in misfits(z.ravel(), 1 / unit).items()}
        for lag in range(1, min(len(z), len(columns[0]) + 1)):
            pairs = z[lag:] * z[:-lag]
            share = float(pairs.sum()) / np.sqrt(pairs.size)
            found[f"rounds {lag} apart of the {name}"] = 2 * float(norm.sf(abs(share)))
    where = min(found, key=lambda n: found[n])
    return Check(
        "banded noise",
        bool(found[where] > LEVEL / len(found)),
        f"{ratio:.4f} of the charged deviation; p = {found[where]:.2g} in what differs most "
        f"({where})",
        "1, Gaussian and independent, within what chance allows",
        "rounds take back other noise than was added, or a share that the matrix does not say: "
        "what is taken back no longer hides whom it hid",
    )


def apart(cohorts: Sequence[Sequence[int]], bands: int) -> Check:
    """No client may meet its own noise: between two of its rounds are `bands` - 1 others."""
    last: dict[int, int] = {}
    closest, whose = bands, ""
    for number, cohort in enumerate(cohorts, start=1):
        for client in cohort:
            if client in last and number - last[client] < closest:
                closest, whose = number - last[client], f" (client {client}, round {number})"
            last[client] = number
    return Check(
        "rounds apart",
        closest >= bands,
        f"{closest} or more{whose}" if not whose else f"{closest}{whose}",
        f"{bands} or more, in {len(cohorts)} rounds",
        "a client takes part again while noise that hid it is taken back: its two updates add up "
        "in the same releases, and cost more than two",
    )
