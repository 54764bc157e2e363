"""The ledger of a data set: every noisy step ever computed on it, and the epsilon they add up to.

Participation of clients in rounds is never treated as subsampling: a server that sees who takes
part gains nothing from it to amplify. The accountant (`privacy.dp.accounting.prv`) is loaded when
it is asked.
"""

import math
from collections.abc import Iterable

from privacy.documents import from_json, to_json
from privacy.dp.accounting.spent import Spent as Spent

# (sigma, q, delta, epsilon) -> a number of steps known to stay within epsilon
_WITHIN: dict[tuple[float, float, float, float], int] = {}


class Ledger:
    """All steps computed on one device's data, over all rounds.

    A step is charged before its result can leave the device; whether the result then arrives
    does not matter.
    """

    def __init__(self, entries: Iterable[Spent] = ()) -> None:
        self._steps: dict[tuple[float, float], int] = {}
        for entry in entries:
            self.charge(entry.noise_multiplier, entry.sample_rate, entry.steps)

    @property
    def entries(self) -> tuple[Spent, ...]:
        """What was spent, by mechanism, in a fixed order (composition is commutative)."""
        return tuple(Spent(s, q, n) for (s, q), n in sorted(self._steps.items()))

    def charge(self, noise_multiplier: float, sample_rate: float, steps: int = 1) -> None:
        """Write `steps` more steps down."""
        if steps < 0:
            raise ValueError("a ledger only grows")
        key = (float(noise_multiplier), float(sample_rate))
        if steps:
            self._steps[key] = self._steps.get(key, 0) + steps

    def with_charge(self, noise_multiplier: float, sample_rate: float, steps: int) -> "Ledger":
        """A copy that has `steps` more steps."""
        ledger = Ledger(self.entries)
        ledger.charge(noise_multiplier, sample_rate, steps)
        return ledger

    def restore(self, other: "Ledger") -> None:
        """Take the greater count of each mechanism: a restored ledger can never forget."""
        for entry in other.entries:
            key = (entry.noise_multiplier, entry.sample_rate)
            self._steps[key] = max(self._steps.get(key, 0), entry.steps)

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
        if len(entries) != 1:
            return self.epsilon(delta) <= epsilon
        key = (entries[0].noise_multiplier, entries[0].sample_rate, delta, epsilon)
        if entries[0].steps > _WITHIN.get(key, 0):
            if self.epsilon(delta) > epsilon:
                return False
            _WITHIN[key] = entries[0].steps
        return True

    def to_json(self) -> str:
        """`[[noise_multiplier, sample_rate, steps], ...]`"""
        return to_json([[sigma, q, n] for (sigma, q), n in sorted(self._steps.items())])

    @classmethod
    def from_json(cls, text: str) -> "Ledger":
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not a ledger.
        """
        try:
            rows = [Spent(float(s), float(q), n) for s, q, n in from_json(text)]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a ledger: {error}") from None
        for row in rows:
            whole = type(row.steps) is int and 0 <= row.steps < 1 << 53
            if not (whole and 0 <= row.noise_multiplier < math.inf and 0 < row.sample_rate <= 1):
                raise ValueError("not a ledger: sigma, q or steps out of range")
        return cls(rows)
