"""Networks as loop nests, and what is asked of them.

A convolution is seven loops: batch N, filters K, channels C, output rows P and columns Q, kernel
rows R and columns S. A dense layer is one with P = Q = R = S = 1.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["conv", "dense", "pool", "add", "elementwise"]
Weights = Literal["trained", "fixed", "shared"]


@dataclass(frozen=True, slots=True)
class Nest:
    """One grouped convolution. Channels and filters are those of one group.

    Attributes:
        stride, dilation: vertical and horizontal.
        padding: rows and columns of zeros in the input, both sides together.
        records_summed: `channels` counts records (a weight gradient).
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

    def with_batch(self, batch: int) -> "Nest":
        """The same for `batch` records (dataclasses.replace takes three times as long)."""
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
        nest: of a conv or dense layer, with batch 1; else None.
        inputs: indices of the layers whose outputs it reads; -1 is the network's input.
        size: words of its output for one record.
        bias: words of bias.
        weights: `trained`; `fixed`, in memory and never updated; or `shared`: fixed, and in memory
            as those of an earlier layer.
    """

    name: str
    kind: Kind
    size: int
    inputs: tuple[int, ...]
    nest: Nest | None = None
    bias: int = 0
    weights: Weights = "trained"

    @property
    def parameters(self) -> int:
        """Trained words."""
        return self.stored if self.weights == "trained" else 0

    @property
    def stored(self) -> int:
        """Words of weights and bias in memory."""
        if self.weights == "shared":
            return 0
        return (self.nest.weights if self.nest else 0) + self.bias


@dataclass(frozen=True)
class Network:
    """Layers in the order in which they run.

    Attributes:
        input_size: words of one record.
    """

    name: str
    input_size: int
    layers: tuple[Layer, ...]

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
        return sum(layer.nest.macs for layer in self.layers if layer.nest)

    @cached_property
    def activations(self) -> int:
        """Words that the backward pass of one record needs: the inputs of layers with weights."""
        return sum(self.words_into(layer) for layer in self.layers if layer.nest)

    def words_into(self, layer: Layer) -> int:
        """Words of a layer's inputs for one record."""
        return sum(self.layers[i].size if i >= 0 else self.input_size for i in layer.inputs)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.input_size, self.layers))

    def __hash__(self) -> int:
        return self._hash  # once: a cached estimate must not walk all layers again


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
    """

    step: Literal["inference", "sgd", "dp-sgd"] = "inference"
    clipping: Literal["per-sample", "ghost", "onepass"] = "per-sample"
    clip: float | None = 1.0
    sigma: float = 1.0
    activation_zeros: float = 0.0
    weight_zeros: float = 0.0

    def __post_init__(self) -> None:
        for name in ("activation_zeros", "weight_zeros"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be in [0, 1)")
        if self.sigma < 0 or (self.clip is not None and self.clip <= 0):
            raise ValueError(f"sigma = {self.sigma}, clip = {self.clip}: must not be negative")

    @property
    def clips(self) -> bool:
        """Whether per-sample norms are needed."""
        return self.step == "dp-sgd" and self.clip is not None
