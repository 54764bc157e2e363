"""Checks of a step that is not ours. Each holds but once in 10,000 correct steps, or says why not.

A check that the function gives no handle for is *impossible*, and one that the claim gives no
number for is *not applicable*: neither is passed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2, kstest

from attacks.audit.steps.asking import RUNS, Asked
from attacks.audit.steps.claims import Claims

LEVEL = 1e-4
HUGE = 1e4  # by which a record is made loud
FAINT = 1e-2  # and faint
SETS = (1, 5)  # records beside the one that moves
SPREAD = 12  # records that are tried by themselves
DRAWS = 60  # of batches
COPIES = 30  # of one record, in a batch that is counted
RARE = 1e-9
TURN = 1.5  # of variance over what independent noise has: above it, noise was used twice
ALL = "replace all"
STATES = ("passed", "FAILED", "not applicable", "impossible")


@dataclass(frozen=True)
class Check:
    """One check: what was measured, what it should be, what a failure usually means.

    Attributes:
        state: one of `STATES`.
    """

    name: str
    state: str
    measured: str
    expected: str = ""
    meaning: str = ""


def decided(name: str, passed: bool, measured: str, expected: str, meaning: str) -> Check:
    return Check(name, STATES[0] if passed else STATES[1], measured, expected, meaning)


def noise_law(asked: Asked) -> Check:
    """Is there noise, in all that moves, and is it Gaussian?"""
    meaning = (
        "noise was forgotten, in all or in some arrays; cut off, of another law, or drawn from a "
        "seed that is the same each time"
    )
    if not asked.loud.any():
        return decided("noise", False, f"the same release in {RUNS} runs", "noise", meaning)
    x, y = asked.claims.records, asked.claims.labels
    still = int((~asked.loud).sum())
    moving = 0
    if still and "noise_multiplier" in asked.options:
        base, other = asked.silent(x, y), asked.silent(x[1:], y[1:])
        moving = int((np.abs(base - other)[~asked.loud] > 0).sum())
    deviates = asked.heard[:, asked.loud] / asked.deviation[asked.loud]
    p = float(kstest(deviates.ravel() * math.sqrt(RUNS / (RUNS - 1)), "norm").pvalue)
    return decided(
        "noise",
        p > LEVEL and not moving,
        f"p = {p:.2g} that {deviates.size:,} deviates are Gaussian; {moving} numbers move without",
        "Gaussian, in all that moves",
        meaning,
    )


def repetition(asked: Asked) -> Check:
    """Do two runs share noise, and two steps of one?"""
    meaning = "a seed is set again in each run, epoch or step, and noise that is known is none"
    loud = asked.heard[:, asked.loud] / asked.deviation[asked.loud]
    if not loud.size:
        return Check("repetition", STATES[2], "there is no noise")
    likeness = np.abs(np.corrcoef(loud)[np.triu_indices(RUNS, 1)]).max() if loud.shape[1] > 1 else 0
    most = min(0.999, 5.5 / math.sqrt(loud.shape[1]))
    measured = f"two runs are alike by {likeness:.2f}"
    passed = bool(likeness < most)
    if "steps" in asked.options and asked.claims.momentum == 0:
        rate = asked.claims.sample_rate or 1.0
        steps = 2 * max(1, min(20, round(1 / rate)))
        rows = np.stack([asked.one_step(*asked.blank, steps=steps) for _ in range(RUNS)])[
            :, asked.loud
        ]
        grown = ((rows - rows.mean(0)) / asked.deviation[asked.loud]).var(0, ddof=1).mean() / steps
        measured += f"; {steps} steps have {grown:.2f} of the variance of as many by themselves"
        passed = passed and bool(grown < TURN)
    return decided("repetition", passed, measured, f"less than {most:.2f}; at most {TURN}", meaning)


def sensitivity(asked: Asked) -> Check:
    """How far does a record move the release, wherever it stands, over what the noise hides?"""
    claims = asked.claims
    if claims.noise_multiplier is None:
        return Check("sensitivity", STATES[2], "no noise multiplier is claimed")
    if "noise_multiplier" not in asked.options:
        return _impossible("sensitivity", "noise_multiplier")
    allowed = 1.0 if claims.neighbours == "add or remove" else 2.0
    least, about, where = 0.0, 0.0, ""
    for what, difference in _moves(asked):
        far = asked.moved(difference, surely=True) * claims.noise_multiplier
        if not far <= least:
            least, about, where = far, asked.moved(difference) * claims.noise_multiplier, what
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
    if "noise_multiplier" not in asked.options:
        return _impossible("additivity", "noise_multiplier")
    worst, told = 0.0, ""
    for kind, loudness in (("faint", FAINT), ("huge", HUGE)):
        one, many = (_copies(asked, n, loudness) for n in (1, COPIES))
        if not one.any():
            continue
        ratio = float(many @ one / (one @ one))
        if not abs(ratio - COPIES) <= worst:
            worst, told = (
                abs(ratio - COPIES),
                f"{COPIES} copies of a {kind} record move {ratio:.2f}",
            )
    return decided(
        "additivity",
        bool(worst < 0.02 * COPIES),
        f"{told or f'{COPIES} copies move {COPIES}'} times as far as it",
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
            return _impossible("sampling", option)
    one = _copies(asked, 1)
    unit = float(one @ one)
    if not unit:
        return Check("sampling", STATES[2], "the first record moves nothing")
    x, y = _of_copies(asked, COPIES)
    drawn = [
        float(asked.release(x, y, noise_multiplier=0.0, steps=1, sample_rate=rate) @ one / unit)
        for _ in range(DRAWS)
    ]
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


def empty_batches(asked: Asked) -> Check:
    """Is there noise where nobody was drawn?"""
    for option in ("sample_rate", "steps"):
        if option not in asked.options:
            return _impossible("empty batches", option)
    x, y = asked.claims.records, asked.claims.labels
    rows = [asked.release(x, y, steps=1, sample_rate=RARE) for _ in range(4)]
    same = sum(np.array_equal(row, rows[0]) for row in rows[1:])
    return decided(
        "empty batches",
        not same and bool(asked.loud.any()),
        f"{same} of {len(rows) - 1} releases of nobody are the same as another",
        "none",
        "a step without records is skipped, noise and all: that it was tells who was not there",
    )


def finite(asked: Asked) -> Check:
    """Is a release of a huge record a number?"""
    x, y = asked.claims.records, asked.claims.labels
    lost = sum(
        int((~np.isfinite(asked.one_step(x[:2] * loud, y[:2]))).sum()) for loud in (HUGE, HUGE**4)
    )
    return decided(
        "overflow",
        lost == 0,
        f"{lost} numbers of a release of huge records are none",
        "none",
        "gradients overflow in half precision, or a norm does, before the clip: whoever sees it "
        "knows who was there",
    )


def total_noise(asked: Asked) -> Check:
    """Are there as many noisy steps as are claimed, each with its noise?"""
    steps, claims = asked.claims.steps, asked.claims
    if steps is None or claims.momentum:
        return Check("steps", STATES[2], "no number of steps is claimed, or there is momentum")
    if not asked.loud.any():
        return Check("steps", STATES[2], "there is no noise")
    rows = np.stack([asked.release(*asked.blank) for _ in range(RUNS)])[:, asked.loud]
    found = float((rows / asked.deviation[asked.loud]).var(0, ddof=1).mean())
    if "steps" not in asked.options:  # then what was heard is the whole training, and more
        return _impossible("steps", "steps")
    return decided(
        "steps",
        bool(0.5 < found / steps < TURN),
        f"noise of {found:.1f} steps in the whole training",
        f"{steps}",
        "more or fewer noisy steps than are charged, or noise for each micro-batch, or none for "
        "some",
    )


def accounting(asked: Asked) -> Check:
    """Is the claimed epsilon one that noise, rate and steps come to?"""
    claims = asked.claims
    numbers = (claims.noise_multiplier, claims.sample_rate, claims.steps)
    if claims.epsilon is None or None in numbers:
        return Check("accounting", STATES[2], "epsilon, or what it comes from, is not claimed")
    found = epsilon_claimed(claims)
    return decided(
        "accounting",
        claims.epsilon >= 0.98 * found,
        f"claimed {claims.epsilon:.3f}, by dp-accounting {found:.3f}",
        "claimed at least 0.98 of dp-accounting's",
        "an accountant of another rate, other noise or fewer steps",
    )


def epsilon_claimed(claims: Claims) -> float:
    """What noise, rate and steps come to, where all three are claimed."""
    sigma, rate, steps = claims.noise_multiplier, claims.sample_rate, claims.steps
    assert None not in (sigma, rate, steps)
    twice = claims.neighbours == ALL or (claims.neighbours != "add or remove" and rate == 1)
    return epsilon_of(sigma / 2 if twice else sigma, rate, steps, claims.delta)  # type: ignore


def epsilon_of(sigma: float, rate: float, steps: int, delta: float) -> float:
    """Of Poisson-subsampled Gaussian steps, by Google's dp-accounting; add or remove one."""
    if sigma <= 0:
        return math.inf
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma))
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))


def _of_copies(asked: Asked, num: int, loudness: float = HUGE) -> tuple[NDArray, NDArray]:
    x, y = asked.claims.records, asked.claims.labels
    return np.repeat(x[:1] * loudness, num, 0), np.repeat(y[:1], num, 0)


def _copies(asked: Asked, num: int, loudness: float = HUGE) -> NDArray[np.float64]:
    return asked.silent(*_of_copies(asked, num, loudness))


def _impossible(name: str, option: str) -> Check:
    return Check(name, STATES[3], f"the function takes no {option}")


CHECKS: tuple[Callable[[Asked], Check], ...] = (
    noise_law, repetition, sensitivity, additivity, sampling, empty_batches, finite, total_noise,
    accounting,
)  # fmt: skip
