"""stochastic: bit streams, XNOR products, integral sums and a saturating counter; bit-true.

A dense layer takes the streams of its inputs, and in each cycle adds up the XNOR of input and
weight bits to an integer. A hidden layer's integers drive saturating counters, whose upper half
gives the next layer's bits; the last layer's are summed over the stream.

Pixels in [0, 1] are coded so that a black one adds nothing (rather than -w): to the XNOR sum of
2 x - 1 and w, the sum of the cycle's weight bits is added, and the total halved. That leaves the
background, which is most of an image, out of sums and out of gradients.

Training is the survey's (Gross, Meyer and Ardakani, IEEE OJCAS 2, 2021): forward at stream
length L, backward on operands sampled with stream length 1, that is one cycle of the forward
pass' own streams. The gradient that reaches a layer is sampled to -1, 0 or 1 times a record's
scale, without bias; the counter's derivative is a straight-through estimator that blocks |z| > 1.
So a record's gradient is an outer product of single bits, and its norm a count of bits.

Shapes: B records, L cycles, I inputs, O outputs, K words.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.dice import Dice
from clients.arithmetic.faults import flip_bits
from clients.arithmetic.layers import windowed
from clients.arithmetic.settings import Arithmetic
from clients.arithmetic.straight import pass_straight
from clients.arithmetic.streams import kernels
from clients.arithmetic.streams import registers as streams
from clients.arithmetic.streams.images import OrPool, Patches, ToImage
from clients.arithmetic.streams.kernels import Words, num_words
from clients.arithmetic.streams.registers import Streams
from clients.draws import row_seeds
from privacy.dp.rules import RULES, Share

INPUT, WEIGHT, CYCLE = 0, 1, 2  # what a layer draws: phases of two banks of registers, a cycle
NO_WORDS, NO_SUMS = np.empty((0, 0, 0), np.uint64), np.empty((0, 0), np.int32)


class StreamLayer(nn.Module):
    """What encoders and dense layers share: registers, cycles and faults.

    In training the registers run on, so each step meets other phases, which are the same for all
    of its records; in evaluation they are reset, and one image always gives one answer.
    """

    def __init__(self, settings: Arithmetic) -> None:
        super().__init__()
        self.length, self.width = settings.stream_length, settings.register_bits
        self.fault_rate, self.dice = settings.fault_rate, Dice()

    def registers(self, features: int, purpose: int) -> streams.States:
        """A register for each feature, over a stream: [L, I]."""
        period = (1 << self.width) - 1
        if self.training:
            words = row_seeds(np.uint64(self.dice.throw()), np.arange(features))
            phases = (words % np.uint64(period)).astype(np.int64)
        else:  # known to everyone
            phases = np.random.default_rng(purpose).integers(0, period, features)
        mirrored = purpose == WEIGHT
        return streams.read_registers(self.width, self.length, phases, mirrored=mirrored)

    def cycle(self) -> int:
        """A cycle to sample from."""
        return self.dice.throw() % self.length if self.training else 0

    def hurt(self, words: Words, features: int) -> None:
        """In evaluation, flip a share of bits; which ones is a function of the bits alone."""
        if self.fault_rate and not self.training:
            seed = int(np.bitwise_xor.reduce(words, axis=None)) >> 1
            flip_bits(words.reshape(-1, words.shape[-1]), features, self.fault_rate, seed)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"stream_length={self.length}, register_bits={self.width}"


class Encoder(StreamLayer):
    """Comparators: pixels in [0, 1] -> streams."""

    def encode(self, x: Tensor) -> Streams:
        """Streams of pixels [B, ...]."""
        shape, x = tuple(x.shape[1:]), x.flatten(1)
        features = x.shape[1]
        words = np.empty((len(x), self.length, num_words(features)), np.uint64)
        thresholds = streams.threshold(2 * x.numpy() - 1, self.width)
        kernels.encode_inputs(thresholds, self.registers(features, INPUT), words)
        self.hurt(words, features)
        return Streams(words, shape, zero=0.0)


class StochasticLinear(StreamLayer):
    """XNOR products of streams, summed in each cycle; no bias. Of patches, at each position.

    Attributes:
        weight: [O, I], kept in [-1, 1].
        bound: half the number of the counter's states, or 0 for a last layer, which has none.
    """

    bias = None

    def __init__(self, settings: Arithmetic, inputs: int, outputs: int) -> None:
        super().__init__(settings)
        self.bound = 0
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-0.3, 0.3))

    def forward(self, sample: Tensor, bits: Streams) -> Tensor:
        """The mean of a cycle's integer over the stream: [B, O], or [B, P, O] of patches.

        Args:
            sample: one cycle of the inputs, [B, I] or [B, P, I]: for the backward pass, and for
                its tap.
            bits: the inputs' streams; with a counter, the outputs' on return.
        """
        outputs, inputs = self.weight.shape
        thresholds = streams.threshold(self.weight.detach().numpy(), self.width)
        w = kernels.encode_weights(thresholds, self.registers(inputs, WEIGHT))
        if self.fault_rate and not self.training:
            rows = kernels.by_output(w, outputs)
            self.hurt(rows, inputs)
            w = kernels.by_group(rows, inputs)
        base, factor = kernels.base_and_factor(w, inputs, outputs, bits.zero)
        words, sums = NO_WORDS, NO_SUMS
        if self.bound:
            words = np.empty((len(bits.words), self.length, num_words(outputs)), np.uint64)
        if not self.bound or torch.is_grad_enabled():
            sums = np.zeros((len(bits.words), outputs), np.int32)
        kernels.multiply(bits.words, w, base, factor, self.bound, words, sums)
        if self.bound:
            self.hurt(words, outputs)
            positions = bits.shape[:1] if len(bits.shape) == 2 else ()
            bits.words, bits.shape, bits.zero = words, (*positions, outputs), -1.0
        mean = torch.from_numpy(sums).float() / self.length
        if not torch.is_grad_enabled():
            return mean
        sampled = np.empty((outputs, inputs), np.float32)
        cycle = self.cycle()
        kernels.unpack(kernels.by_output(w[cycle : cycle + 1], outputs)[0], -1.0, sampled)
        mean = mean.view(*sample.shape[:-1], outputs)
        y: Tensor = _Products.apply(sample, self.weight, mean, torch.from_numpy(sampled))
        return y


class _Products(torch.autograd.Function):
    """The sums that were counted; on the way back, products of single bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mean: Tensor, sampled: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, sampled)
        return mean.clone()  # not a view: the tap marks it as changed

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, sampled = ctx.saved_tensors
        to_x, to_weight, *_ = ctx.needs_input_grad
        products = g.flatten(0, -2).t() @ x.flatten(0, -2) if to_weight else None
        straight = None if products is None else pass_straight(products, weight)
        return (g @ sampled if to_x else None), straight, None, None


class Gain(nn.Module):
    """[B, O] times a constant, so that the scale of sums does not grow with the layer."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.gain

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"{self.gain:.4f}"


class Counter(nn.Module):
    """Where a hidden layer's counters stand; the layer itself has run them."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, z: Tensor, sample: Tensor) -> Tensor:
        """`sample`, one cycle of the counters' bits; on the way back, blocked where |z| > 1."""
        fired: Tensor = _Fire.apply(z, sample, self.slope)
        return fired


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, sample: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.slope = slope
        return sample.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return pass_straight(g, z, ctx.slope), None, None


class StreamChain(nn.Sequential):
    """Layers one after another, with the streams between them."""

    def forward(self, x: Tensor) -> Tensor:
        """Pixels [B, ...] -> logits [B, classes]."""
        source: StreamLayer
        for layer in self:
            if isinstance(layer, Encoder):
                source, bits = layer, layer.encode(x)
                x = self._sample(source, bits)
            elif isinstance(layer, StochasticLinear):
                source, x = layer, layer(x, bits)
            elif isinstance(layer, (Patches, ToImage, OrPool)):
                x = layer(x, bits)
            elif isinstance(layer, Counter):
                x = layer(x, self._sample(source, bits)) if torch.is_grad_enabled() else x
            else:
                x = layer(x)
        return x

    @staticmethod
    def _sample(source: StreamLayer, bits: Streams) -> Tensor:
        """Drawn only where there will be a backward pass."""
        return bits.sample(source.cycle()) if torch.is_grad_enabled() else torch.empty(0)


def _products(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """x and g are single bits, times a record's scale: the product of two counts is the norm.

    Of patches, a record's gradient is a sum over positions: its elements are counts themselves.
    """
    return windowed(layer, RULES[nn.Linear](layer, x, g))


RULES[StochasticLinear] = _products
