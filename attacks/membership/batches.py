"""Batches of many models at once, as the run draws them for one.

Shapes: K models, B records in a batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from attacks.tape import Recipe

Batches = Iterator[tuple[Tensor, Tensor]]


def batches(
    part: Sequence[Tensor], recipe: Recipe, generator: torch.Generator, *, shared: bool
) -> Batches:
    """Batches of each step: record numbers, and which of them count for which model [K, B].

    Each model gets its own [K, B]; but where it is `shared`, one Poisson sample [B] of all models'
    records serves them all, and each counts its own: by itself, that is a Poisson sample too.
    """
    if recipe.noise_multiplier is None:
        return _shuffled(part, recipe, generator)
    return (_poisson_shared if shared else _poisson)(part, recipe, generator)


def _poisson(part: Sequence[Tensor], recipe: Recipe, generator: torch.Generator) -> Batches:
    for _ in range(recipe.local_steps):
        rows = [own[torch.rand(len(own), generator=generator) < recipe.sample_rate] for own in part]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        yield padded.clamp(min=0), (padded >= 0).float()


def _poisson_shared(part: Sequence[Tensor], recipe: Recipe, generator: torch.Generator) -> Batches:
    everyone = torch.cat(list(part)).unique()
    has_KN = torch.stack([torch.isin(everyone, own) for own in part]).float()
    for _ in range(recipe.local_steps):
        chosen = torch.rand(len(everyone), generator=generator) < recipe.sample_rate
        yield everyone[chosen], has_KN[:, chosen]


def _shuffled(part: Sequence[Tensor], recipe: Recipe, generator: torch.Generator) -> Batches:
    """Batches of round(q n) in shuffled order, shuffled anew when all have been seen."""
    lengths = [min(len(own), max(1, round(recipe.sample_rate * len(own)))) for own in part]
    orders = [torch.empty(0, dtype=torch.int64) for _ in part]
    for _ in range(recipe.local_steps):
        rows = []
        for k, (own, length) in enumerate(zip(part, lengths, strict=True)):
            if len(orders[k]) < length:
                again = torch.randperm(len(own), generator=generator)
                orders[k] = torch.cat([orders[k], again])
            rows.append(own[orders[k][:length]])
            orders[k] = orders[k][length:]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        yield padded.clamp(min=0), (padded >= 0).float()
