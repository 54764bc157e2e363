"""[strategy]: Flower's own aggregation strategies, by name."""

import math
from typing import Any, NamedTuple

import numpy as np
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from privacy.dp.budget import Budget
from privacy.settings import Section, suggest

Weights = dict[str, NDArray]


class Known(NamedTuple):
    """A Flower strategy, those of our settings that it takes, and whether all it uses of a cohort
    is the weighted mean of its updates."""

    kind: type[flower.FedAvg]
    options: tuple[str, ...] = ()
    linear: bool = True


LEAST_CHANGE = 1e-12  # of a weight of zero; its square is still a number in float32
_ADAPTIVE = ("eta", "eta_l", "tau")

STRATEGIES: dict[str, Known] = {
    "fedavg": Known(flower.FedAvg),
    "fedavgm": Known(flower.FedAvgM, ("server_learning_rate", "server_momentum")),
    "fedprox": Known(flower.FedProx, ("proximal_mu",)),
    "fedadam": Known(flower.FedAdam, (*_ADAPTIVE, "beta_1", "beta_2")),
    "fedyogi": Known(flower.FedYogi, (*_ADAPTIVE, "beta_1", "beta_2")),
    "fedadagrad": Known(flower.FedAdagrad, _ADAPTIVE),
    "fedmedian": Known(flower.FedMedian, (), False),
    "fedtrimmedavg": Known(flower.FedTrimmedAvg, ("beta",), False),
    "krum": Known(flower.Krum, ("num_malicious_nodes",), False),
    "multikrum": Known(flower.MultiKrum, ("num_malicious_nodes", "num_nodes_to_select"), False),
    "bulyan": Known(flower.Bulyan, ("num_malicious_nodes",), False),
    "qfedavg": Known(flower.QFedAvg, ("client_learning_rate", "q"), False),
}


class Strategy(Section):
    """How the server combines what clients send. An option left out takes Flower's own default.

    Attributes:
        name: a key of `STRATEGIES`.
        server_learning_rate, server_momentum: fedavgm (Hsu et al. 2019).
        proximal_mu: fedprox (Li et al. 2020).
        eta, eta_l, tau, beta_1, beta_2: fedadam, fedyogi, fedadagrad (Reddi et al. 2021).
        beta: share cut from each end by fedtrimmedavg (Yin et al. 2018).
        num_malicious_nodes, num_nodes_to_select: krum, multikrum (Blanchard 2017), bulyan (2018).
        client_learning_rate, q: qfedavg (Li et al. 2020).
        norm_bound: with any: an update of a larger L2 norm is scaled down to it before anything
            else (Sun et al. 2019), so that no client moves the mean by more than its share.
    """

    name: str = "fedavg"
    server_learning_rate: float | None = Field(default=None, gt=0)
    server_momentum: float | None = Field(default=None, ge=0, lt=1)
    proximal_mu: float | None = Field(default=None, ge=0)
    eta: float | None = Field(default=None, gt=0)
    eta_l: float | None = Field(default=None, gt=0)
    tau: float | None = Field(default=None, gt=0)
    beta_1: float | None = Field(default=None, ge=0, lt=1)
    beta_2: float | None = Field(default=None, ge=0, lt=1)
    beta: float | None = Field(default=None, ge=0, lt=0.5)
    num_malicious_nodes: int | None = Field(default=None, ge=0)
    num_nodes_to_select: int | None = Field(default=None, ge=1)
    client_learning_rate: float | None = Field(default=None, gt=0)
    q: float | None = Field(default=None, ge=0)
    norm_bound: float | None = Field(default=None, gt=0)

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError(f"unknown strategy{suggest(name, STRATEGIES)}")
        return name

    @model_validator(mode="after")
    def _options_fit(self) -> "Strategy":
        known = STRATEGIES[self.name].options
        for option in self.options:
            if option not in known:
                raise ValueError(f"{self.name} has no {option}{suggest(option, known or ['none'])}")
        if self.name == "fedprox" and self.proximal_mu is None:
            raise ValueError("fedprox needs proximal_mu, 0.01 to 1 as a rule")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What was set, for the strategy's constructor."""
        return self.model_dump(exclude={"name", "norm_bound"}, exclude_none=True)


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
