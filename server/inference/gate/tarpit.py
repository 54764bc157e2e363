"""Refusals come slower the more of them one identity has had: a flood of them costs its sender."""

import time
from collections import OrderedDict

AT_ONCE = 8  # refusals that come without delay
FORGOTTEN_PER_S = 1.0
STEP_S = 0.1  # each further one comes so much later
REMEMBERED = 10_000  # identities


class Tarpit:
    """A leaky bucket of refusals for each identity."""

    def __init__(self, most_s: float) -> None:
        """Args:
        most_s: the longest delay.
        """
        self._most_s = most_s
        self._had: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, when

    def delay_s(self, who: str) -> float:
        """Count one more refusal of `who`; how long it has to wait for its word."""
        now = time.monotonic()
        had, then = self._had.pop(who, (0.0, now))
        had = max(0.0, had - (now - then) * FORGOTTEN_PER_S) + 1
        self._had[who] = had, now
        if len(self._had) > REMEMBERED:
            self._had.popitem(last=False)
        return min(self._most_s, max(0.0, had - AT_ONCE) * STEP_S)
