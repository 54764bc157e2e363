"""[strategy]: how the server combines what clients send, by name."""

from typing import Annotated, Any, NamedTuple

from pydantic import Field, field_validator, model_validator

from privacy.settings import Range, Section, suggest


class Known(NamedTuple):
    """A Flower strategy by the name of its class, those of our settings that it takes, and whether
    all it uses of a cohort is the weighted mean of its updates."""

    kind: str
    options: tuple[str, ...] = ()
    linear: bool = True


_ADAPTIVE = ("eta", "eta_l", "tau")

STRATEGIES: dict[str, Known] = {
    "fedavg": Known("FedAvg"),
    "fedavgm": Known("FedAvgM", ("server_learning_rate", "server_momentum")),
    "fedprox": Known("FedProx", ("proximal_mu",)),
    "fedadam": Known("FedAdam", (*_ADAPTIVE, "beta_1", "beta_2")),
    "fedyogi": Known("FedYogi", (*_ADAPTIVE, "beta_1", "beta_2")),
    "fedadagrad": Known("FedAdagrad", _ADAPTIVE),
    "fedmedian": Known("FedMedian", (), False),
    "fedtrimmedavg": Known("FedTrimmedAvg", ("beta",), False),
    "krum": Known("Krum", ("num_malicious_nodes",), False),
    "multikrum": Known("MultiKrum", ("num_malicious_nodes", "num_nodes_to_select"), False),
    "bulyan": Known("Bulyan", ("num_malicious_nodes",), False),
    "qfedavg": Known("QFedAvg", ("client_learning_rate", "q"), False),
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
    proximal_mu: Annotated[float, Range(1e-9, 1e6, or_zero=True)] | None = None
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
