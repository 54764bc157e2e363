"""Spectrum: a window's channels by what is in them, wherever in the window it happens.

For each channel its mean, its deviation and the magnitudes of its Fourier transform under Hann's
window, without the mean: small ones as they are, large ones by their logarithm, and each record
brought to one norm, as DP-SGD clips by it. No record is asked how another should be scaled.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

SOFT = 2.0**-6  # magnitudes below are told as they are, above by their logarithm
NORM = 3.0
MOST_SAMPLES = 4096  # its matrix grows with the square
BLOCK = 256


def spectrum(form: Form) -> Transform:
    """Windows [C, L] or [L] -> float16 [C (2 + L // 2)]: channel after channel.

    Raises:
        ModelError: no windows or sounds, or too long or short ones.
    """
    length = form.shape[-1]
    if form.kind not in ("window", "sound") or len(form.shape) > 2:
        raise ModelError(
            "[model] front = 'spectrum': reads windows [channels, samples], and these records "
            f"are a {form.kind} of {list(form.shape)}; use front = 'none'"
        )
    if not 2 <= length <= MOST_SAMPLES:
        raise ModelError(
            f"[model] front = 'spectrum': of {length} samples; it takes 2 to {MOST_SAMPLES}: cut "
            "shorter windows, or use front = 'log-mel' or 'none'"
        )
    channels, bins = math.prod(form.shape[:-1]), length // 2
    size = channels * (2 + bins)
    waves = _waves(length)

    def steps() -> list[Step]:
        spectra = Product(1, channels, length, 2 * bins)
        return [
            Step("mean and deviation", (-1,), channels * (length + 2)),
            Step("spectra", (0,), channels * 2 * bins, spectra),
            Step("magnitudes", (1,), channels * bins),
            Step("logarithm", (0, 2), size),
        ]

    def apply(windows: Tensor) -> Tensor:
        return _apply(windows.reshape(len(windows), channels, length), waves)

    return Transform(apply, (size,), steps, BLOCK)


def _apply(windows: Tensor, waves: Tensor) -> Tensor:
    mean = windows.mean(2, keepdim=True)
    centred = windows - mean
    deviation = centred.square().mean(2, keepdim=True).sqrt()
    real, imaginary = (centred @ waves).chunk(2, 2)
    magnitudes = (real.square_() + imaginary.square_()).sqrt_()
    told = (torch.cat([deviation, magnitudes], 2) / SOFT).log1p_() / math.log1p(1 / SOFT)
    features = torch.cat([mean, told], 2).flatten(1)
    return F.normalize(features).mul_(NORM).to(torch.float16)


@lru_cache(maxsize=8)
def _waves(length: int) -> Tensor:
    """[L, 2 (L // 2)]: a sine of amplitude 1 has magnitude 1."""
    time = torch.arange(length, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / length)
    angles = 2 * math.pi / length * torch.outer(time, torch.arange(1, length // 2 + 1).double())
    waves = torch.cat([angles.cos(), angles.sin()], 1) * window[:, None]
    return (waves * 2 / window.sum()).float()
