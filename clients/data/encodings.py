"""How records lie in memory, and what a model reads of them: expanded when they are fetched."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from clients.data.bounds import Schema

if TYPE_CHECKING:  # what records are is told without torch
    from torch import Tensor


class Encoding(Protocol):
    """Of one data set."""

    def __call__(self, x: "Tensor") -> "Tensor":
        """Records in their compact type [B, ...] -> inputs float32 [B, *form.shape]."""


@dataclass(frozen=True)
class Scaled:
    """Numbers of any type, of which `scale` stands for 1."""

    scale: float = 1.0

    def __call__(self, x: "Tensor") -> "Tensor":
        """[B, ...] -> float32 [B, ...]"""
        inputs = x.float()
        return inputs.div_(self.scale) if self.scale != 1 else inputs


PIXELS, PLAIN = Scaled(255.0), Scaled()


@dataclass(frozen=True)
class Columns:
    """Rows of a table, float32 [B, K]: a number in [-1, 1] or NaN, a category's place or -1.

    A model reads `schema.widths` of them side by side: one-hot, with a last place for what is
    missing where the schema says what stands for that; of a number also whether it is the least,
    whether it is missing, and how near it is to each of its knots.
    """

    schema: Schema

    @cached_property
    def _plan(self) -> "tuple[Tensor, Tensor, list[tuple[int, int, bool, bool, int]]]":
        import torch

        starts = torch.tensor([0, *self.schema.widths]).cumsum(0)
        columns = list(self.schema.columns.values())
        categories = torch.tensor([i for i, c in enumerate(columns) if c.values], dtype=torch.long)
        numbers = [
            (i, int(starts[i]), c.log, bool(c.missing), c.knots)
            for i, c in enumerate(columns)
            if not c.values
        ]
        return categories, starts, numbers

    def __call__(self, x: "Tensor") -> "Tensor":
        """[B, K] -> [B, F]"""
        import torch

        categories, starts, numbers = self._plan
        out = torch.zeros(len(x), int(starts[-1]) + 1)  # the last place takes what has none
        if len(categories):
            codes = x[:, categories].long()
            places = torch.where(codes < 0, out.shape[1] - 1, codes + starts[categories])
            out.scatter_(1, places, 1.0)
        for column, start, log, missing, knots in numbers:
            value = x[:, column]
            out[:, start] = value.nan_to_num(0.0)
            if log:
                out[:, start + 1] = (value == -1).float()
            if missing:
                out[:, start + 1 + log] = value.isnan().float()
            if knots:
                far = (value[:, None] + 1) * (knots - 1) / 2 - torch.arange(knots)
                first = start + 1 + log + missing
                out[:, first : first + knots] = (1 - far.abs()).clamp(min=0).nan_to_num(0.0)
        return out[:, :-1]
