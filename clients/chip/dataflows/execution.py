"""What running a nest on a chip comes to, before it is priced."""

from dataclasses import dataclass
from typing import NamedTuple


class Traffic(NamedTuple):
    """Words moved at one level. Partial sums count with the outputs."""

    inputs: float = 0
    weights: float = 0
    outputs: float = 0

    @property
    def words(self) -> float:
        """All of them."""
        return self.inputs + self.weights + self.outputs

    def times(self, factor: float) -> "Traffic":
        """The same, `factor` times."""
        return Traffic(self.inputs * factor, self.weights * factor, self.outputs * factor)


NOTHING = Traffic()


@dataclass(frozen=True, slots=True)
class Execution:
    """A nest on a chip.

    Attributes:
        cycles: of array and buffer together, DRAM apart.
        compute_cycles: what the multipliers alone would take.
        macs: multiply-accumulates done; zeros that are skipped are not done.
        active: processing elements at work.
        scratchpad, network, buffer, dram: words read or written at each level.
        events: others, by the name of their constant in [energy].
    """

    cycles: float
    compute_cycles: float
    macs: float
    active: float
    scratchpad: float = 0
    network: Traffic = NOTHING
    buffer: Traffic = NOTHING
    dram: Traffic = NOTHING
    events: tuple[tuple[str, float], ...] = ()
