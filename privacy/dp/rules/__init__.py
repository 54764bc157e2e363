"""Per-sample rules: what each kind of layer adds to a record's norm, and to the clipped sum.

From a layer's input x and the gradient g of its output follow the per-sample norms (in closed form
for a dense layer, |x|^2 |g|^2: Goodfellow 2015) and, once the clip factors c are known, the clipped
sum (for a dense layer (c g)^T x: one matrix product).

share          what a rule returns
dense          Linear and Embedding
convolutions   in one to three dimensions, plain, grouped and transposed
norms          GroupNorm, LayerNorm, InstanceNorm; GroupNorm in the place of BatchNorm
recurrent      RNN, GRU and LSTM, back through time
attention      MultiheadAttention
refusals       layers that no rule can protect
functional     any other layer, by Opacus's rule for it or by `torch.func`
separation     records that must not meet: in a model's pass, and in its loss

Each table is by exact type, as in Opacus: a subclass may compute something else, so it registers
its own, or goes by `torch.func`.
"""

from collections.abc import Callable

from torch import Tensor, nn

from privacy.dp.rules.attention import attention
from privacy.dp.rules.convolutions import convolution, transposed
from privacy.dp.rules.dense import embedding, linear
from privacy.dp.rules.functional import by_function, by_opacus, opacus_knows
from privacy.dp.rules.norms import normalisation, without_batch_norm
from privacy.dp.rules.recurrent import recurrent
from privacy.dp.rules.refusals import require_apart
from privacy.dp.rules.separation import (
    Loss,
    losses_of,
    require_losses,
    require_outputs_apart,
    softmax_cross_entropy,
)
from privacy.dp.rules.share import Call, CallRule, Rule, Share, materialised

__all__ = [
    "RULES",
    "SEQUENCES",
    "SEVERAL",
    "Call",
    "Loss",
    "Share",
    "losses_of",
    "materialised",
    "require_apart",
    "require_losses",
    "require_outputs_apart",
    "rule_of",
    "softmax_cross_entropy",
    "way_of",
    "without_batch_norm",
]

# One input x, one output's gradient g.
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Embedding: embedding,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.ConvTranspose1d: transposed,
    nn.ConvTranspose2d: transposed,
    nn.ConvTranspose3d: transposed,
    nn.GroupNorm: normalisation,
    nn.LayerNorm: normalisation,
    nn.InstanceNorm1d: normalisation,
    nn.InstanceNorm2d: normalisation,
    nn.InstanceNorm3d: normalisation,
}

# Whole calls: several inputs and outputs, and the weights of the layers inside.
SEQUENCES: dict[type[nn.Module], CallRule] = {
    nn.RNN: recurrent,
    nn.GRU: recurrent,
    nn.LSTM: recurrent,
    nn.MultiheadAttention: attention,
}

# Layers that are called several times in a pass: one share of all calls and their gradients.
SEVERAL: dict[type[nn.Module], Callable[[nn.Module, list[tuple[Call, Tensor]]], Share]] = {}


def rule_of(layer: nn.Module) -> CallRule:
    """How the per-sample gradients of a layer without an entry in `RULES` are found."""
    if (rule := SEQUENCES.get(type(layer))) is not None:
        return rule
    return by_opacus if opacus_knows(layer) else by_function


def way_of(layer: nn.Module) -> str:
    """The same in words."""
    name = type(layer).__name__
    if type(layer) in RULES or type(layer) in SEQUENCES:
        return f"{name}: a rule of privet's own"
    return f"{name}: {'a rule of Opacus' if opacus_knows(layer) else 'torch.func'}"
