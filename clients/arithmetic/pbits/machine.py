"""A restricted Boltzmann machine of p-bits, trained by contrastive divergence: without labels,
without backpropagation.

Of visible p-bits v and hidden ones h, 0 or 1, the energy is -h W v - a v - b h, so that given all
of one kind those of the other are independent: each is 1 with the chance that its field gives,
1 / (1 + exp(-field)). From a record x go up, down and up again, `sweeps` times, to v and h; then

    dW = p(h|x) x^T - p(h|v) v^T        da = x - v        db = p(h|x) - p(h|v)

(Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation
2002; a spin of -1 and 1 as in `sampling` has half the field at I0 = 1).

Shapes: B records, T reads, I visible, O hidden.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.dice import Dice, uniform
from clients.arithmetic.local import LocalLayer, by_itself
from clients.arithmetic.settings import Arithmetic
from privacy.cipher import LongWords
from privacy.compiling import compiled
from privacy.dp.rules import RULES, Share

SEED = 1  # of what is read in evaluation: known to everyone
FIRST = 0.01  # deviation of the first weights
ROUNDED = 2.0**-44  # of the products whose difference is a squared norm: more than it can lose


@compiled  # type: ignore[untyped-decorator]
def _read(p: Any, seeds: Any, times: int, out: Any) -> None:
    """How often of some reads a p-bit is 1, from its chance p [B, N], out [B, N]."""
    for b in range(p.shape[0]):
        for n in range(p.shape[1]):
            ones = 0
            for t in range(times):
                ones += uniform(seeds[b], t * p.shape[1] + n) < p[b, n]
            out[b, n] = ones / times


def _thrown(p: Tensor, seeds: LongWords, times: int = 1) -> Tensor:
    out = torch.empty_like(p)
    _read(p.contiguous().numpy(), seeds, times, out.numpy())
    return out


class Walk(NamedTuple):
    """Where chains began and where they are: visible [B, I], chances of hidden ones [B, O].

    Attributes:
        ones: hidden and visible p-bits that were 1, over all sweeps, [B, 2].
    """

    x: Tensor
    p: Tensor
    v: Tensor
    q: Tensor
    ones: Tensor


class BoltzmannLinear(LocalLayer):
    """A machine as a layer: [B, I] in [0, 1], beyond which it is cut -> [B, O], the share of
    `reads` in which each hidden p-bit was 1.

    In training what is thrown for a record follows from it and the step; in evaluation one record
    always gives the same.
    """

    def __init__(self, inputs: int, outputs: int, settings: Arithmetic) -> None:
        super().__init__()
        self.reads, self.sweeps, self.dice = settings.time_steps, settings.sweeps, Dice()
        self.weight = nn.Parameter(FIRST * torch.randn(outputs, inputs))
        self.hidden, self.visible = (nn.Parameter(torch.zeros(n)) for n in (outputs, inputs))

    def answer(self, x: Tensor) -> Tensor:
        """Read the hidden p-bits, the visible ones clamped."""
        seeds = self.dice.rows(len(x)) if self.training else np.full(len(x), SEED, np.uint64)
        return _thrown(self._up(x.clamp(0, 1)), seeds, self.reads)

    def walk(self, x: Tensor) -> Walk:
        """Up, down and up again."""
        with torch.no_grad():
            x = x.clamp(0, 1)
            p = q = self._up(x)
            ones = torch.zeros(len(x), 2)
            for _ in range(self.sweeps):
                h = _thrown(q, self.dice.rows(len(x)))
                v = _thrown(torch.sigmoid(h @ self.weight + self.visible), self.dice.rows(len(x)))
                q = self._up(v)
                ones += torch.stack([h.sum(1), v.sum(1)], 1)
        return Walk(x, p, v, q, ones)

    def _up(self, v: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.sigmoid(v @ self.weight.t() + self.hidden)

    def share(self, x: Tensor, told: Tensor | None = None) -> Share:
        """Of couplings, hidden and visible fields."""
        x, p, v, q, _ = (part.double() for part in self.walk(x))
        near, far = _product(x, x) * _product(p, p), _product(v, v) * _product(q, q)
        squared = near + far - 2 * _product(x, v) * _product(p, q) + ROUNDED * (near + far)
        squared += (p - q).square().sum(1) + (x - v).square().sum(1)

        def weighted_sum(c_B: Tensor) -> list[Tensor]:
            c = c_B[:, None]
            weight = (c * q).t() @ v - (c * p).t() @ x
            return [weight, (c * (q - p)).sum(0), (c * (v - x)).sum(0)]

        def gradients() -> list[Tensor]:
            weight = q[:, :, None] * v[:, None] - p[:, :, None] * x[:, None]
            return [weight, q - p, v - x]

        return Share(squared, weighted_sum, gradients)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, reads={self.reads}, sweeps={self.sweeps}"


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


RULES[BoltzmannLinear] = by_itself
