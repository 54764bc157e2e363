"""What is claimed of a step that is not ours, and what can be asked of it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SettingsError
from privacy.settings import suggest

Release = Mapping[str, NDArray]
Make = Callable[..., Release]  # (records [N, ...], labels [N], seed, **OPTIONS) -> what is released

NEIGHBOURS = ("add or remove", "replace", "replace all")
DIVISORS = ("batch", "records", "nothing")
# What a function may let an auditor turn; each check says which of them it needs.
OPTIONS = ("noise_multiplier", "sample_rate", "steps")


@dataclass(frozen=True, eq=False)
class Claims:
    """What is claimed.

    Attributes:
        records, labels: some, as the step takes them [N, ...], [N]. They are the canaries too: the
            less alike their gradients, the more canaries prove.
        noise_multiplier: noise deviation over the clipping norm.
        sample_rate: of Poisson sampling. steps: noisy ones of the whole training.
        epsilon, delta: at the end; None: what the three above come to.
        unit: of privacy, told in the verdict.
        neighbours: `add or remove` one record, or `replace` one, which may move twice as far; or
            `replace all`: the records are one party's, and what they give need not add up.
        divided: by what a sum over records was, before it was released: the `batch` that is
            expected (rate times records), the number of `records`, or `nothing`. It is taken to be
            public.
        momentum: of the optimizer: noise of one step is in the next ones too.
        learning_rates: of the steps [steps], where they are not all the same.
    """

    records: NDArray
    labels: NDArray
    noise_multiplier: float | None = None
    sample_rate: float | None = None
    steps: int | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    unit: str = "record"
    neighbours: str = "add or remove"
    divided: str = "batch"
    momentum: float = 0.0
    learning_rates: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError, which names what is wrong."""
        for name in ("records", "labels"):
            try:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
            except (TypeError, ValueError) as error:
                raise SettingsError(f"claims: {name}: no array: {error}") from None
        if self.records.dtype.kind not in "biuf" or not np.isfinite(self.records).all():
            raise SettingsError(
                "claims: records: must be finite numbers, one array [N, ...]; what else the step "
                "reads, it must make of them itself"
            )
        if len(self.records) != len(self.labels) or len(self.records) < 2:
            raise SettingsError(
                f"claims: {len(self.records)} records and {len(self.labels)} labels; give as many "
                "of each, and two or more"
            )
        for name, known in (("neighbours", NEIGHBOURS), ("divided", DIVISORS)):
            if getattr(self, name) not in known:
                said = getattr(self, name)
                raise SettingsError(f"claims: {name} = {said!r}{suggest(str(said), known)}")
        if self.epsilon is None and None in (self.noise_multiplier, self.sample_rate, self.steps):
            raise SettingsError(
                "claims: say epsilon, or noise_multiplier, sample_rate and steps, which come to one"
            )
        for name, low, high in (("noise_multiplier", 1e-9, 1e6), ("sample_rate", 1e-9, 1.0),
                                ("steps", 1, 10**7), ("epsilon", 0.0, 1e6), ("delta", 0.0, 1.0),
                                ("momentum", 0.0, 1.0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SettingsError(f"claims: {name} = {value}: not between {low:g} and {high:g}")
        rates = self.learning_rates
        if rates is not None and (len(rates) != self.steps or not np.all(np.asarray(rates) > 0)):
            raise SettingsError("claims: learning_rates: one for each of steps, more than 0")

    @property
    def alike(self) -> bool:
        """Is each step's noise added as the first one's is?"""
        return self.momentum == 0 and self.learning_rates is None

    @property
    def weight_of_steps(self) -> float:
        """The noise of the whole training, in variances of the first step's."""
        if self.learning_rates is None:
            return float(self.steps or 0)
        return float(np.sum((np.asarray(self.learning_rates) / self.learning_rates[0]) ** 2))


def options_of(make: Make) -> frozenset[str]:
    """Which of `OPTIONS` a function takes by name."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return frozenset(OPTIONS)
    return frozenset(one.name for one in parameters) & frozenset(OPTIONS)
