"""Flower's own aggregation strategies: built, and remembered from round to round."""

import math
from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from server.experiment.strategy import STRATEGIES, Strategy

Weights = dict[str, NDArray]


def build_strategy(strategy: Strategy, learning_rate: float) -> flower.Strategy:
    """Flower's strategy, which takes whomever it is shown. It sees no budget: under
    `unit = "client"` it receives what has been released (server.federation.aggregation)."""
    options = strategy.options
    if strategy.name == "qfedavg":
        options.setdefault("client_learning_rate", learning_rate)
    return getattr(flower, STRATEGIES[strategy.name].kind)(
        min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **options
    )


def configure(
    strategy: flower.Strategy, number: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
) -> list[Message]:
    """The messages of round `number`, to train from `arrays`.

    FedAvgM would go on from weights of its own, in float64; a resumed run has those that were
    written. So that both are one run, every round begins at the weights that are sent.
    """
    if hasattr(strategy, "current_arrays"):
        strategy.current_arrays = None
    return list(strategy.configure_train(number, arrays, config, grid))


def is_linear(strategy: flower.Strategy) -> bool:
    """Does it use nothing of a cohort but the weighted mean of the updates?"""
    linear = [getattr(flower, known.kind) for known in STRATEGIES.values() if known.linear]
    return type(strategy) in linear


def bounded(after: Mapping[str, NDArray], before: Weights, bound: float) -> Weights:
    """Weights whose change from `before` has at most the L2 norm `bound`, in the same direction."""
    changes = {n: after[n] - before[n] for n in after if after[n].dtype.kind == "f"}
    norm = math.sqrt(sum(float(np.square(c, dtype=np.float64).sum()) for c in changes.values()))
    if norm <= bound:
        return dict(after)
    scaled = {n: (before[n] + c * (bound / norm)).astype(c.dtype) for n, c in changes.items()}
    return {name: scaled.get(name, array) for name, array in after.items()}


# What Flower's strategies remember from round to round; all that a resumed run must be told.
MEMORIES = ("momentum_vector", "m_t", "v_t")


def memory(strategy: flower.Strategy) -> dict[str, NDArray]:
    """What a strategy remembers, as named arrays; lists are keyed by position."""
    arrays: dict[str, NDArray] = {}
    for name in MEMORIES:
        value = getattr(strategy, name, None) or {}
        items = value.items() if isinstance(value, dict) else enumerate(value)
        arrays |= {f"{name}/{key}": np.asarray(array, order="C") for key, array in items}
    return arrays


def remember(strategy: flower.Strategy, arrays: dict[str, NDArray]) -> None:
    """The inverse of `memory`."""
    for name in MEMORIES:
        mine = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(name + "/")}
        if mine:
            in_order = [mine[str(i)] for i in range(len(mine))] if "0" in mine else mine
            setattr(strategy, name, in_order)
