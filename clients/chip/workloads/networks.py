"""Reference networks as plain lists of layers, by name: shapes only, no weights.

AlexNet with its groups as in Chen et al. 2017 (227 x 227 inputs), VGG-16, MobileNet v1 and v2, and
the MCUNet family (Lin et al., NeurIPS 2020), whose blocks are written (expansion, channels,
kernel, stride).
"""

from collections.abc import Callable
from functools import lru_cache

from clients.chip.workloads.workload import Kind, Layer, Nest, Network

Block = tuple[float, int, int, int]


class Plan:
    """A network being written down, layer after layer."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.shape = (channels, height, width)
        self.input_size = channels * height * width
        self.layers: list[Layer] = []
        self.here = -1  # the layer that the next one reads

    @property
    def last(self) -> int:
        """Index of the newest layer; -1 is the input."""
        return len(self.layers) - 1

    def conv(
        self,
        filters: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        name: str = "",
    ) -> None:
        """A convolution; padded so that stride 1 keeps the size, unless told otherwise."""
        channels = self.shape[0]
        kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
        outputs, zeros = [], []
        for side, length in zip(self.shape[1:], kernels, strict=True):
            whole = length - 1 if padding is None else 2 * padding
            count = (side + whole - length) // stride + 1
            span = (count - 1) * stride + length
            outputs.append(count)
            zeros.append(span - min(side, span - whole // 2))
        nest = Nest(
            batch=1,
            filters=filters // groups,
            channels=channels // groups,
            rows=outputs[0],
            columns=outputs[1],
            kernel_rows=kernels[0],
            kernel_columns=kernels[1],
            stride=(stride, stride),
            groups=groups,
            padding=(zeros[0], zeros[1]),
        )
        shape = (filters, outputs[0], outputs[1])
        self._append(name or f"conv{self.last + 2}", "conv", shape, nest, filters)

    def dense(self, outputs: int, name: str = "") -> None:
        """A dense layer on all that is there."""
        channels, height, width = self.shape
        nest = Nest(1, outputs, channels * height * width, 1, 1)
        self._append(name or f"dense{self.last + 2}", "dense", (outputs, 1, 1), nest, outputs)

    def pool(self, kernel: int, stride: int) -> None:
        """Pooling without padding."""
        channels, height, width = self.shape
        rows, columns = ((side - kernel) // stride + 1 for side in (height, width))
        self._append(f"pool{self.last + 2}", "pool", (channels, rows, columns))

    def mean(self) -> None:
        """Global average pooling."""
        self._append(f"mean{self.last + 2}", "pool", (self.shape[0], 1, 1))

    def add(self, other: int) -> None:
        """Add the output of layer `other`."""
        size = self.layers[self.here].size
        self.layers.append(Layer(f"add{self.last + 2}", "add", size, (other, self.here)))
        self.here = self.last

    def residual(self, filters: int, stride: int) -> None:
        """Two 3 x 3 convolutions beside a shortcut (ResNet), pointwise where the shape changes."""
        start, shape = self.here, self.shape
        shortcut = start
        if stride != 1 or shape[0] != filters:
            self.conv(filters, 1, stride)
            shortcut = self.here
        self.here, self.shape = start, shape
        self.conv(filters, 3, stride)
        self.conv(filters, 3)
        self.add(shortcut)

    def inverted(self, expansion: float, channels: int, kernel: int, stride: int) -> None:
        """An inverted residual block (MobileNet v2)."""
        start, before = self.here, self.shape
        if expansion != 1:
            self.conv(round(before[0] * expansion), 1)
        self.conv(self.shape[0], kernel, stride, groups=self.shape[0])
        self.conv(channels, 1)
        if self.shape == before:
            self.add(start)

    def finish(self, name: str) -> Network:
        """The network."""
        return Network(name, self.input_size, tuple(self.layers))

    def _append(
        self,
        name: str,
        kind: Kind,
        shape: tuple[int, int, int],
        nest: Nest | None = None,
        bias: int = 0,
    ) -> None:
        size = shape[0] * shape[1] * shape[2]
        self.layers.append(Layer(name, kind, size, (self.here,), nest, bias))
        self.here, self.shape = self.last, shape


def alexnet() -> Network:
    """The convolutions and dense layers of AlexNet with two groups."""
    plan = Plan(3, 227, 227)
    plan.conv(96, 11, 4, padding=0, name="conv1")
    plan.pool(3, 2)
    plan.conv(256, 5, groups=2, name="conv2")
    plan.pool(3, 2)
    plan.conv(384, 3, name="conv3")
    plan.conv(384, 3, groups=2, name="conv4")
    plan.conv(256, 3, groups=2, name="conv5")
    plan.pool(3, 2)
    for number, outputs in enumerate((4096, 4096, 1000), 1):
        plan.dense(outputs, f"fc{number}")
    return plan.finish("alexnet")


def vgg16() -> Network:
    """Simonyan and Zisserman 2015, configuration D."""
    plan = Plan(3, 224, 224)
    for block, (filters, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for number in range(1, count + 1):
            plan.conv(filters, 3, name=f"conv{block}-{number}")
        plan.pool(2, 2)
    for number, outputs in enumerate((4096, 4096, 1000), 1):
        plan.dense(outputs, f"fc{number}")
    return plan.finish("vgg16")


def mobilenet(width: float, side: int, classes: int, name: str) -> Network:
    """MobileNet v1 (Howard et al. 2017)."""
    plan = Plan(3, side, side)
    plan.conv(round(32 * width), 3, 2)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    for channels, stride in [*steps, *[(512, 1)] * 5, (1024, 2), (1024, 1)]:
        plan.conv(plan.shape[0], 3, stride, groups=plan.shape[0])
        plan.conv(round(channels * width), 1)
    plan.mean()
    plan.dense(classes)
    return plan.finish(name)


def resnet8() -> Network:
    """The image classifier of MLPerf Tiny (Banbury et al. 2021), CIFAR-10."""
    plan = Plan(3, 32, 32)
    plan.conv(16, 3)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        plan.residual(filters, stride)
    plan.mean()
    plan.dense(10)
    return plan.finish("mlperf-ic")


def dscnn() -> Network:
    """The keyword spotter of MLPerf Tiny: MFCC of 49 x 10."""
    plan = Plan(1, 49, 10)
    plan.conv(64, (10, 4), 2)
    for _ in range(4):
        plan.conv(64, 3, groups=64)
        plan.conv(64, 1)
    plan.mean()
    plan.dense(12)
    return plan.finish("mlperf-kws")


def autoencoder() -> Network:
    """The anomaly detector of MLPerf Tiny."""
    plan = Plan(640, 1, 1)
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        plan.dense(outputs)
    return plan.finish("mlperf-ad")


def mcunet(
    name: str, side: int, first: int, blocks: tuple[Block, ...], classes: int, head: int = 0
) -> Network:
    """A network of inverted residual blocks."""
    plan = Plan(3, side, side)
    plan.conv(first, 3, 2)
    for block in blocks:
        plan.inverted(*block)
    if head:
        plan.conv(head, 1)
    plan.mean()
    plan.dense(classes)
    return plan.finish(name)


def _v2(width: float) -> tuple[Block, ...]:
    """The blocks of MobileNet v2 (Sandler et al. 2018) at a width, in multiples of 8 channels."""
    found: list[Block] = []
    for expansion, channels, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        found += [
            (expansion, _eights(channels * width), 3, stride if i == 0 else 1) for i in range(count)
        ]
    return tuple(found)


def _eights(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


_VWW0: tuple[Block, ...] = (
    (1, 8, 3, 1), (6, 16, 5, 2), (4, 16, 3, 1), (5, 24, 3, 2), (4, 24, 3, 1), (4, 24, 3, 1),
    (5, 40, 3, 2), (4, 40, 3, 1), (3, 40, 7, 1), (3, 48, 3, 1), (4, 48, 3, 1), (5, 96, 7, 2),
    (5, 96, 5, 1), (4, 160, 7, 1),
)  # fmt: skip
_VWW1: tuple[Block, ...] = (
    (1, 8, 3, 1), (6, 16, 3, 2), (3, 16, 3, 1), (3, 16, 3, 1), (3, 24, 7, 2), (6, 24, 3, 1),
    (5, 24, 5, 1), (6, 40, 7, 2), (6, 40, 7, 1), (6, 48, 3, 1), (4, 48, 3, 1), (5, 96, 5, 2),
    (5, 96, 3, 1), (4, 96, 3, 1), (3, 160, 7, 1),
)  # fmt: skip
_VWW2: tuple[Block, ...] = (
    (1, 8, 3, 1), (3, 16, 3, 2), (5, 16, 3, 1), (6, 16, 5, 1), (3, 16, 3, 1), (5, 24, 7, 2),
    (4, 24, 5, 1), (4, 24, 3, 1), (6, 24, 7, 1), (6, 40, 3, 2), (6, 40, 7, 1), (4, 40, 5, 1),
    (5, 40, 3, 1), (5, 48, 5, 1), (3, 48, 5, 1), (4, 48, 3, 1), (3, 48, 5, 1), (4, 96, 3, 2),
    (5, 96, 5, 1), (4, 96, 5, 1), (4, 96, 3, 1), (5, 160, 3, 1),
)  # fmt: skip
_IN0: tuple[Block, ...] = (
    (1, 16, 3, 1), (4, 16, 5, 2), (3, 16, 3, 1), (4, 16, 3, 1), (5, 24, 7, 2), (4, 24, 5, 1),
    (5, 24, 5, 1), (5, 48, 7, 2), (4, 48, 5, 1), (5, 56, 3, 1), (4, 56, 5, 1), (5, 56, 3, 1),
    (6, 112, 3, 2), (4, 112, 5, 1), (6, 192, 3, 1),
)  # fmt: skip
_IN1: tuple[Block, ...] = (
    (1, 8, 3, 1), (4, 16, 3, 2), (3, 16, 3, 1), (3, 24, 7, 2), (5, 24, 3, 1), (5, 40, 3, 2),
    (4, 40, 7, 1), (4, 48, 5, 1), (3, 48, 3, 1), (4, 48, 3, 1), (5, 96, 7, 2), (4, 96, 5, 1),
    (4, 96, 5, 1), (6, 160, 3, 1),
)  # fmt: skip
_IN2: tuple[Block, ...] = (
    (1, 8, 3, 1), (3, 16, 5, 2), (6, 16, 7, 1), (5, 16, 3, 1), (5, 16, 5, 1), (5, 24, 3, 2),
    (6, 24, 7, 1), (6, 24, 5, 1), (4, 40, 7, 2), (5, 40, 5, 1), (5, 48, 3, 1), (5, 48, 5, 1),
    (4, 48, 3, 1), (6, 96, 5, 2), (4, 96, 5, 1), (3, 96, 5, 1), (4, 96, 3, 1), (5, 160, 5, 1),
)  # fmt: skip
_IN3: tuple[Block, ...] = (
    (1, 8, 3, 1), (3, 16, 7, 2), (5, 16, 3, 1), (5, 16, 7, 1), (4, 16, 5, 1), (5, 24, 5, 2),
    (5, 24, 5, 1), (5, 24, 5, 1), (5, 40, 3, 2), (6, 40, 7, 1), (4, 40, 5, 1), (5, 48, 5, 1),
    (5, 48, 7, 1), (5, 48, 3, 1), (6, 96, 3, 2), (5, 96, 7, 1), (4, 96, 3, 1), (5, 160, 7, 1),
)  # fmt: skip
_IN4: tuple[Block, ...] = (
    (1, 16, 3, 1), (3, 24, 7, 2), (5, 24, 3, 1), (4, 24, 5, 1), (5, 40, 7, 2), (4, 40, 3, 1),
    (4, 40, 7, 1), (3, 80, 7, 2), (3, 80, 3, 1), (3, 80, 7, 1), (4, 96, 3, 1), (3, 96, 5, 1),
    (3, 96, 5, 1), (4, 192, 7, 2), (3, 192, 7, 1), (3, 192, 5, 1), (4, 320, 5, 1),
)  # fmt: skip
_PROXYLESS: tuple[Block, ...] = (
    (1, 8, 3, 1), (3, 16, 5, 2), (3, 16, 3, 1), (3, 16, 7, 2), (3, 16, 3, 1), (3, 16, 5, 1),
    (3, 16, 5, 1), (6, 24, 7, 2), (3, 24, 5, 1), (3, 24, 5, 1), (3, 24, 5, 1), (6, 32, 5, 1),
    (3, 32, 5, 1), (3, 32, 5, 1), (3, 32, 5, 1), (6, 64, 7, 2), (6, 64, 7, 1), (3, 64, 7, 1),
    (3, 64, 7, 1), (6, 96, 7, 1),
)  # fmt: skip

NETWORKS: dict[str, Callable[[], Network]] = {
    "alexnet": alexnet,
    "vgg16": vgg16,
    "mobilenet": lambda: mobilenet(1.0, 224, 1000, "mobilenet"),
    "mlperf-vww": lambda: mobilenet(0.25, 96, 2, "mlperf-vww"),
    "mlperf-ic": resnet8,
    "mlperf-kws": dscnn,
    "mlperf-ad": autoencoder,
    "mobilenetv2": lambda: mcunet("mobilenetv2", 224, 32, _v2(1.0), 1000, 1280),
    "mbv2-w0.3-r64": lambda: mcunet("mbv2-w0.3-r64", 64, 16, _v2(0.3), 1000, 384),
    "mcunet-vww0": lambda: mcunet("mcunet-vww0", 64, 16, _VWW0, 2),
    "mcunet-vww1": lambda: mcunet("mcunet-vww1", 80, 16, _VWW1, 2),
    "mcunet-vww2": lambda: mcunet("mcunet-vww2", 144, 16, _VWW2, 2),
    "mcunet-in0": lambda: mcunet("mcunet-in0", 48, 24, _IN0, 1000),
    "mcunet-in1": lambda: mcunet("mcunet-in1", 96, 16, _IN1, 1000),
    "mcunet-in2": lambda: mcunet("mcunet-in2", 160, 16, _IN2, 1000),
    "mcunet-in3": lambda: mcunet("mcunet-in3", 176, 16, _IN3, 1000),
    "mcunet-in4": lambda: mcunet("mcunet-in4", 160, 32, _IN4, 1000),
    "proxyless-w0.3-r176": lambda: mcunet("proxyless-w0.3-r176", 176, 16, _PROXYLESS, 1000, 384),
    "proxyless-w0.3-r64": lambda: mcunet("proxyless-w0.3-r64", 64, 16, _PROXYLESS, 1000, 384),
}


@lru_cache(maxsize=64)
def reference(name: str) -> Network:
    """A reference network by its name.

    Raises:
        KeyError: there is none.
    """
    return NETWORKS[name]()
