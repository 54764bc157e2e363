"""Spectrum: a window's channels by what is in them, wherever in the window it happens.

For each channel its mean, how its quarters differ from that, its deviation, and how much of it is
in each band of frequencies under Hann's window, bands as wide as Fibonacci's numbers; and for each
two channels how they go together. Channels that come by threes are a sensor's x, y and z: the
length of each three is a channel more, which turning the sensor does not change. Small magnitudes
are told as they are, large ones by their logarithm, and each record is brought to one norm, as
DP-SGD clips by it. No record is asked how another should be scaled.
"""

import itertools
import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

SOFT = 2.0**-6  # magnitudes below are told as they are, above by their logarithm
STILL = 0.01  # the deviation below which a channel goes with no other
TOGETHER = 0.3  # the weight of two channels' correlation
PARTS = 4  # of a window, whose means are told
NORM = 3.0
MOST_SAMPLES = 4096  # its matrix grows with the square
BLOCK = 256


def spectrum(form: Form) -> Transform:
    """Windows [C, L] or [L] -> float16 [C' (2 + parts + bands) + C' (C' - 1) / 2], C' channels with
    the lengths: means, deviations, parts, bands, correlations.

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
    heard = channels + _threes(channels)
    pairs, parts, bands = heard * (heard - 1) // 2, min(PARTS, length), len(edges(bins)) - 1
    told = heard * (2 + parts + bands) + pairs
    waves = _waves(length)

    def steps() -> list[Step]:
        spectra = Product(1, heard, length, 2 * bins)
        alike = Product(1, heard, length, heard)
        return [
            Step("lengths", (-1,), heard * length),
            Step("means and deviations", (0,), heard * (length + 2 + parts)),
            Step("spectra", (1,), heard * 2 * bins, spectra),
            Step("bands", (2,), heard * bands),
            Step("correlations", (1,), heard * heard, alike),
            Step("logarithm", (1, 3, 4), told),
        ]

    def apply(windows: Tensor) -> Tensor:
        return _apply(windows.reshape(len(windows), channels, length), waves)

    return Transform(apply, (told,), steps, BLOCK)


def _threes(channels: int) -> int:
    """How many x, y and z the channels are; none where some would be left over."""
    return channels // 3 if channels % 3 == 0 else 0


def edges(bins: int) -> list[int]:
    """Where bands of frequencies begin and end, among `bins`: 0, 1, 2, 3, 5, 8, ..., bins."""
    found = [0, 1, 2]
    while found[-1] < bins:
        found.append(found[-2] + found[-1])
    return [*(edge for edge in found if edge < bins), bins]


def _apply(windows: Tensor, waves: Tensor) -> Tensor:
    channels, length = windows.shape[1:]
    if _threes(channels):
        lengths = windows.unflatten(1, (-1, 3)).norm(dim=2)
        windows = torch.cat([windows, lengths], 1)
    mean = windows.mean(2, keepdim=True)
    parts = F.adaptive_avg_pool1d(windows, min(PARTS, length)) - mean
    centred = windows - mean
    deviation = centred.square().mean(2, keepdim=True).sqrt()
    real, imaginary = (centred @ waves).chunk(2, 2)
    power = real.square() + imaginary.square()
    limits = edges(length // 2)
    widths = [end - start for start, end in itertools.pairwise(limits)]
    bands = torch.stack([band.sum(2) for band in power.split(widths, 2)], 2).sqrt_()
    magnitudes = torch.cat([deviation, bands], 2)
    told = (magnitudes / SOFT).log1p_() / math.log1p(1 / SOFT)
    alike = centred / (deviation + STILL)
    first, second = torch.triu_indices(windows.shape[1], windows.shape[1], 1)
    together = (alike @ alike.mT / length)[:, first, second] * TOGETHER
    features = torch.cat([t.flatten(1) for t in (mean, parts, told, together)], 1)
    return F.normalize(features).mul_(NORM).to(torch.float16)


@lru_cache(maxsize=8)
def _waves(length: int) -> Tensor:
    """[L, 2 (L // 2)]: a sine of amplitude 1 has magnitude 1."""
    time = torch.arange(length, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / length)
    angles = 2 * math.pi / length * torch.outer(time, torch.arange(1, length // 2 + 1).double())
    waves = torch.cat([angles.cos(), angles.sin()], 1) * window[:, None]
    return (waves * 2 / window.sum()).float()
