"""What is claimed of a step that is not ours, and what can be asked of it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        """Raises SettingsError, which names what is wrong."""
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
        for name, low, high in (("noise_multiplier", 0.0, 1e6), ("sample_rate", 0.0, 1.0),
                                ("steps", 1, 10**7), ("epsilon", 0.0, 1e6), ("delta", 0.0, 1.0),
                                ("momentum", 0.0, 1.0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SettingsError(f"claims: {name} = {value}: not between {low:g} and {high:g}")


def options_of(make: Make) -> frozenset[str]:
    """Which of `OPTIONS` a function takes by name."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return frozenset(OPTIONS)
    return frozenset(one.name for one in parameters) & frozenset(OPTIONS)
