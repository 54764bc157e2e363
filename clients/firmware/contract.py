"""What a device promises, in numbers: fixed at export, compiled in, and named by its hash."""

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from clients.firmware.net import Dense, Words
from clients.firmware.numbers.tables import LEAST_BITS, MOST_BITS, divergence
from clients.firmware.plan import CONV, Plan
from privacy.documents import to_json
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import ModelError, SettingsError

VERSION = 2
ACTIVATION_SCALE, MOST_ACTIVATION = 64, 4095
MARGIN = 1 - 2.0**-10  # of a record's factors: what float32 may be off, so that few are left out
MOST_SENSITIVITY = 1 << 23
BATCHES = 4  # times the expected batch, whose sum may not wrap
FLAGS = ("-O2", "-ffp-contract=off", "-fno-math-errno", "-ffreestanding", "-fomit-frame-pointer")

f4 = np.float32


class Rows(NamedTuple):
    """A layer's weights [outputs, row], none of a norm in words; then biases."""

    outputs: int
    row: int
    has_words: bool


def rows_of(sizes: tuple[int, ...], plan: Plan | None) -> tuple[Rows, ...]:
    """Of the layers that have weights, in their order.

    Args:
        sizes: of a perceptron. `plan`: of any other net.
    """
    if plan is None:
        return tuple(Rows(o, i, True) for i, o in pairwise(sizes))
    trained = (one for one in plan if one.row)
    return tuple(Rows(one.outputs[0], one.row, one.kind == CONV) for one in trained)


@dataclass(frozen=True)
class Contract:
    """Public, all of it.

    Attributes:
        sizes: inputs, hidden units, classes.
        scale: the whole number that stands for 1 in a record's inputs.
        noise_bits: sigma = 2^noise_bits grid units.
        sensitivity: S, of the sum to one record, in grid units: floor(sigma / noise_multiplier).
        clip: what S stands for.
        sample_rate: q in 2^-32. `expected_batch`: by which a sum is divided.
        most_steps: the owner's limit; `epsilon`, `delta`: what they cost at most.
        distance: total variation of all noise drawn, charged to delta: sqrt(divergence / 2).
        numbers: of an arithmetic of words; None is float32.
        plan: the layers of what is no perceptron; `sizes` are then its inputs and classes.
    """

    sizes: tuple[int, ...]
    scale: int
    noise_bits: int
    sensitivity: int
    noise_multiplier: float
    clip: float
    learning_rate: float
    sample_rate: int
    expected_batch: float
    most_steps: int
    epsilon: float
    delta: float
    distance: float
    numbers: Words | None = None
    plan: Plan | None = None

    @property
    def num_weights(self) -> int:
        """Biases included."""
        return sum((one.row + 1) * one.outputs for one in self.rows)

    @property
    def rows(self) -> tuple[Rows, ...]:
        """Of the layers that have weights, in the order of their weights."""
        return rows_of(self.sizes, self.plan)

    @property
    def divergence(self) -> float:
        """Of a step's noise: see `privacy.dp.ledger.Spent`."""
        return divergence(self.num_weights, self.noise_bits)

    @property
    def num_layers(self) -> int:
        """Those of the C's table."""
        return len(self.sizes) - 1 if self.plan is None else len(self.plan)

    @property
    def num_products(self) -> int:
        """Of a forward pass."""
        if self.plan is not None:
            return sum(layer.row * math.prod(layer.outputs) for layer in self.plan)
        return sum(i * o for i, o in pairwise(self.sizes))

    @property
    def num_units(self) -> int:
        """Outputs of all layers."""
        return sum(self.sizes[1:])

    @property
    def ones(self) -> tuple[int, ...]:
        """What stands for 1 in each layer's inputs."""
        return (self.scale, *(ACTIVATION_SCALE for _ in self.sizes[2:]))

    @property
    def factors(self) -> tuple[np.float32, ...]:
        """From a unit's gradient to whole numbers, of each layer."""
        return tuple(f4(self.sensitivity / self.clip / one * MARGIN) for one in self.ones)

    @property
    def factor(self) -> np.float32:
        """From a unit's gradient to grid units."""
        return f4(self.sensitivity / self.clip * MARGIN)

    @property
    def one_weight(self) -> int:
        """A weight of 1, in units of `rate`."""
        return math.floor(1 / float(self.rate))

    @property
    def rate(self) -> np.float32:
        """What a grid unit of the noisy sum moves a weight."""
        return f4(self.learning_rate * self.clip / (self.sensitivity * self.expected_batch))

    @property
    def clip_squared(self) -> np.float32:
        """As it is compared with."""
        return f4(f4(self.clip) * f4(self.clip))

    @property
    def ledger_bytes(self) -> int:
        """Of each of its two areas."""
        return 32 * (self.most_steps + 1)

    @cached_property
    def id(self) -> bytes:
        """24 bytes: with them the ledger's chain begins."""
        return hashlib.sha256(to_json(self.as_dict()).encode()).digest()[:24]

    def as_dict(self) -> dict[str, Any]:
        """For contract.json."""
        return {"version": VERSION, **asdict(self), "sizes": list(self.sizes)}


def agree(
    layers: tuple[Dense, ...],
    *,
    scale: int,
    noise_multiplier: float,
    clip: float,
    learning_rate: float,
    sample_rate: float,
    num_records: int,
    steps: int,
    epsilon: float | None,
    delta: float,
    numbers: Words | None = None,
    plan: Plan | None = None,
) -> Contract:
    """The contract for a net, and a plan that was priced for a device's own records.

    Args:
        scale: of the inputs.
        num_records: nominal, of one device.
        steps: that were planned; fewer are allowed if `epsilon` ends before.
        epsilon: the owner's limit; None takes what the planned steps cost.
        numbers: of an arithmetic of words; None is float32.
        plan: the layers of what is no perceptron.

    Raises:
        SettingsError: nothing is left after the noise's own distance.
        ModelError: sums of so many clips do not fit into 32 bits.
    """
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    if plan is not None:
        sizes = (math.prod(plan[0].inputs), plan[-1].outputs[0])
    num = sum(w.size + len(b) for w, b in layers)
    expected = sample_rate * num_records
    bits = MOST_BITS
    per_unit = clip * learning_rate / expected if numbers else math.inf
    while not _fits(bits, noise_multiplier, expected, per_unit):
        bits -= 1
        if bits < LEAST_BITS:
            raise ModelError(
                f"--to c: sums of {expected:g} records do not fit into 32 bits at [budget] "
                f"noise_multiplier = {noise_multiplier:g}; lower [training] sample_rate"
            )
    rate = math.floor(sample_rate * 2.0**32)
    if not rate:
        raise SettingsError(
            f"[training] sample_rate = {sample_rate:g}: below 2^-32, a device's finest; raise it"
        )

    def cost(count: int) -> float:
        """Epsilon of so many steps."""
        off = divergence(count * num, bits)
        return Ledger([Spent(noise_multiplier, sample_rate, count, off)]).epsilon(delta)

    limit = epsilon if epsilon is not None else 1e9
    low, high = 0, steps
    if not cost(steps) <= limit:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= limit else (low, middle)
        steps = low
    if not steps:
        raise SettingsError(
            f"[budget] epsilon = {epsilon}: not one step on a device keeps it at "
            f"delta = {delta:g}; raise [budget] noise_multiplier"
        )
    return Contract(
        sizes=sizes,
        scale=scale,
        noise_bits=bits,
        sensitivity=math.floor(2**bits / noise_multiplier),
        noise_multiplier=noise_multiplier,
        clip=clip,
        learning_rate=learning_rate,
        sample_rate=rate,
        expected_batch=expected,
        most_steps=steps,
        epsilon=cost(steps),
        delta=delta,
        distance=math.sqrt(divergence(steps * num, bits) / 2),
        numbers=numbers,
        plan=plan,
    )


def _fits(bits: int, noise_multiplier: float, expected: float, one: float) -> bool:
    """Do sums fit into 31 bits, and with them a weight of 1, of which a clip moves `one`?"""
    sensitivity = math.floor(2**bits / noise_multiplier)
    most = (BATCHES * expected + 9 * math.sqrt(expected) + 20) * sensitivity + 12 * 2**bits
    if one < math.inf:
        return 1024 <= sensitivity < MOST_SENSITIVITY and max(most, sensitivity / one) < 2**30
    return 1024 <= sensitivity < MOST_SENSITIVITY and most < 2**31
