"""All checks of a step that is not ours, together."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from attacks.audit.canaries import Bound
from attacks.audit.steps import heard, moved
from attacks.audit.steps.asking import Asked, Stopped, Told
from attacks.audit.steps.checks import ALL, STATES, Check, accounting, epsilon_claimed
from attacks.audit.steps.claims import Claims, Make, options_of
from attacks.audit.steps.games import canaries, twins

Game = Callable[[Asked, float], tuple[list[Bound], Check]]
CHECKS: dict[str, Callable[[Asked], Check]] = {
    "steadiness": moved.steadiness,
    "noise": heard.noise_law,
    "repetition": heard.repetition,
    "sensitivity": moved.sensitivity,
    "additivity": moved.additivity,
    "sampling": moved.sampling,
    "empty batches": heard.empty_batches,
    "overflow": heard.overflow,
    "steps": heard.total_noise,
}
OF_STILL = ("sensitivity", "additivity", "sampling")
UNSTEADY = "what follows the seed cannot be told from what a record does: see steadiness"
CALLS = {"canaries": 230, "twins": 355}  # about how many an audit takes, beside one a canary


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


def audit_step(make: Make, claims: Claims, seed: int = 0, tell: Told | None = None) -> Found:
    """Audit a training step that is not privet's.

    Args:
        make: `make(records, labels, seed, **options)` trains on records [N, ...] and labels [N]
            (numpy), from the same first weights whatever the seed, and returns what is released:
            arrays by name, such as the weights less the first ones. It may take the options
            `noise_multiplier`, `sample_rate` and `steps`, which the auditor turns; what it does
            not take leaves some checks impossible.
        claims: what is claimed, with some records for it.
        tell: is told after each call how many there were, and the seconds that they took.

    Raises:
        SettingsError: the function returns something else.
    """
    asked = Asked(make, claims, seed, tell)
    epsilon = claims.epsilon
    if epsilon is None:
        epsilon = epsilon_claimed(claims)
    checks: list[Check] = []
    for name, check in CHECKS.items():
        still = not checks or checks[0].state != STATES[1]
        whole = still or name not in OF_STILL
        checks.append(_made(name, check, asked) if whole else Check(name, STATES[3], UNSTEADY))
    checks.append(accounting(claims))
    game = _game_of(make, claims)
    proven: list[Bound] = []
    try:
        proven, judged = game(asked, epsilon)
    except Stopped as stopped:
        judged = Check(game.__name__, STATES[3], str(stopped))
    return Found(
        (*checks, judged), tuple(proven), epsilon, claims.delta, claims.unit, claims.neighbours,
        asked.calls,
    )  # fmt: skip


def calls_of(make: Make, claims: Claims) -> int:
    """About how often an audit calls the function."""
    game = _game_of(make, claims)
    return CALLS[game.__name__] + len(claims.records) * (game is canaries)


def _game_of(make: Make, claims: Claims) -> Game:
    alone = claims.neighbours == ALL or "noise_multiplier" not in options_of(make)
    return twins if alone else canaries


def _made(name: str, check: Callable[[Asked], Check], asked: Asked) -> Check:
    """A check, or that the function stopped in it."""
    try:
        return check(asked)
    except Stopped as stopped:
        return Check(name, STATES[3], str(stopped))
