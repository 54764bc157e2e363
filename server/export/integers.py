"""Products of words as ONNX's own operations on integers: QuantizeLinear, by each record's step,
then MatMulInteger or ConvInteger."""

from typing import Any

import torch
from torch import Tensor, nn

from clients.training.plain import parts

MIDDLE = 128  # what 0 is among uint8 words of weights: onnxruntime has no ConvInteger of int8


def as_integers(net: nn.Module) -> nn.Module:
    """Let the products of a plain net be exported so; what it answers is the same."""
    for module in net.modules():
        if type(module) is parts.InWords and module.words is not None:
            module.__class__ = InIntegers
    return net


class InIntegers(parts.InWords):
    """The same product, whose words reach ONNX as 8 bits each."""

    def sums(self, held: Tensor, step: Tensor) -> Tensor:
        """[N, I, ...], steps [N] -> [N, O, ...], whole."""
        sums: Tensor = _Sums.apply(held, step, self.words_of_weights, self)
        return sums


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, held: Tensor, step: Tensor, words: Tensor, layer: parts.InWords
    ) -> Tensor:
        return parts.InWords.sums(layer, held, step)

    @staticmethod
    def symbolic(g: Any, held: Any, step: Any, words: Any, layer: Any) -> Any:
        """Words are -n ... n or 0 ... 2 n + 1, by the record, which no type of 8 bits holds:
        what is above 0 and what is below are summed up apart."""
        weights = layer.words_of_weights.int()
        weights = (weights + MIDDLE).to(torch.uint8) if layer.more else weights.to(torch.int8).T
        weights = g.op("Constant", value_t=weights.contiguous())
        zero, middle = (
            g.op("Constant", value_t=torch.tensor(n, dtype=torch.uint8)) for n in (0, MIDDLE)
        )

        def product(x: Any) -> Any:
            x = g.op("QuantizeLinear", x, step, axis_i=0)
            if not layer.more:
                return g.op("MatMulInteger", x, weights)
            stride, padding, dilation, groups = layer.more
            return g.op(
                "ConvInteger", x, weights, zero, middle,
                strides_i=stride, pads_i=[*padding, *padding], dilations_i=dilation, group_i=groups,
            )  # fmt: skip

        sums = g.op("Sub", product(g.op("Relu", held)), product(g.op("Relu", g.op("Neg", held))))
        return g.op("Cast", sums, to_i=11)  # double
