"""A net and its arithmetic, as a microcontroller is to have them, and its own answers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.layers import ArithmeticConv1d, ArithmeticConv2d, ArithmeticLinear
from clients.arithmetic.rounding import RoundGradient, RoundInput
from clients.firmware.net import Dense, Words, dense_layers
from clients.firmware.plan import FLOATS, Plan, plan_of
from clients.training.net import Net
from clients.training.records import Records
from privacy.errors import ModelError, SettingsError

WORDS = ("fixed", "ternary", "binary")
IN_WORDS = {ArithmeticLinear: nn.Linear, ArithmeticConv1d: nn.Conv1d, ArithmeticConv2d: nn.Conv2d}
MOST_SQUARES = 1 << 30  # of a layer's input words


def layers_of(net: nn.Module, arithmetic: Arithmetic) -> tuple[Dense, ...]:
    """A perceptron's dense layers, in either arithmetic.

    Raises:
        ModelError: names the first layer that has no C, or that is too wide for its words.
    """
    if (words := words_of(arithmetic)) is None:
        return dense_layers(net)
    found = dense_layers(net, ArithmeticLinear, (RoundInput, RoundGradient))
    most = int(words.most_inputs(np.array([False]))[0])
    for place, layer in enumerate(found):
        if layer.weights.shape[1] * most**2 >= MOST_SQUARES:
            raise ModelError(
                f"--to c: layer {place + 1} has {layer.weights.shape[1]:,} inputs; at [arithmetic] "
                f"activation_bits = {words.activation_bits} words of {MOST_SQUARES // most**2:,} "
                "can be squared and summed; use fewer bits, or [model] pool"
            )
    return found


def net_of(
    net: nn.Module, arithmetic: Arithmetic, shape: tuple[int, ...]
) -> tuple[Plan | None, tuple[Dense, ...]]:
    """A perceptron's dense layers; or the plan of any other net, and its weights.

    Args:
        shape: of a record.
    """
    trained, rounding = FLOATS, tuple[type, ...]()
    if words_of(arithmetic) is not None:
        trained, rounding = IN_WORDS, (RoundInput, RoundGradient)
    dense = nn.Flatten, nn.ReLU, nn.Sequential, *rounding
    if all(type(one) in dense or trained.get(type(one)) is nn.Linear for one in net.modules()):
        return None, layers_of(net, arithmetic)
    return plan_of(net, shape, trained, rounding)


def words_of(arithmetic: Arithmetic) -> Words | None:
    """Words of few bits; None is float32.

    Raises:
        SettingsError: this arithmetic has no C.
    """
    if arithmetic.name == "float":
        return None
    if arithmetic.name not in WORDS:
        raise SettingsError(
            f"[arithmetic] name = {arithmetic.name!r}: has no C; train in float, {', '.join(WORDS)}"
        )
    for key, value, plain in (
        ("rounding", arithmetic.rounding, "nearest"),
        ("projection", arithmetic.projection, "heuristic"),
    ):
        if value != plain:
            raise SettingsError(
                f"[arithmetic] {key} = {value!r}: has no C; train with {key} = {plain!r}"
            )
    if arithmetic.scaling == "none":
        raise SettingsError("[arithmetic] scaling = 'none': has no C; train with 'channel'")
    if not 2 <= arithmetic.activation_bits <= 8:
        raise SettingsError(
            f"[arithmetic] activation_bits = {arithmetic.activation_bits}: has no C; 2 to 8 have"
        )
    formats = arithmetic.formats
    return Words(
        arithmetic.name,
        formats.weight_bits,
        formats.activation_bits,
        formats.gradient_bits,
        arithmetic.scaling == "channel",
    )


def own_answers(net: nn.Module, held: Records, num: int) -> NDArray[np.int64]:
    """What the net itself says of the first records: classes int64 [num]."""
    x = held.inputs(torch.arange(num)).float()
    answers: NDArray[np.int64] = Net(net, x.shape[1:], compiled=False).logits(x).argmax(1).numpy()
    return answers
