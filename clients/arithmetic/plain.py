"""float: torch's own layers in 32 bits. The oracle of all others."""

from collections.abc import Callable

from torch import nn

from clients.protocol import Size


class FloatLayers:
    """Plain modules, exactly as torch has them."""

    def entrance(self) -> list[nn.Module]:
        """Nothing."""
        return []

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        """`nn.Linear`."""
        return [nn.Linear(inputs, outputs)]

    def conv2d(
        self,
        inputs: int,
        outputs: int,
        size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        groups: int = 1,
    ) -> list[nn.Module]:
        """`nn.Conv2d`."""
        return [nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, groups=groups)]

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """`nn.Conv1d`."""
        return [nn.Conv1d(inputs, outputs, size, stride=stride, padding=padding)]

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """The layer."""
        return [layer]

    def activation(self, chosen: Callable[[], nn.Module]) -> list[nn.Module]:
        """The chosen one."""
        return [chosen()]

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """One after another."""
        return nn.Sequential(*layers)
