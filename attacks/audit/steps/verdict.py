"""All checks of a step that is not ours, together."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from attacks.audit.canaries import Bound
from attacks.audit.steps.asking import Asked, Stopped
from attacks.audit.steps.checks import ALL, CHECKS, STATES, Check, epsilon_claimed
from attacks.audit.steps.claims import Claims, Make
from attacks.audit.steps.games import canaries, twins


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        epsilon: what is claimed, or what is claimed comes to.
        bounds: lower bounds of it at 95 % confidence.
        calls: of the function.
    """

    checks: tuple[Check, ...]
    bounds: tuple[Bound, ...]
    epsilon: float
    delta: float
    unit: str
    neighbours: str
    calls: int

    @property
    def passed(self) -> bool:
        """Did no check fail, and was any made?"""
        made = Counter(check.state for check in self.checks)
        return made[STATES[0]] > 0 and not made[STATES[1]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, **asdict(self)}


def audit_step(make: Make, claims: Claims, seed: int = 0) -> Found:
    """Audit a training step that is not privet's.

    Args:
        make: `make(records, labels, seed, **options)` trains on records [N, ...] and labels [N]
            (numpy), from the same first weights whatever the seed, and returns what is released:
            arrays by name, such as the weights less the first ones. It may take the options
            `noise_multiplier`, `sample_rate` and `steps`, which the auditor turns; what it does
            not take leaves some checks impossible.
        claims: what is claimed, with some records for it.

    Raises:
        SettingsError: the function returns something else.
    """
    asked = Asked(make, claims, seed)
    epsilon = claims.epsilon
    if epsilon is None:
        epsilon = epsilon_claimed(claims)
    checks = [_made(check, asked) for check in CHECKS]
    alone = claims.neighbours == ALL or "noise_multiplier" not in asked.options
    game = twins if alone else canaries
    proven: list[Bound] = []
    try:
        proven, judged = game(asked, epsilon)
    except Stopped as stopped:
        judged = Check(game.__name__, STATES[3], str(stopped))
    return Found(
        (*checks, judged), tuple(proven), epsilon, claims.delta, claims.unit, claims.neighbours,
        asked.calls,
    )  # fmt: skip


def _made(check: Callable[[Asked], Check], asked: Asked) -> Check:
    """A check, or that the function stopped in it."""
    try:
        return check(asked)
    except Stopped as stopped:
        return Check(check.__name__.replace("_", " "), STATES[3], str(stopped))
