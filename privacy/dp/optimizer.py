"""Opacus's `DPOptimizer`, whose sums are in float64 and whose noise is in whole numbers.

Opacus adds up and draws in the weights' own type: in float32 a norm can vanish, and the noise's
last bits tell the sum. Here records are clipped to a little less than the clip, so that all that
rounding can add to a record's influence stays within it (see `privacy.dp.grid`).

Norms and sums are computed where the parameters are, on a processor or a GPU. Noise is drawn and
added by the processor in either case, by the one path that there is: what a GPU gets back is noisy.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from privacy.cipher import Key
from privacy.dp.grid import Grid
from privacy.dp.noise import Noise
from privacy.dp.opacus import DPOptimizer, _check_processed_flag, _mark_as_processed

CHECKED = 1 - 2.0**-40  # of the clip: for norms and factors themselves, in float64


class GridOptimizer(DPOptimizer):
    """Opacus's hooks, clipped in float64, released on a grid.

    Args:
        optimizer: over all parameters to train.
        others: as for `DPOptimizer`; `expected_batch_size` divides the noisy sum.
        noise: where the noise comes from; without one, the operating system.
        share: what else rounding may add to a record's influence, of the clip.
        kept: of parameters that are pruned, like each: 1 where it is trained and 0 where it is not,
            which then is no part of a record's norm, nor of a sum.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        noise: Noise | None = None,
        share: float = 0.0,
        kept: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            loss_reduction="mean",
        )
        self._noise = noise or Noise(Key.secret())
        self._kept = {id(p): kept_p for p, kept_p in (kept or {}).items()}
        parameters: list[Any] = self.params  # Any: Opacus hangs its `summed_grad` on them
        first, size = parameters[0], sum(p.numel() for p in parameters)
        self._total = torch.zeros(size, dtype=torch.float64, device=first.device)
        self._noisy = torch.zeros(size, dtype=first.dtype, device=first.device)
        self._sums, self._grads = self._views(self._total), self._views(self._noisy)
        self.grid = Grid.of(max_grad_norm, len(self._total))
        self.limit = max_grad_norm * CHECKED * (1 - self.grid.share - share)

    @property
    def fills_passes(self) -> bool:
        """Is each pass to have as many rows? See `privacy.dp.passes`."""
        return False

    def factors(self, norms_B: Tensor) -> Tensor:
        """Clip factors of records by their gradients' norms, float64 [B]; 0 if not finite."""
        c_B = (self.limit / norms_B).clamp(max=1.0)
        return c_B.where(norms_B.isfinite(), c_B.new_zeros(()))

    def clip_and_accumulate(self) -> None:
        """Add the clipped gradients that Opacus's hooks left to the sums."""
        for p in self.params:
            _check_processed_flag(p.grad_sample)
        samples = [
            (g * self._kept[id(p)] if id(p) in self._kept else g).flatten(1).double()
            for p, g in zip(self.params, self.grad_samples, strict=True)
        ]
        norms = [torch.linalg.vector_norm(g, dim=1) for g in samples]
        norms_B = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        c_B = self.factors(norms_B)
        for total, g in zip(self._sums, samples, strict=True):
            total.add_((c_B @ g.where(norms_B.isfinite()[:, None], 0.0)).view_as(total))
        for p, total in zip(self.params, self._sums, strict=True):
            p.summed_grad = total
            _mark_as_processed(p.grad_sample)

    def add_noise(self) -> None:
        """The noisy sum, in all `p.grad`."""
        total, noisy = self._total.cpu(), self._noisy.cpu()  # themselves, if they are there
        self.grid.noisy(total.numpy(), self.noise_multiplier, self._noise, noisy.numpy())
        self._noisy.copy_(noisy)
        for p, grad in zip(self.params, self._grads, strict=True):
            p.grad = grad

    def scale_grad(self) -> None:
        """From the sum to the mean over the expected batch."""
        self._noisy.div_(self.expected_batch_size)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all sums; in the middle of a batch that comes in pieces, its gradients only."""
        super().zero_grad(set_to_none)
        if not self._is_last_step_skipped:
            self._total.zero_()

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self.params])
        return [part.view(p.shape) for p, part in zip(self.params, parts, strict=True)]
