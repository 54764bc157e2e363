"""Checks of the noise that is heard: its law, its repetition, how often it is added, and where.

Shapes: R runs, P numbers of a release.
"""

import math

import numpy as np
from scipy.stats import kstest

from attacks.audit.steps.asking import RUNS, Asked
from attacks.audit.steps.checks import HUGE, LEVEL, STATES, Check, decided, impossible

RARE = 1e-9
TURN = 1.5  # of variance over what independent noise has: above it, noise was used twice


def noise_law(asked: Asked) -> Check:
    """Is there noise, in all that moves, and is it Gaussian?"""
    meaning = (
        "noise was forgotten, in all or in some arrays; cut off, of another law, or drawn from a "
        "seed that is the same each time; or an optimizer that divides by what it saw (Adam) or a "
        "rounding comes after it: release what they are given"
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
    meaning = (
        "a seed is set again in each run, epoch or step, and noise that is known is none; or "
        "momentum, or a learning rate that grows, is not claimed (momentum, learning_rates)"
    )
    loud = asked.heard[:, asked.loud] / asked.deviation[asked.loud]
    if not loud.size:
        return Check("repetition", STATES[2], "there is no noise")
    likeness = np.abs(np.corrcoef(loud)[np.triu_indices(RUNS, 1)]).max() if loud.shape[1] > 1 else 0
    most = min(0.999, 5.5 / math.sqrt(loud.shape[1]))
    measured = f"two runs are alike by {likeness:.2f}"
    passed = bool(likeness < most)
    if "steps" in asked.options and asked.claims.alike:
        rate = asked.claims.sample_rate or 1.0
        steps = 2 * max(1, min(20, round(1 / rate)))
        rows = np.stack([asked.one_step(*asked.blank, steps=steps) for _ in range(RUNS)])[
            :, asked.loud
        ]
        grown = ((rows - rows.mean(0)) / asked.deviation[asked.loud]).var(0, ddof=1).mean() / steps
        measured += f"; {steps} steps have {grown:.2f} of the variance of as many by themselves"
        passed = passed and bool(grown < TURN)
    return decided("repetition", passed, measured, f"less than {most:.2f}; at most {TURN}", meaning)


def empty_batches(asked: Asked) -> Check:
    """Is there noise where nobody was drawn?"""
    for option in ("sample_rate", "steps"):
        if option not in asked.options:
            return impossible("empty batches", option)
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


def overflow(asked: Asked) -> Check:
    """Is all that is released a number, of huge records too?"""
    x, y = asked.claims.records, asked.claims.labels
    sides = [("the claimed", x, y)] + [("huge", x[:2] * s, y[:2]) for s in (HUGE, HUGE**4)]
    lost = {told: int((~np.isfinite(asked.one_step(*side))).sum()) for told, *side in sides}
    said = [f"{num} numbers of a release of {told} records" for told, num in lost.items() if num]
    return decided(
        "overflow",
        not said,
        f"{' and '.join(said)} are NaN or infinite" if said else "all are numbers",
        "numbers",
        "gradients overflow in half precision, or a norm does, before the clip: whoever sees it "
        "knows who was there",
    )


def total_noise(asked: Asked) -> Check:
    """Are there as many noisy steps as are claimed, each with its noise?"""
    claims = asked.claims
    if claims.steps is None or claims.momentum:
        return Check("steps", STATES[2], "no number of steps is claimed, or there is momentum")
    steps = claims.weight_of_steps
    if not asked.loud.any():
        return Check("steps", STATES[2], "there is no noise")
    rows = np.stack([asked.release(*asked.blank) for _ in range(RUNS)])[:, asked.loud]
    found = float((rows / asked.deviation[asked.loud]).var(0, ddof=1).mean())
    if "steps" not in asked.options:  # then what was heard is the whole training, and more
        return impossible("steps", "steps")
    return decided(
        "steps",
        bool(0.5 < found / steps < TURN),
        f"noise of {found:.1f} steps in the whole training",
        f"{steps:.3g}",
        "more or fewer noisy steps than are charged, or noise for each micro-batch, or none for "
        "some; or the learning rate follows a schedule that is not claimed (learning_rates), or "
        "noise is not one and independent in all steps: then claim epsilon and delta alone",
    )
