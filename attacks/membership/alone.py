"""A finished model of which no shadows can be trained: nobody says how it was trained.

What is left is what it says of each record, by itself or beside models that had none of them. No
attack is chosen, so each is told; thresholds are chosen on one half of the records and tried on the
other.

Shapes: N records, K reference models, F features.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from attacks.leakage import Figure, Leakage, delong, measure
from attacks.membership.axes import principal_axes
from attacks.membership.scores import ATTACKS, Evidence, Scores
from attacks.tape import Bools, Floats

SURE = 1 - 2e-4
BY_ITSELF, BESIDE = ("loss",), ("calibrated", "rmia_offline")
MOST, AXES = 4000, 32  # records of either kind, and directions of them, looked at without the model


def scores_alone(phi: Floats, references: Sequence[Floats]) -> dict[str, Scores]:
    """Of each attack that applies, by name [N].

    Args:
        phi: the model's signals [N].
        references: those of models that had none of the records, each [N].
    """
    seen = np.stack(references) if references else np.empty((0, len(phi)), np.float32)
    evidence = Evidence(phi, seen, np.zeros(seen.shape, dtype=bool))
    names = (*BY_ITSELF, *(BESIDE if references else ()))
    return {name: ATTACKS[name](evidence) for name in names}


def measure_alone(
    name: str, scores: Scores, member: Bools, *, delta: float, seed: int = 0
) -> Leakage:
    """All figures of one attack; those that need a threshold on the half that did not choose it."""
    chooses = halves(member, seed)
    trial = [(scores[chooses], member[chooses])]
    tried = measure(name, scores[~chooses], member[~chooses], trials=trial, delta=delta, seed=seed)
    return replace(
        measure(name, scores, member, delta=delta, seed=seed),
        balanced_accuracy=tried.balanced_accuracy,
        epsilon=tried.epsilon,
    )


def halves(member: Bools, seed: int = 0) -> Bools:
    """A random half of members and of others [N]."""
    rng, half = np.random.default_rng(seed), np.zeros(len(member), dtype=bool)
    for kind in (member, ~member):
        rows = rng.permutation(np.flatnonzero(kind))
        half[rows[: len(rows) // 2]] = True
    return half


def without_model(x_NF: Tensor, y: Tensor, member: Bools, seed: int = 0) -> tuple[Figure, bool]:
    """AUC at which members are told from others by the records themselves, no model asked; and
    whether that is more than chance, which it is of one population in one case of 10,000.

    Above 0.5, the two kinds are not of one population, and an attack's figures are of that too
    (Das, Zhang and Tramer 2024). Trees on principal axes, fitted on one half, tried on the other.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(k))[:MOST] for k in (member, ~member)])
    x, inside = x_NF[torch.from_numpy(rows)], member[rows]
    x = x / x.abs().amax(0).clamp(min=1e-12)
    axes = principal_axes(x, min(AXES, *x.shape))
    targets = y[torch.from_numpy(rows)].reshape(len(rows), -1)[:, :AXES].numpy()
    features = np.concatenate([(x @ axes).numpy(), targets], 1)
    half, told = halves(inside, seed), np.zeros(len(rows))
    for fitted in (half, ~half):
        told[~fitted] = _fit(features[fitted], inside[fitted]).decision_function(features[~fitted])
    return delong(told, inside), delong(told, inside, SURE).low > 0.5


def _fit(features: NDArray, inside: Bools) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=0
    )
    with threadpool_limits(1):
        return trees.fit(features, inside)
