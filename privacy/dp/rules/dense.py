"""Layers that are one matrix: Linear, and Embedding, which picks rows of one.

Shapes: B samples, P positions, I inputs, O outputs, V words, U different words of a record.
"""

import torch
from torch import Tensor, nn

from privacy.dp.rules.share import Share, squared_norms, with_bias
from privacy.errors import ModelError


def linear(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """Linear over x [B, ..., I]."""
    if x.dim() < 2:
        raise ModelError("Linear: its input has no axis of records; keep the batch first and whole")
    if x.dim() > 2:  # a sequence: its positions share the weights, so they do not separate
        x_BPI, g_BPO = x.flatten(1, -2), g.flatten(1, -2)
        return with_bias(layer, torch.bmm(g_BPO.transpose(1, 2), x_BPI), g_BPO.sum(1))
    squared, squared_x = squared_norms(g), squared_norms(x)
    biased = layer.bias is not None

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        weighted = g.double() * c_B[:, None]
        total = weighted.t() @ x.double()
        return [total, weighted.sum(0)] if biased else [total]

    def gradients() -> list[Tensor]:
        weight = g.double()[:, :, None] * x.double()[:, None, :]
        return [weight, g] if biased else [weight]

    return Share(squared * (squared_x + biased), weighted_sum, gradients)


def embedding(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """Embedding of words x [B, ...] int, without a [B, V, O] of mostly zeros.

    A record's rows of the same word add before their squares do.
    """
    assert isinstance(layer, nn.Embedding)
    B, (V, O), device = len(x), layer.weight.shape, x.device  # noqa: E741
    words = x.reshape(B, -1).long()
    record = torch.arange(B, device=device).view(B, 1).expand_as(words)
    kept = torch.ones_like(words, dtype=torch.bool)
    if layer.padding_idx is not None:
        kept = words != layer.padding_idx
    keys, place = (record * V + words)[kept].unique(return_inverse=True)
    rows_UO = torch.zeros(len(keys), O, dtype=torch.float64, device=device)
    rows_UO.index_add_(0, place, g.reshape(B, -1, O)[kept].double())
    owner_U, word_U = keys // V, keys % V
    squared = torch.zeros(B, dtype=torch.float64, device=device)
    squared.index_add_(0, owner_U, squared_norms(rows_UO))

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        total = torch.zeros(V, O, dtype=torch.float64, device=device)
        return [total.index_add_(0, word_U, rows_UO * c_B[owner_U, None])]

    def gradients() -> list[Tensor]:
        weight = torch.zeros(B, V, O, dtype=torch.float64, device=device)
        weight[owner_U, word_U] = rows_UO
        return [weight]

    return Share(squared, weighted_sum, gradients)
