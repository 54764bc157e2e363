"""MultiheadAttention: a product for queries, keys, values and the output, and between them softmax.

The four products are seen as dense layers over a sequence; what is between is left to autograd, on
all records at once.

Shapes: B samples, L queries, S keys, E numbers of a step, N heads of D numbers each.
"""

import inspect
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privacy.dp.rules.share import Call
from privacy.errors import ModelError

MOST_NUMBERS = 1 << 20  # of attention at once: so many records are taken together


class Given(NamedTuple):
    """What a layer was called with, the batch first.

    Attributes:
        query: [B, L, E].
        key, value: [B, S, ...].
        mask: added to the scores, [B, 1 or N, L or 1, S], or None.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None

    def of(self, records: slice) -> "Given":
        """The same of some records."""
        mask = None if self.mask is None else self.mask[records]
        return Given(self.query[records], self.key[records], self.value[records], mask)


def attention(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Gradients of each weight and bias, that of its output's projection included, [B, ...].

    Raises:
        ModelError: single sequences.
    """
    assert isinstance(layer, nn.MultiheadAttention)
    given, average = _bound(layer, call)
    out = g[0] if layer.batch_first else g[0].transpose(0, 1)
    weights = g[1] if len(g) > 1 else None  # of the heads' mean, or of each
    if weights is not None and average:
        weights = (weights / layer.num_heads).unsqueeze(1).expand(-1, layer.num_heads, -1, -1)
    L, S = given.query.shape[1], given.key.shape[1]
    at_once = max(1, MOST_NUMBERS // (layer.num_heads * L * (S + 2)))
    parts = [
        _gradients(
            layer,
            given.of(slice(i, i + at_once)),
            out[i : i + at_once],
            None if weights is None else weights[i : i + at_once],
        )
        for i in range(0, len(out), at_once)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _bound(layer: nn.MultiheadAttention, call: Call) -> tuple[Given, bool]:
    """The call's tensors, and whether the weights that it asks for are the heads' mean."""
    bound = inspect.signature(nn.MultiheadAttention.forward).bind(layer, *call.inputs, **call.named)
    bound.apply_defaults()
    named = bound.arguments
    query = named["query"]
    if query.dim() != 3:
        raise ModelError("MultiheadAttention: give it a batch of sequences, not a single one")
    apart = [
        named[n] if layer.batch_first else named[n].transpose(0, 1)
        for n in ("query", "key", "value")
    ]
    B = len(apart[0])
    mask: Tensor | None = None
    if (padded := named["key_padding_mask"]) is not None:
        mask = _added(padded, query)[:, None, None]
    if (own := named["attn_mask"]) is not None:
        own = _added(own, query)
        # Of each record and head, one after another; or one for all.
        own = own.unflatten(0, (B, layer.num_heads)) if own.dim() == 3 else own.expand(B, 1, -1, -1)
        mask = own if mask is None else mask + own
    return Given(apart[0], apart[1], apart[2], mask), named["average_attn_weights"]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to scores; True is what must not be seen."""
    if mask.dtype != torch.bool:
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, -torch.inf)


def _gradients(
    layer: nn.MultiheadAttention, given: Given, g_BLE: Tensor, g_weights: Tensor | None
) -> dict[str, Tensor]:
    x = given[:3]
    weights, biases = _projections(layer)
    seen = [F.linear(t, w, b).requires_grad_() for t, w, b in zip(x, weights, biases, strict=True)]
    extra = [
        p.detach().expand(len(g_BLE), 1, -1).clone().requires_grad_()
        for p in (layer.bias_k, layer.bias_v)
        if p is not None
    ]
    with torch.enable_grad():
        heads_BLE, seen_BNLS = _attend(layer, seen, extra, given.mask)
    outputs, gradients = [heads_BLE], [g_BLE @ layer.out_proj.weight.detach()]
    if g_weights is not None:
        outputs, gradients = [*outputs, seen_BNLS], [*gradients, g_weights]
    g_seen = torch.autograd.grad(outputs, [*seen, *extra], gradients)
    found = {"out_proj.weight": _summed(g_BLE, heads_BLE.detach())}
    of_weights = [_summed(gy, t) for gy, t in zip(g_seen, x, strict=False)]
    if layer._qkv_same_embed_dim:
        found["in_proj_weight"] = torch.cat(of_weights, 1)
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        found |= dict(zip(names, of_weights, strict=True))
    if layer.in_proj_bias is not None:
        found["in_proj_bias"] = torch.cat([gy.sum(1) for gy in g_seen[:3]], 1)
        found["out_proj.bias"] = g_BLE.sum(1)
    if extra:
        found |= {"bias_k": g_seen[3][:, None], "bias_v": g_seen[4][:, None]}
    return found


def _projections(layer: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor | None]]:
    """Weights [E, ...] and biases [E] of queries, keys and values."""
    if layer._qkv_same_embed_dim:
        weights = list(layer.in_proj_weight.detach().chunk(3))
    else:
        named = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        weights = [p.detach() for p in named]
    if layer.in_proj_bias is None:
        return weights, [None] * 3
    return weights, list(layer.in_proj_bias.detach().chunk(3))


def _attend(
    layer: nn.MultiheadAttention, seen: list[Tensor], extra: list[Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What all heads saw, side by side [B, L, E], and where they looked [B, N, L, S]."""
    q_BLE, k_BSE, v_BSE = seen
    if extra:
        k_BSE, v_BSE = torch.cat([k_BSE, extra[0]], 1), torch.cat([v_BSE, extra[1]], 1)
    if layer.add_zero_attn:
        k_BSE, v_BSE = F.pad(k_BSE, (0, 0, 0, 1)), F.pad(v_BSE, (0, 0, 0, 1))
    q, k, v = (t.unflatten(2, (layer.num_heads, -1)).transpose(1, 2) for t in (q_BLE, k_BSE, v_BSE))
    scores_BNLS = q @ k.transpose(2, 3) / layer.head_dim**0.5
    if mask is not None:
        scores_BNLS = scores_BNLS + F.pad(mask, (0, scores_BNLS.shape[3] - mask.shape[3]))
    seen_BNLS = scores_BNLS.softmax(3)
    return (seen_BNLS @ v).transpose(1, 2).flatten(2), seen_BNLS


def _summed(g_BPO: Tensor, x_BPI: Tensor) -> Tensor:
    """A weight's gradients over all positions, [B, O, I]."""
    return torch.bmm(g_BPO.transpose(1, 2), x_BPI)
