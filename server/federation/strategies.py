"""Flower's own aggregation strategies: built, and remembered from round to round."""

import math

import numpy as np
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from privacy.dp.budget import Budget
from server.experiment.strategy import STRATEGIES, Strategy

Weights = dict[str, NDArray]

LEAST_CHANGE = 1e-12  # of a weight of zero; its square is still a number in float32


def build_strategy(strategy: Strategy, budget: Budget, learning_rate: float) -> flower.Strategy:
    """Flower's strategy, which takes whomever it is shown; under `unit = "client"` inside
    Flower's own central-DP wrapper (fixed clipping on the server)."""
    options = strategy.options
    if strategy.name == "qfedavg":
        options.setdefault("client_learning_rate", learning_rate)
    inner = STRATEGIES[strategy.name].kind(
        min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **options
    )
    if budget.unit != "client":
        return inner
    assert budget.noise_multiplier is not None
    return flower.DifferentialPrivacyServerSideFixedClipping(
        inner, budget.noise_multiplier, budget.clip, num_sampled_clients=1
    )


def is_linear(strategy: flower.Strategy) -> bool:
    """Does it use nothing of a cohort but the weighted mean of the updates?"""
    return any(type(strategy) is known.kind and known.linear for known in STRATEGIES.values())


def bounded(after: Weights, before: Weights, bound: float) -> Weights:
    """Weights whose change from `before` has at most the L2 norm `bound`, in the same direction."""
    changes = {n: after[n] - before[n] for n in after if after[n].dtype.kind == "f"}
    norm = math.sqrt(sum(float(np.square(c, dtype=np.float64).sum()) for c in changes.values()))
    if norm <= bound:
        return after
    scaled = {n: (before[n] + c * (bound / norm)).astype(c.dtype) for n, c in changes.items()}
    return {name: scaled.get(name, array) for name, array in after.items()}


def moved(after: Weights, before: Weights) -> Weights:
    """The weights, or where nothing changed, the least beside them: Flower's central clipping
    divides by the norm of the change, and one idle client would end the run."""
    if any((after[name] != before[name]).any() for name in after):
        return after
    name = next(n for n in after if after[n].dtype.kind == "f")
    nudged = after[name].copy()
    nudged.flat[0] += max(np.spacing(abs(nudged.flat[0])), LEAST_CHANGE)
    return {**after, name: nudged}


# What Flower's strategies remember from round to round; all that a resumed run must be told.
MEMORIES = ("momentum_vector", "m_t", "v_t")


def _innermost(strategy: flower.Strategy) -> flower.Strategy:
    return getattr(strategy, "strategy", strategy)


def memory(strategy: flower.Strategy) -> dict[str, NDArray]:
    """What a strategy remembers, as named arrays; lists are keyed by position."""
    arrays: dict[str, NDArray] = {}
    for name in MEMORIES:
        value = getattr(_innermost(strategy), name, None) or {}
        items = value.items() if isinstance(value, dict) else enumerate(value)
        arrays |= {f"{name}/{key}": np.ascontiguousarray(array) for key, array in items}
    return arrays


def remember(strategy: flower.Strategy, arrays: dict[str, NDArray]) -> None:
    """The inverse of `memory`."""
    for name in MEMORIES:
        mine = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(name + "/")}
        if mine:
            in_order = [mine[str(i)] for i in range(len(mine))] if "0" in mine else mine
            setattr(_innermost(strategy), name, in_order)
