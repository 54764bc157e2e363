"""Checks of how far records move what is released, alone and together, and of who is drawn."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2

from attacks.audit.steps.asking import Asked, Stopped
from attacks.audit.steps.checks import ALL, HUGE, LEVEL, STATES, Check, decided, impossible

FAINT = 1e-2  # by which a record is made faint
SETS = (1, 5)  # records beside the one that moves
SPREAD = 12  # records that are tried by themselves
DRAWS = 60  # of batches
STEADY = 0.01
TRIES = 20
COPIES = 30  # of one record, in a batch that is counted


def steadiness(asked: Asked) -> Check:
    """Without noise, is the same released of the same records, whatever the seed?"""
    if asked.missing:
        return impossible("steadiness", asked.missing)
    x, y = asked.claims.records, asked.claims.labels
    first = asked.silent(x, y)
    far = max(asked.moved(asked.silent(x, y, another=n) - first) for n in (1, 2))
    return decided(
        "steadiness",
        far < STEADY,
        f"without noise, another seed moves the release of the same records by {far:.2g} of the "
        "noise's deviation",
        f"less than {STEADY}",
        "first weights, dropout, augmentation, or who is clipped together with whom, follow the "
        "seed: hold them still while it is audited, for the other checks cannot tell them from "
        "what a record does",
    )


def sensitivity(asked: Asked) -> Check:
    """How far does a record move the release, wherever it stands, over what the noise hides?"""
    claims = asked.claims
    if claims.noise_multiplier is None:
        return Check("sensitivity", STATES[2], "no noise multiplier is claimed")
    if asked.missing:
        return impossible("sensitivity", asked.missing)
    allowed = 1.0 if claims.neighbours == "add or remove" else 2.0
    about, least, where = _farthest(asked, asked.surely)
    if allowed < least < math.inf and _farthest(asked, asked.alone)[1] <= allowed:
        about, least, where = _farthest(asked, asked.alone_for_long)
    if not where:
        return Check("sensitivity", STATES[3], "no record that was given moves what is released")
    return decided(
        "sensitivity",
        bool(least <= allowed + 1e-6),
        f"{about:.3g} of the clipping norm, at least {least:.3g}, by the noise that was heard "
        f"({where})",
        f"at most {allowed:g}",
        "records are clipped together, or after they were added up, or not in all layers; a sum is "
        "divided by less than the noise is; noise is too small; or one record alters what others "
        "give (batch normalisation)",
    )


def _farthest(asked: Asked, noise: NDArray[np.float64]) -> tuple[float, float, str]:
    """How far a record moves the release at the most, in clipping norms; how far at the least, by
    noise that is at most so loud [P]; and which record."""
    sigma, about, least, where = asked.claims.noise_multiplier or 1.0, 0.0, 0.0, ""
    for what, difference in _moves(asked):
        far = asked.moved(difference, noise) * sigma
        if not far <= least:
            least, about, where = far, asked.moved(difference) * sigma, what
    return about, least, where


def _moves(asked: Asked) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(what, by what the release changes) of a record's coming and going, or turning about."""
    x, y = asked.claims.records, asked.claims.labels
    base = asked.silent(x[:1], y[:1])
    if asked.claims.neighbours == ALL:
        for n in np.unique(np.linspace(0, len(x) - 1, SPREAD).astype(int)):
            turned = (asked.silent(x[[n]] * loud, y[[n]]) for loud in (HUGE, -HUGE))
            yield f"record {n}, huge, into its opposite", next(turned) - next(turned)
    for n in np.unique(np.linspace(1, len(x) - 1, SPREAD).astype(int)):
        with_it = np.concatenate([x[:1], x[n : n + 1] * HUGE])
        yield f"record {n}, huge, beside record 0", asked.silent(with_it, y[[0, n]]) - base
    for size in sorted({min(s, len(x) - 1) for s in SETS}):
        for kind, loudness in (("as it is", 1.0), ("huge", HUGE), ("negative", -HUGE)):
            record, label = x[size : size + 1] * loudness, y[size : size + 1]
            others, labels = x[:size], y[:size]
            base = asked.silent(others, labels)
            for place in sorted({0, size // 2, size}):
                with_x = np.concatenate([others[:place], record, others[place:]])
                with_y = np.concatenate([labels[:place], label, labels[place:]])
                told = f"a record {kind} at place {place} of {size + 1}"
                yield told, asked.silent(with_x, with_y) - base


def additivity(asked: Asked) -> Check:
    """Do copies of one record move the release as often as there are, whether clipped or not?"""
    if asked.claims.neighbours == ALL:
        return Check("additivity", STATES[2], "all records may be replaced: nothing need add up")
    if asked.missing:
        return impossible("additivity", asked.missing)
    worst, told = -1.0, ""
    for kind, loudness in (("faint", FAINT), ("huge", HUGE)):
        one, many = (_copies(asked, n, loudness) for n in (1, COPIES))
        if not one.any():
            continue
        ratio = _finite(float(many @ one / (one @ one)))
        if not abs(ratio - COPIES) <= worst:
            worst, told = (
                abs(ratio - COPIES),
                f"{COPIES} copies of a {kind} record move {ratio:.2f}",
            )
    if not told:
        return Check("additivity", STATES[3], "the first record moves nothing")
    return decided(
        "additivity",
        bool(worst < 0.02 * COPIES),
        f"{told} times as far as it",
        f"{COPIES}",
        "a loss is averaged where it should be summed, or the other way, so that the clip is of "
        "another size than the noise; a mean, or a sum, is clipped; or a batch is normalised",
    )


def sampling(asked: Asked) -> Check:
    """Are batches Poisson samples at the claimed rate?"""
    rate = asked.claims.sample_rate
    if rate is None:
        return Check("sampling", STATES[2], "no sample rate is claimed")
    if asked.claims.neighbours == ALL:
        return Check("sampling", STATES[2], "all records may be replaced: none is drawn")
    for option in ("noise_multiplier", "steps"):
        if option not in asked.options:
            return impossible("sampling", option)
    alone = (asked.one_step(*_of_copies(asked, 1), noise_multiplier=0.0) for _ in range(TRIES))
    one = next((one for one in alone if one.any()), np.zeros(1))  # chance may leave it out
    unit = float(one @ one)
    if not unit:
        return Check("sampling", STATES[2], "the first record moves nothing")
    x, y = _of_copies(asked, COPIES)
    turned: dict[str, Any] = {"noise_multiplier": 0.0, "steps": 1, "sample_rate": rate}
    drawn = [_finite(float(asked.release(x, y, **turned) @ one / unit)) for _ in range(DRAWS)]
    counts = np.array(drawn)
    total = float(counts.sum())
    low, high = (float(binom.ppf(p, DRAWS * COPIES, rate)) for p in (LEVEL / 2, 1 - LEVEL / 2))
    spread, dispersed = counts.var(ddof=1), COPIES * rate * (1 - rate)
    ends = [float(chi2.ppf(p, DRAWS - 1)) / (DRAWS - 1) for p in (LEVEL / 2, 1 - LEVEL / 2)]
    poisson = dispersed == 0 or ends[0] < spread / dispersed < ends[1]
    return decided(
        "sampling",
        bool(low - 0.5 <= total <= high + 0.5 and poisson),
        f"batches of {total / DRAWS:.2f} of {COPIES} with a variance of {spread:.2f}",
        f"{COPIES * rate:.2f} and {dispersed:.2f}",
        "batches of a shuffled epoch, or of a fixed size, under an accountant of Poisson samples; "
        "a rate that is not the one that is charged; a last batch of what is left",
    )


def _finite(ratio: float) -> float:
    """Raises Stopped: it is of a release that is no number."""
    if not np.isfinite(ratio):
        raise Stopped("released numbers are NaN or infinite")
    return ratio


def _of_copies(asked: Asked, num: int, loudness: float = HUGE) -> tuple[NDArray, NDArray]:
    x, y = asked.claims.records, asked.claims.labels
    return np.repeat(x[:1] * loudness, num, 0), np.repeat(y[:1], num, 0)


def _copies(asked: Asked, num: int, loudness: float = HUGE) -> NDArray[np.float64]:
    return asked.silent(*_of_copies(asked, num, loudness))
