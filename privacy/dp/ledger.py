"""The ledger of a data set: every noisy step ever computed on it, and the epsilon they add up to.

Participation of clients in rounds is never treated as subsampling: a server that sees who takes
part gains nothing from it to amplify. The accountant (`privacy.dp.accounting.prv`) is loaded when
it is asked.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

from privacy.documents import from_json, to_json
from privacy.dp.accounting.spent import Spent as Spent

FEW, SHORT = 4, 400  # entries, and bytes of their text, that are remembered; whoever sends them

# (sigma, q, delta, epsilon) -> a number of steps known to stay within epsilon
_WITHIN: dict[tuple[float, float, float, float], int] = {}


class Ledger:
    """All steps computed on one device's data, over all rounds.

    A step is charged before its result can leave the device; whether the result then arrives
    does not matter.
    """

    def __init__(self, entries: Iterable[Spent] = ()) -> None:
        self._spent: dict[tuple[float, float], Spent] = {}
        for e in entries:
            self.charge(e.noise_multiplier, e.sample_rate, e.steps, e.divergence)

    @property
    def entries(self) -> tuple[Spent, ...]:
        """What was spent, by mechanism, in a fixed order (composition is commutative)."""
        return tuple(self._spent[key] for key in sorted(self._spent))

    def charge(
        self,
        noise_multiplier: float,
        sample_rate: float,
        steps: int = 1,
        divergence: float = 0.0,
    ) -> None:
        """Write `steps` more steps down, and how far their noise is off: see `Spent`."""
        if steps < 0 or divergence < 0:
            raise ValueError("a ledger only grows")
        key = (float(noise_multiplier), float(sample_rate))
        if steps:
            had = self._spent.get(key, Spent(*key, 0))
            self._spent[key] = Spent(*key, had.steps + steps, had.divergence + divergence)

    def with_charge(
        self, noise_multiplier: float, sample_rate: float, steps: int, divergence: float = 0.0
    ) -> "Ledger":
        """A copy that has `steps` more steps."""
        ledger = Ledger(self.entries)
        ledger.charge(noise_multiplier, sample_rate, steps, divergence)
        return ledger

    def restore(self, other: "Ledger") -> None:
        """Take the greater count of each mechanism: a restored ledger can never forget."""
        for entry in other.entries:
            key = (entry.noise_multiplier, entry.sample_rate)
            had = self._spent.get(key, entry)
            most = max(had.steps, entry.steps), max(had.divergence, entry.divergence)
            self._spent[key] = Spent(*key, *most)

    def epsilon(self, delta: float) -> float:
        """The least epsilon that the accountant can prove at `delta`; inf without noise."""
        from privacy.dp.accounting.prv import epsilon_spent

        return epsilon_spent(self.entries, delta)

    def renyi_epsilon(self, delta: float) -> float:
        """The same by Renyi orders: looser, and true for discrete Gaussians where q = 1."""
        from privacy.dp.accounting.prv import renyi_epsilon

        return renyi_epsilon(self.entries, delta)

    def within(self, epsilon: float, delta: float) -> bool:
        """Is `epsilon(delta) <= epsilon`? What held for more like steps is not computed again."""
        entries = self.entries
        if len(entries) != 1 or entries[0].divergence:
            return self.epsilon(delta) <= epsilon
        key = (entries[0].noise_multiplier, entries[0].sample_rate, delta, epsilon)
        if entries[0].steps > _WITHIN.get(key, 0):
            if self.epsilon(delta) > epsilon:
                return False
            _WITHIN[key] = entries[0].steps
        return True

    def to_json(self) -> str:
        """`[[noise_multiplier, sample_rate, steps], ...]`, and a divergence where there is one."""
        entries = self.entries
        return _short(entries) if len(entries) <= FEW else _written(entries)

    @classmethod
    def from_json(cls, text: str) -> "Ledger":
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not a ledger.
        """
        return cls(_known(text) if len(text) <= SHORT else _read(text))


def row_of(entry: Spent) -> list[float]:
    """As it is written: of exact noise without its divergence, which is 0."""
    told = [entry.noise_multiplier, entry.sample_rate, entry.steps]
    return [*told, entry.divergence] if entry.divergence else told


def _written(entries: tuple[Spent, ...]) -> str:
    return to_json([row_of(entry) for entry in entries])


def _read(text: str) -> tuple[Spent, ...]:
    try:
        rows = [Spent(float(s), float(q), n, *map(float, d)) for s, q, n, *d in from_json(text)]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a ledger: {error}") from None
    for row in rows:
        whole = type(row.steps) is int and 0 <= row.steps < 1 << 53
        noise = 0 <= row.noise_multiplier < math.inf and 0 <= row.divergence < math.inf
        if not (whole and noise and 0 < row.sample_rate <= 1):
            raise ValueError("not a ledger: sigma, q, steps or divergence out of range")
    return tuple(rows)


# Once for all clients of a simulated cohort, most of whom have spent the same.
_short, _known = lru_cache(maxsize=256)(_written), lru_cache(maxsize=256)(_read)
