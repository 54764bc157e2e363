"""Membership inference on models: was this record trained on?

Every attack is a function of `Evidence` to a score a record, larger for members. Which one is
reported is chosen on the shadows, each taken for the target in turn, never on the target.

Shapes: K shadows, N candidates, R snapshots, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from attacks.leakage import auc, tpr_at
from attacks.membership.shadows import Shadows
from attacks.membership.signals import confidence
from attacks.tape import Bools, Floats

OFFLINE = 0.3  # RMIA's a: p(x) = ((1 + a) p_out(x) + 1 - a) / 2
MAX_ROWS = 60_000  # that the learned attack is fitted on
MIN_SHADOWS = 4

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The target's signals (scaled logits, where there are classes) [N], and those of reference
    models with their members [K, N]."""

    target: Floats
    phi: Floats
    member: Bools

    @cached_property
    def mean_in(self) -> Scores:
        """Mean over the models that had the record."""
        return self._mean(self.phi, self.member)

    @cached_property
    def mean_out(self) -> Scores:
        """Mean over the models that did not."""
        return self._mean(self.phi, ~self.member)

    @cached_property
    def spread(self) -> tuple[float, float]:
        """Standard deviation around `mean_in` and `mean_out`, over all records: few shadows do
        not tell that of one record (Carlini et al. 2022, section VI-C)."""
        inside = (self.phi - self.mean_in)[self.member]
        outside = (self.phi - self.mean_out)[~self.member]
        lost = max(1, len(self.phi) / 2) / max(1, len(self.phi) / 2 - 1)  # degrees of freedom
        return tuple(  # type: ignore[return-value]
            float(np.sqrt(np.mean(x.astype(np.float64) ** 2) * min(lost, 2.0))) + 1e-9
            for x in (inside, outside)
        )

    @cached_property
    def mean_confidence(self) -> tuple[Scores, Scores]:
        """Mean p_y over the models with, and over those without the record."""
        p = confidence(self.phi)
        return self._mean(p, self.member), self._mean(p, ~self.member)

    @staticmethod
    def _mean(values: NDArray, chosen: Bools) -> Scores:
        return (values * chosen).sum(0, dtype=np.float64) / np.maximum(chosen.sum(0), 1)


Attack = Callable[[Evidence], Scores]


def loss(e: Evidence) -> Scores:
    """The loss alone, in the order of p_y (Yeom et al. 2018)."""
    return e.target.astype(np.float64)


def calibrated(e: Evidence) -> Scores:
    """Against the mean of models without the record (Watson et al. 2022)."""
    return e.target - e.mean_out


def lira_online(e: Evidence) -> Scores:
    """Likelihood ratio of two normals (Carlini et al. 2022, algorithm 1)."""
    inside, outside = e.spread
    return norm.logpdf(e.target, e.mean_in, inside) - norm.logpdf(e.target, e.mean_out, outside)


def lira_offline(e: Evidence) -> Scores:
    """How far in the tail of the normal of models without it (Carlini et al. 2022, eq. 4)."""
    return (e.target - e.mean_out) / e.spread[1]


def rmia_online(e: Evidence) -> Scores:
    """log p(x | target) / p(x) (Zarifzadeh et al. 2024).

    The paper counts the reference records whose ratio is less; that count has the order of the
    ratio itself, save that it ties at 1.0, where a false positive rate of 1 % is decided.
    """
    inside, outside = e.mean_confidence
    return np.log(confidence(e.target) / ((inside + outside) / 2))


def rmia_offline(e: Evidence) -> Scores:
    """As `rmia_online`, p(x) taken from the models without the record (section 3.3)."""
    outside = e.mean_confidence[1]
    return np.log(confidence(e.target) / (((1 + OFFLINE) * outside + 1 - OFFLINE) / 2))


ATTACKS: dict[str, Attack] = {
    "loss": loss,
    "calibrated": calibrated,
    "lira_online": lira_online,
    "lira_offline": lira_offline,
    "rmia_online": rmia_online,
    "rmia_offline": rmia_offline,
}
LEARNED = "learned"


def features(e: Evidence) -> NDArray[np.float32]:
    """What the learned attack reads of each record, [N, F]."""
    inside, outside = e.mean_confidence
    columns = [
        *(attack(e) for attack in ATTACKS.values()),
        e.mean_in,
        e.mean_out,
        e.target - e.mean_in,
        np.log(inside),
        np.log(outside),
        np.log(confidence(e.target)),
        np.sqrt(e._mean((e.phi - e.mean_out) ** 2, ~e.member)),
    ]
    return np.stack(columns, 1).astype(np.float32)


class Portfolio:
    """All attacks, ready for any target trained as the shadows were.

    Args:
        shadows: at least `MIN_SHADOWS`.
        rounds: the adversary saw the global model after every snapshot, not the last alone.
        seed: of what is drawn to fit the learned attack.
    """

    def __init__(self, shadows: Shadows, rounds: bool, seed: int = 0) -> None:
        if len(shadows) < MIN_SHADOWS:
            raise ValueError(f"{len(shadows)} shadows: at least {MIN_SHADOWS} are needed")
        self.members = shadows.member
        self._signals = [_signal(shadows.phi[k], rounds) for k in range(len(shadows))]
        self._rng = np.random.default_rng(seed)
        self.trials = self._trials()

    def scores(self, phi_RN: Floats) -> dict[str, Scores]:
        """Every attack's score of every candidate, for a target's scaled logits."""
        return self._attack(_signal(phi_RN, len(self._signals[0]) > 1), range(len(self.members)))

    def choose(self, key: str) -> str:
        """The attack with the highest mean `auc` or `tpr` over the shadows."""
        measure = {"auc": auc, "tpr": lambda s, m: tpr_at(s, m, 0.01)}[key]
        means = {
            name: np.mean([measure(s, m) for s, m in zip(trials, self.members, strict=True)])
            for name, trials in self.trials.items()
        }
        return max(means, key=lambda name: means[name])

    def _attack(self, signal: list[Floats], others: Sequence[int]) -> dict[str, Scores]:
        evidence = self._evidence(signal, others)
        found = {name: attack(evidence[-1]) for name, attack in ATTACKS.items()}
        found[LEARNED] = _decide(self._model, evidence)
        return found

    def _evidence(self, signal: list[Floats], others: Sequence[int]) -> list[Evidence]:
        return [
            Evidence(s, np.stack([self._signals[k][i] for k in others]), self.members[others])
            for i, s in enumerate(signal)
        ]

    def _trials(self) -> dict[str, list[Scores]]:
        """Each shadow attacked with the others, without its own pair: the scores by attack."""
        num = len(self.members)
        trials: dict[str, list[Scores]] = {name: [] for name in (*ATTACKS, LEARNED)}
        rows = []
        for k in range(num):
            others = [i for i in range(num) if i // 2 != k // 2]
            evidence = self._evidence(self._signals[k], others)
            for name, attack in ATTACKS.items():
                trials[name].append(attack(evidence[-1]))
            rows.append(np.concatenate([features(e) for e in evidence], 1))
        # The learned attack is tried on pairs that it was not fitted on.
        folds = [np.flatnonzero(np.arange(num) // 2 % 2 == fold) for fold in (0, 1)]
        tried: dict[int, Scores] = {}
        for held, fitted in (folds, folds[::-1]):
            model = self._fit([rows[k] for k in fitted], self.members[fitted])
            tried |= {k: model.decision_function(rows[k]) for k in held}
        trials[LEARNED] = [tried[k] for k in range(num)]
        self._model = self._fit(rows, self.members)
        return trials

    def _fit(self, rows: list[NDArray], member: Bools) -> Any:
        x, y = np.concatenate(rows), member.ravel()
        if len(x) > MAX_ROWS:
            chosen = self._rng.choice(len(x), MAX_ROWS, replace=False)
            x, y = x[chosen], y[chosen]
        model = HistGradientBoostingClassifier(
            max_iter=120,
            learning_rate=0.06,
            max_leaf_nodes=15,
            min_samples_leaf=min(100, max(5, len(x) // 50)),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=0,
        )
        with threadpool_limits(1):  # its threads wait for one another more than they work
            return model.fit(x, y)


def _signal(phi_RN: Floats, rounds: bool) -> list[Floats]:
    """What is looked at: the end, and the mean over the snapshots for who saw them."""
    return [phi_RN[-1], phi_RN.mean(0)] if rounds else [phi_RN[-1]]


def _decide(model: Any, evidence: list[Evidence]) -> Scores:
    with threadpool_limits(1):
        return model.decision_function(np.concatenate([features(e) for e in evidence], 1))
