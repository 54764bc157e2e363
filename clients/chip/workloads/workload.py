"""Networks as loop nests, and what is asked of them.

A convolution is seven loops: batch N, filters K, channels C, output rows P and columns Q, kernel
rows R and columns S. A dense layer is one with P = Q = R = S = 1; on a sequence, P is its length.
Others are written as such loops: a one-dimensional convolution has P = R = 1; a three-dimensional
one has a plane of outputs as its batch and C times the kernel's depth as its channels; a transposed
one is a product of each position with all K R S weights, whose results are summed where they
overlap; a step of a recurrent layer is a dense layer on its input and its state; a product of two
activations has a head as its group, and one operand in the place of weights.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

Kind = Literal[
    "conv",
    "dense",
    "recurrent",
    "product",
    "lookup",
    "pool",
    "add",
    "gate",
    "norm",
    "softmax",
    "elementwise",
]
Weights = Literal["trained", "tied", "fixed", "shared", "activations"]


@dataclass(frozen=True, slots=True)
class Nest:
    """One grouped convolution. Channels and filters are those of one group.

    Attributes:
        stride, dilation: vertical and horizontal.
        padding: rows and columns of zeros in the input, both sides together.
        records_summed: `channels` counts records (a weight gradient).
        computed: what stands in the place of weights is computed in this step.
    """

    batch: int
    filters: int
    channels: int
    rows: int
    columns: int
    kernel_rows: int = 1
    kernel_columns: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    padding: tuple[int, int] = (0, 0)
    records_summed: bool = False
    computed: bool = False

    def with_batch(self, batch: int) -> "Nest":
        """The same for another batch (dataclasses.replace takes three times as long)."""
        return Nest(
            batch,
            self.filters,
            self.channels,
            self.rows,
            self.columns,
            self.kernel_rows,
            self.kernel_columns,
            self.stride,
            self.dilation,
            self.groups,
            self.padding,
            self.records_summed,
            self.computed,
        )

    @property
    def height(self) -> int:
        """Rows of the padded input that the kernel spans."""
        return (self.rows - 1) * self.stride[0] + (self.kernel_rows - 1) * self.dilation[0] + 1

    @property
    def width(self) -> int:
        """Columns of the padded input that the kernel spans."""
        return (
            (self.columns - 1) * self.stride[1] + (self.kernel_columns - 1) * self.dilation[1] + 1
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.outputs * self.reduction

    @property
    def reduction(self) -> int:
        """Products summed into one output."""
        return self.channels * self.kernel_rows * self.kernel_columns

    @property
    def inputs(self) -> int:
        """Input words that some output needs, Ni of the survey: without padding, each once."""
        rows = min(self.rows * self.kernel_rows, self.height) - self.padding[0]
        columns = min(self.columns * self.kernel_columns, self.width) - self.padding[1]
        return self.batch * self.groups * self.channels * max(rows, 1) * max(columns, 1)

    @property
    def outputs(self) -> int:
        """Output words, No."""
        return self.batch * self.groups * self.filters * self.rows * self.columns

    @property
    def weights(self) -> int:
        """Weight words, Np."""
        return self.groups * self.filters * self.reduction

    @property
    def gemm(self) -> tuple[int, int, int]:
        """(M, N, K) of one group's matrix product: outputs a filter, filters, reduction."""
        return self.batch * self.rows * self.columns, self.filters, self.reduction


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a network, for one record.

    Attributes:
        nest: of a layer that multiplies, else None. Its batch is 1, or what one record has of it:
            planes, or sequences.
        inputs: indices of the layers whose outputs it reads; -1 is the network's input.
        size: words of its output for one record.
        bias: words that are trained beside the nest's: a bias, a norm's scale and shift, a table.
        weights: of the nest: `trained`; `tied`: trained, and those of an earlier layer; `fixed`, in
            memory and never updated; `shared`: fixed, and those of an earlier layer; `activations`:
            the output of a layer, so nothing is learnt.
        constants: words beside the nest's that are in memory and never updated.
        steps: times that the nest runs, one after another, each on what the last one gave.
        state: of the nest's channels, those that come from the step before.
        read: words of input read; None is all of every input.
        kept: words beside its inputs that the backward pass needs.
        lanes: element-wise operations on what the nest gives.
        passes: times that all elements are read, where there is no nest: 3 for what is normalised.
    """

    name: str
    kind: Kind
    size: int
    inputs: tuple[int, ...]
    nest: Nest | None = None
    bias: int = 0
    weights: Weights = "trained"
    constants: int = 0
    steps: int = 1
    state: int = 0
    read: int | None = None
    kept: int = 0
    lanes: int = 0
    passes: int = 1

    @property
    def weights_trained(self) -> int:
        """Words of trained weights that are this layer's alone."""
        return self.nest.weights if self.nest and self.weights == "trained" else 0

    @property
    def parameters(self) -> int:
        """Trained words."""
        return self.weights_trained + self.bias

    @property
    def stored(self) -> int:
        """Words of parameters in memory."""
        own = self.nest is not None and self.weights in ("trained", "fixed")
        return (self.nest.weights if own and self.nest else 0) + self.bias + self.constants

    @property
    def learns(self) -> bool:
        """Whether some of what it computes with is trained."""
        return self.parameters > 0 or (self.nest is not None and self.weights == "tied")

    @property
    def unrolled(self) -> Nest:
        """The nest with all steps at once, as in a weight gradient."""
        assert self.nest is not None
        return self.nest if self.steps == 1 else replace(self.nest, rows=self.steps)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one record's forward pass."""
        return self.steps * self.nest.macs if self.nest else 0


@dataclass(frozen=True)
class Network:
    """Layers in the order in which they run; what each reads makes them a graph.

    Attributes:
        input_size: words of one record.
        notes: what in it is priced by less than its own loops, a sentence each.
    """

    name: str
    input_size: int
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def parameters(self) -> int:
        """Trained words."""
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def stored(self) -> int:
        """Words of weights in memory, trained and fixed."""
        return sum(layer.stored for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one record's forward pass."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def carries(self) -> tuple[bool, ...]:
        """By layer: does its output depend on what is trained, so that a gradient comes to it?"""
        found: list[bool] = []
        for layer in self.layers:
            found.append(layer.learns or any(found[i] for i in layer.inputs if i >= 0))
        return tuple(found)

    def passes_back(self, index: int) -> bool:
        """Does a gradient go on through a layer, to one before it?"""
        return any(i >= 0 and self.carries[i] for i in self.layers[index].inputs)

    @cached_property
    def kept_by_layer(self) -> tuple[int, ...]:
        """Words that the backward pass of one record needs, at the first layer that needs them.

        A layer that learns needs its inputs, and so do a product of activations and a norm, if a
        gradient passes them; a softmax needs its own output. A tensor is kept once.
        """
        known: set[int] = set()
        found = []
        for index, layer in enumerate(self.layers):
            back = self.passes_back(index)
            learns = layer.learns and (layer.nest or layer.kind in ("lookup", "gate", "norm"))
            passes = back and layer.kind in ("product", "gate", "norm")
            needed = set(layer.inputs) if learns or passes else set()
            if (back and layer.kind == "softmax") or (layer.learns and layer.kind == "recurrent"):
                needed.add(index)
            words = sum(self._size(i) for i in needed - known)
            found.append(words + (layer.kept if self.carries[index] else 0))
            known |= needed
        return tuple(found)

    @property
    def activations(self) -> int:
        """Words that the backward pass of one record needs."""
        return sum(self.kept_by_layer)

    def words_into(self, layer: Layer) -> int:
        """Words of a layer's inputs for one record."""
        if layer.read is not None:
            return layer.read
        return sum(self._size(i) for i in layer.inputs)

    def _size(self, index: int) -> int:
        return self.layers[index].size if index >= 0 else self.input_size

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.input_size, self.layers))

    def __hash__(self) -> int:
        return self._hash  # once: a cached estimate must not walk all layers again


class Zeros(NamedTuple):
    """Which fractions of the weights of a layer, and of what it reads, are zero."""

    layer: str
    weights: float
    activations: float


@dataclass(frozen=True)
class Workload:
    """What is computed on a batch.

    Attributes:
        step: `inference`, or a training step by `sgd` or `dp-sgd`.
        clipping: how `dp-sgd` clips: `per-sample` holds every record's gradient (Opacus's hooks);
            `ghost` gets norms from Gram matrices and runs a second backward pass (Li et al. 2022);
            `onepass` gets norms in closed form and runs no second pass (book-keeping, Bu et al.
            2022, as privacy.dp.bookkeeping: convolutions hold their per-sample gradients).
        clip: norm to which gradients are clipped; None clips nothing.
        sigma: noise multiplier; 0 adds none.
        activation_zeros, weight_zeros: fractions of zero words, for chips that skip or compress.
        zeros: of single layers, where they are known.
    """

    step: Literal["inference", "sgd", "dp-sgd"] = "inference"
    clipping: Literal["per-sample", "ghost", "onepass"] = "per-sample"
    clip: float | None = 1.0
    sigma: float = 1.0
    activation_zeros: float = 0.0
    weight_zeros: float = 0.0
    zeros: tuple[Zeros, ...] = ()

    def __post_init__(self) -> None:
        for name in ("activation_zeros", "weight_zeros"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be in [0, 1)")
        if self.sigma < 0 or (self.clip is not None and self.clip <= 0):
            raise ValueError(f"sigma = {self.sigma}, clip = {self.clip}: must not be negative")

    def of(self, layer: str) -> "Workload":
        """With the zeros of one layer."""
        for found in self.zeros:
            if found.layer == layer:
                return replace(
                    self, weight_zeros=found.weights, activation_zeros=found.activations, zeros=()
                )
        return self

    @property
    def clips(self) -> bool:
        """Whether per-sample norms are needed."""
        return self.step == "dp-sgd" and self.clip is not None
