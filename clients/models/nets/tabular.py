"""Tabular: an embedding for each category, numbers as they are, then a perceptron."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from clients.models.nets.perceptron import ACTIVATIONS
from clients.models.nets.shapes import told
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError

PLAIN = 2  # numbers of a column that are passed on: a number, with a flag perhaps
MOST_NUMBERS = 16  # of an embedding


class Columns(nn.Module):
    """[B, F] -> [B, sum of what is made of each column].

    Args:
        widths: numbers that each column has, in order.
        embeddings: by the column's place, of those that are embedded: one-hot times a matrix.
    """

    def __init__(self, widths: Sequence[int], embeddings: dict[int, nn.Module]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.embeddings = nn.ModuleDict({str(place): e for place, e in embeddings.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Column by column."""
        made = [
            self.embeddings[str(place)](column) if str(place) in self.embeddings else column
            for place, column in enumerate(x.split(self.widths, 1))
        ]
        return torch.cat(made, 1)


def build_tabular(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Embeddings of half as many numbers as a category has values, then `hidden` dense layers.

    Raises:
        ModelError: the records are no table.
    """
    if form.kind != "table" or len(form.shape) != 1:
        raise ModelError(
            f"[model] name = 'tabular': reads tables, and a {form.kind} of {told(form.shape)} is "
            "none; use perceptron, or a net for its kind"
        )
    columns = form.columns or (1,) * form.shape[0]
    if sum(columns) != form.shape[0]:
        raise ModelError(
            f"[model] name = 'tabular': columns of {sum(columns)} numbers, and records of "
            f"{form.shape[0]}"
        )
    sizes = {
        place: min(-(-width // 2), MOST_NUMBERS)
        for place, width in enumerate(columns)
        if width > PLAIN
    }
    embeddings: dict[int, nn.Module] = {
        place: nn.Sequential(*arithmetic.linear(columns[place], size))
        for place, size in sizes.items()
    }
    inputs = sum(sizes.get(place, width) for place, width in enumerate(columns))
    widths = [inputs, *model.hidden]
    layers: list[nn.Module] = [*arithmetic.entrance(), Columns(columns, embeddings)]
    for before, after in pairwise(widths):
        layers += arithmetic.linear(before, after)
        layers += arithmetic.activation(ACTIVATIONS[model.activation])
    return arithmetic.chain([*layers, *arithmetic.linear(widths[-1], form.outputs)])
