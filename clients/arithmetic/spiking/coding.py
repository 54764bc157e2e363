"""How a record comes to a net that knows spikes only.

rate      at each step an input x in [0, 1] fires with probability `rate` x
latency   it fires once: the larger, the earlier; what is black never fires
current   it is no spike: the first neurons are given x as a current, at every step

Shapes: B records, T steps, N inputs.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.dice import Dice, uniform
from clients.arithmetic.settings import Arithmetic
from privacy.compiling import compiled

BLACK = 0.01  # below it nothing fires under `latency`
SEED = 1  # of what fires in evaluation: known to everyone


@compiled  # type: ignore[untyped-decorator]
def _by_rate(x: Any, rate: Any, seeds: Any, out: Any) -> None:
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            for n in range(out.shape[2]):
                out[b, t, n] = uniform(seeds[b], t * out.shape[2] + n) < rate * x[b, n]


class Encoder(nn.Module):
    """Records as spikes. Under `rate` those of a record in training follow from it and the step;
    in evaluation one record always gives the same."""

    def __init__(self, settings: Arithmetic) -> None:
        super().__init__()
        self.coding, self.steps, self.dice = settings.coding, settings.time_steps, Dice()
        self.rate = settings.rate
        self.fires = settings.coding != "current"

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] in [0, 1], beyond which it is cut -> [B, T, ...]; a current as it is."""
        if not self.fires:
            return x
        if self.coding == "latency":
            return self._by_latency(x)
        out = np.empty((len(x), self.steps, x[0].numel() if len(x) else 0), np.float32)
        seeds = self.dice.rows(len(x)) if self.training else np.full(len(x), SEED, np.uint64)
        _by_rate(x.detach().flatten(1).contiguous().numpy(), np.float32(self.rate), seeds, out)
        return torch.from_numpy(out).view(len(x), self.steps, *x.shape[1:])

    def _by_latency(self, x: Tensor) -> Tensor:
        x = x.detach()
        when = torch.round((self.steps - 1) * (1 - x.clamp(BLACK, 1)))
        at = torch.arange(self.steps, dtype=x.dtype).view(1, -1, *[1] * (x.dim() - 1))
        fires = (when.unsqueeze(1) == at) & (x >= BLACK).unsqueeze(1)
        return fires.to(x.dtype)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"{self.coding}, steps={self.steps}"
