"""[arithmetic]: in which numbers a device computes."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import field_validator, model_validator

from clients.arithmetic.streams.taps import TAPS
from clients.protocol import Formats, Layers
from privacy.settings import Range, Section, suggest


class Numbers(NamedTuple):
    """What a model is built of, and the numbers that the device then holds."""

    layers: "Callable[[Arithmetic], Layers]"
    formats: "Callable[[Arithmetic], Formats]"


ARITHMETICS: dict[str, Numbers] = {}  # what there is: the door of this room enters it

WORDS = (2, 3, 4, 5, 6, 7, 8, 32)


class Arithmetic(Section):
    """In which numbers a model is trained and evaluated.

    Attributes:
        name: a key of `ARITHMETICS`.
        bits: of a weight under `fixed`.
        activation_bits: of a layer's input; 32 leaves it alone. 1, under `binary`: inputs are
            compared with `threshold`, and signs take the place of the model's activation.
        gradient_bits: of the gradient that reaches a layer, rounded at random; 32 leaves it alone.
        rounding: of weights and activations: to the nearest word, or at random without bias.
        projection: how the scale of weights is found; see `clients.arithmetic.projections`.
        scaling: one scale for each output channel, for the tensor, or none but a constant.
        threshold: of one-bit inputs, those of `invertible` too; of a neuron's membrane under
            `spiking`.
        accumulator_bits: under `scaling = "none"`, penalise sums of a layer that need more bits,
            of which encrypted inference pays for each; 0 does not care.
        stream_length: clock cycles under `stochastic`, a power of two up to 1024.
        lfsr_bits: width of the registers; 0 takes the one whose period is the stream's length, so
            that the stream of a number has as many ones as it should.
        counter_bits: of the saturating counter under `stochastic`.
        gain: over the square root of a layer's inputs, what its sums are multiplied with, under
            `stochastic` and under `scaling = "none"`.
        slope: of the straight line that stands for the derivative of a sign or a counter: the
            larger, the faster hidden layers learn beside the last; of a spike's surrogate.
        time_steps: of a record under `spiking`, T; reads of each p-bit under `p-bits`.
        sweeps: of a p-bit machine's chain, from a record to what it is told apart from.
        coding: of records under `spiking`: see `clients.arithmetic.spiking.coding`.
        rate: at which an input of 1 fires under `coding = "rate"`, in spikes a step.
        learning: how hidden layers learn under `spiking`: by the loss through a spike's surrogate,
            or without labels by spike timing, `pair` or `triplet`: see
            `clients.arithmetic.spiking.plasticity`.
        decay: share of its membrane that a neuron keeps from step to step; 1 does not leak.
        reset: of a membrane that has fired: less the threshold, or to zero.
        surrogate: of a spike's derivative: see `clients.arithmetic.spiking.neurons`.
        fault_rate: share of bits that are flipped in evaluation: of streams, or of the words of
            weights and activations.
    """

    name: str = "float"
    bits: Annotated[int, Range(2, 8)] = 8
    activation_bits: Annotated[int, Range(1, 32)] = 8
    gradient_bits: Annotated[int, Range(1, 32)] = 8
    rounding: Literal["nearest", "stochastic"] = "nearest"
    projection: Literal["heuristic", "optimised"] = "heuristic"
    scaling: Literal["none", "tensor", "channel"] = "channel"
    threshold: Annotated[float, Range(1e-3, 0.999)] = 0.5
    accumulator_bits: Annotated[int, Range(0, 16)] = 0
    stream_length: Annotated[int, Range(1, 1024)] = 64
    lfsr_bits: Annotated[int, Range(0, max(TAPS))] = 0
    counter_bits: Annotated[int, Range(2, 15)] = 12
    gain: Annotated[float, Range(1e-3, 1e3)] = 3.0
    slope: Annotated[float, Range(1e-3, 1e3)] = 1.0
    time_steps: Annotated[int, Range(0, 1024)] = 8
    sweeps: Annotated[int, Range(1, 1024)] = 1
    coding: Literal["current", "rate", "latency"] = "current"
    rate: Annotated[float, Range(1e-3, 1)] = 1.0
    learning: Literal["surrogate", "pair", "triplet"] = "surrogate"
    decay: Annotated[float, Range(1e-3, 1, or_zero=True)] = 0.9
    reset: Literal["subtract", "zero"] = "subtract"
    surrogate: Literal["fast-sigmoid", "arctan"] = "fast-sigmoid"
    fault_rate: Annotated[float, Range(1e-9, 0.5, or_zero=True)] = 0.0

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in ARITHMETICS:
            raise ValueError(f"unknown arithmetic{suggest(name, ARITHMETICS)}")
        return name

    @field_validator("stream_length")
    @classmethod
    def _is_a_power_of_two(cls, length: int) -> int:
        if length.bit_count() != 1:
            near = 1 << (length.bit_length() - 1)
            raise ValueError(
                f"a stream is a power of two long, as the period of a register is; use {near} or "
                f"{2 * near}"
            )
        return length

    @field_validator("time_steps")
    @classmethod
    def _takes_time(cls, steps: int) -> int:
        if not steps:
            raise ValueError(
                "in no time no neuron fires, and every answer is the same; use 1 or more"
            )
        return steps

    @field_validator("lfsr_bits")
    @classmethod
    def _has_taps(cls, width: int) -> int:
        if width == 1:
            raise ValueError("a register has at least 2 bits; 0 takes what the stream needs")
        return width

    @field_validator("activation_bits", "gradient_bits")
    @classmethod
    def _is_a_word(cls, bits: int) -> int:
        if bits not in (1, *WORDS):
            raise ValueError("a word has 2 to 8 bits, or 32 to leave it in float")
        return bits

    @model_validator(mode="after")
    def _goes_together(self) -> "Arithmetic":
        if self.gradient_bits == 1:
            raise ValueError("gradient_bits = 1: a signed word needs 2 bits; 32 leaves it in float")
        if self.activation_bits == 1 and self.name not in ("binary", "ternary"):
            raise ValueError(
                f"activation_bits = 1: {self.name} has words of 2 to 8 bits; use name = 'binary'"
            )
        if self.name == "fixed" and self.scaling == "none":
            raise ValueError("scaling = 'none': k-bit words need a scale; use tensor or channel")
        if self.accumulator_bits and self.scaling != "none":
            raise ValueError("accumulator_bits: sums are integers only under scaling = 'none'")
        return self

    @property
    def formats(self) -> Formats:
        """Numbers as the device holds them."""
        return ARITHMETICS[self.name].formats(self)

    def words(self, kind: str, weight_bits: int) -> Formats:
        """Formats with activations and gradients in the words that are set."""
        return Formats(kind, weight_bits, self.activation_bits, self.gradient_bits)

    @property
    def register_bits(self) -> int:
        """Width of the registers; by default their period is the stream's length, less one."""
        return self.lfsr_bits or max(self.stream_length.bit_length() - 1, 2)

    def layers(self) -> Layers:
        """The parts of which a model is built."""
        return ARITHMETICS[self.name].layers(self)
