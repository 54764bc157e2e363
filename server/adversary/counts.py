"""A clip that follows a quantile, before the auditor: what a round's two releases cost together,
what one client moves of the count, and where a run's clips came from.

All is heard of the shipped aggregation, at the clip of the experiment and at others. What the noise
should be is worked out here from what is charged, and not asked of the code that splits it.

Shapes: R rounds, W weights.
"""

import math
from collections.abc import Sequence

import numpy as np
from flwr.app import MetricRecord
from numpy.typing import NDArray
from scipy.stats import norm

from attacks.audit.claim import LEVEL, Check
from attacks.audit.noise import misfits
from clients.training.job import Job
from privacy.dp.clipping.quantile import ONE
from privacy.dp.clipping.split import after
from privacy.dp.ledger import Ledger
from server.adversary.servers import Listening
from server.experiment.experiment import Experiment
from server.federation.aggregation import Released, Update, gather
from server.run.rounds import RoundRecord

ROUNDS, WEIGHTS = 1800, 600  # heard of the noise; a million deviates and more of the sums
CLIPS = (1.0, 8.0, 1 / 8)  # times the experiment's, one after another
PLANNED = 5  # of whom three come
MORE, LESS = 1 + 1e-6, 1 - 1e-6  # of a clip
HUGE = 1e30
SILENT = 1e-24  # a variance of what has no noise

Floats = NDArray[np.float64]


def counting(experiment: Experiment, rounds: Sequence[RoundRecord] = ()) -> list[Check]:
    """All checks of it; none where the clip stays as it is."""
    if not experiment.budget.clip_quantile:
        return []
    heard = _Heard(experiment)
    return [heard.cost(), heard.law(), _votes(experiment), *_path(experiment, rounds)]


def _round(
    experiment: Experiment, clip: float, norms: Sequence[float], number: int, sigma: float | None
) -> tuple[float, Floats]:
    """The share that one round releases, and its mean [W], of updates of such norms.

    Args:
        sigma: another noise multiplier than the experiment's.
    """
    listening = Listening(experiment, at_work=False)
    before = {"w": np.zeros(WEIGHTS)}
    gathered = gather(listening.strategy, before, _job(experiment, clip, sigma), PLANNED)
    for at, size in enumerate(norms):
        sent = {"w": np.zeros(WEIGHTS)}
        sent["w"][at] = size
        gathered.add(Update(sent, 1, MetricRecord({"num-examples": 1}), Ledger(), 0))
    gathered.aggregate(number)
    assert isinstance(gathered, Released)
    ((mean,),) = listening.heard
    assert gathered.share is not None
    return gathered.share, mean["w"].numpy().astype(np.float64)


def _job(experiment: Experiment, clip: float, sigma: float | None) -> Job:
    changed = {"clip": clip} | ({} if sigma is None else {"noise_multiplier": sigma})
    budget = experiment.budget.model_copy(update=changed)
    return experiment.job.model_copy(update={"budget": budget})


def _most(quantile: float) -> float:
    """What one client moves of the sum of votes, at most."""
    return max(quantile, 1 - quantile)


class _Heard:
    """Noise of many rounds of nobody's updates, over what one client may move: of the count [R],
    and of the sum [R, W]."""

    def __init__(self, experiment: Experiment) -> None:
        budget = experiment.budget
        assert budget.noise_multiplier is not None
        self._sigma, self._quantile = budget.noise_multiplier, budget.clip_quantile
        count_R, sum_RW = np.empty(ROUNDS), np.empty((ROUNDS, WEIGHTS))
        for i in range(ROUNDS):
            clip = budget.clip * CLIPS[i % len(CLIPS)]
            share, mean_W = _round(experiment, clip, (), i + 1, None)
            count_R[i] = (share - self._quantile) * PLANNED / _most(self._quantile)
            sum_RW[i] = mean_W * PLANNED / clip
        self.count_R, self.sum_RW = count_R, sum_RW

    def cost(self) -> Check:
        """Do both releases cost what is charged for one, at each clip and over all?"""
        worst, measured, where = 1.0, 0.0, ""
        groups = [slice(k, None, len(CLIPS)) for k in range(len(CLIPS))]
        names = [f"clip x {factor:g}" for factor in CLIPS]
        for name, rows in zip([*names, "all rounds"], [*groups, slice(None)], strict=True):
            parts = [self._sigma**2 / _variance(a) for a in (self.sum_RW[rows], self.count_R[rows])]
            sizes = self.sum_RW[rows].size, self.count_R[rows].size
            spread = math.hypot(*(p * math.sqrt(2 / n) for p, n in zip(parts, sizes, strict=True)))
            p = float(norm.sf((sum(parts) - 1) / spread)) if math.isfinite(spread) else 0.0
            if p <= worst:
                worst, measured, where = p, sum(parts), name
        return Check(
            "noise of sum and count",
            worst > LEVEL / (len(CLIPS) + 1),
            f"together they cost {measured:.4f} of what is charged ({where}); p = {worst:.2g}",
            "1 or less, within what chance allows",
            "the count has no noise of its own, or too little; or the sum's is of another clip "
            "than the one that its updates were cut to; or was not raised for the count",
        )

    def law(self) -> Check:
        """Is the count's noise Gaussian, and no part of the sum's?"""
        deviation = math.sqrt(_variance(self.count_R))
        z_R = self.count_R / deviation
        found = misfits(z_R, 1 / (ONE * _most(self._quantile) * deviation))
        found.pop("variance")  # which it is measured by
        lengths_W = np.linalg.norm(self.sum_RW, axis=0).clip(SILENT)
        shared = np.abs(z_R @ self.sum_RW / lengths_W).max()  # each N(0, 1) if nothing is in common
        found["likeness to the sum's"] = min(1.0, WEIGHTS * 2 * float(norm.sf(shared)))
        again = abs(z_R[1:] @ z_R[:-1]) / math.sqrt(len(z_R))
        found["likeness to the last round's"] = 2 * float(norm.sf(again))
        name = min(found, key=lambda n: found[n])
        return Check(
            "noise of the count",
            found[name] > LEVEL / len(found),
            f"p = {found[name]:.2g} in what differs most ({name}), of {len(z_R):,} rounds",
            "Gaussian, and independent of the sum's, within what chance allows",
            "the count's noise has another law than was accounted for, or comes from the same key "
            "as the sum's, or from that of another round",
        )


def _variance(noise: Floats) -> float:
    return max(float(np.square(noise).mean()), SILENT)


def _votes(experiment: Experiment) -> Check:
    """Without noise: what does one client more move of the count, and does it count by the clip
    that cut its update?"""
    quantile, wrong, tried, worst = experiment.budget.clip_quantile, 0, 0, 0.0
    sizes = (0.0, 1e-3, LESS, MORE, HUGE, -LESS, -MORE, math.inf, math.nan)
    for factor in CLIPS:
        clip = experiment.budget.clip * factor
        for others in ((), (LESS,), (MORE, HUGE)):
            at = [size * clip for size in others]
            without, mean_W = _round(experiment, clip, at, 1, 0.0)
            for size in sizes:
                share, moved_W = _round(experiment, clip, [*at, size * clip], 1, 0.0)
                due = 1 - quantile if abs(size) <= 1 else -quantile
                wrong += abs((share - without) * PLANNED - due) > 1 / ONE
                tried += 1
                change = float(np.linalg.norm(moved_W - mean_W)) * PLANNED / clip
                worst = max(worst, change, abs(share - without) * PLANNED / _most(quantile))
    return Check(
        "votes",
        not wrong and worst <= MORE,
        f"{wrong} of {tried} votes are not those of the clip that cut the update; one client moves "
        f"{worst:.4f} of what the noise is made for",
        "none; 1 or less",
        "clients are counted by another clip than their updates were cut to, or more than once; or "
        "what is counted is more than yes or no",
    )


def _path(experiment: Experiment, rounds: Sequence[RoundRecord]) -> list[Check]:
    """Does each clip of a run follow from what the round before released?"""
    if not rounds:
        return []
    budget = due = experiment.budget
    wrong = []
    for record in rounds:
        told = record.clipping
        if not told or not math.isclose(told["clip"], due.clip, rel_tol=1e-12):
            wrong.append(record.round)
        due = after(budget, **told) if told else due
    return [
        Check(
            "clips",
            not wrong,
            f"{len(wrong)} of {len(rounds)} rounds have another clip than follows"
            + (f", round {wrong[0]} first" if wrong else ""),
            "none",
            "the clip was taken from norms that no noise was added to, or was altered",
        )
    ]
