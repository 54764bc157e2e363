"""Optuna's multi-objective tree-structured Parzen estimator proposes (Ozaki et al. 2020).

Choices that are all numbers are told by their rank, so that what lies between two is known to.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from server.sweep.axes import Axis, Point
from server.sweep.proposals.told import Told, ranked


def estimated(
    axes: Sequence[Axis], told: Sequence[Told], objectives: int, startup: int, seeds: Sequence[int]
) -> Iterator[Point]:
    """A point from each seed.

    Args:
        startup: candidates that are drawn at random.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {axis.key: _distribution(axis) for axis in axes}
    study = optuna.create_study(directions=["maximize"] * objectives)
    for one in told:
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if one.scores is None else TrialState.COMPLETE,
                params={axis.key: _param(axis, one.point[axis.key]) for axis in axes},
                distributions=distributions,
                values=one.scores,
                constraints=dict(one.over),
            )
        )
    for seed in seeds:
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, multivariate=True
        )
        trial = study.ask(distributions)
        yield {axis.key: _label(axis, trial.params[axis.key]) for axis in axes}
        study.tell(trial, state=TrialState.FAIL)


def _distribution(axis: Axis) -> BaseDistribution:
    if ranks := ranked(axis):
        return IntDistribution(0, len(ranks) - 1)
    if not axis.range:
        return CategoricalDistribution(axis.labels)
    low, high, log = axis.range.low, axis.range.high, axis.range.log
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _param(axis: Axis, label: Any) -> Any:
    return ranks.index(label) if (ranks := ranked(axis)) else label


def _label(axis: Axis, param: Any) -> Any:
    return ranks[param] if (ranks := ranked(axis)) else param
