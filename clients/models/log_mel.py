"""Log-mel: a sound as the logarithm of its power in mel bands, frame by frame.

Frames of 32 ms every 20 ms under Hann's window; their power spectra by a product with a matrix of
cosines and sines; bands that are triangles on the mel scale 1127 ln(1 + f / 700) (O'Shaughnessy
1987; as in HTK). A record is brought to one loudness before, and to mean 0 and deviation 1 after:
with no number but its own.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

FRAME_S, HOP_S = 0.032, 0.020
MOST_BANDS = 40
FLOOR = 1e-5  # of a band's power, where a record's mean is 1
QUIET = 1e-5  # of a loudness: 16-bit silence stays silent
STILL = 1e-3  # of a deviation: silence has none
BLOCK = 32


class Bank(NamedTuple):
    """The fixed matrices of a rate.

    Attributes:
        hop: samples from frame to frame.
        waves: [frame, 2 bins], Hann's window in them: cosines, then sines.
        bands: [bins, M].
    """

    hop: int
    waves: Tensor
    bands: Tensor


def log_mel(form: Form) -> Transform:
    """Sounds [L] -> float16 [M, T]: mel bands, of which there are 40 where the rate allows, frames.

    Raises:
        ModelError: no sound, of an unknown rate, or shorter than a frame.
    """
    if form.kind != "sound" or len(form.shape) != 1 or form.rate_hz <= 0:
        raise ModelError(
            "[model] front = 'log-mel': reads sounds of a known rate, and these records are a "
            f"{form.kind} of {list(form.shape)} at {form.rate_hz:g} Hz; use front = 'none'"
        )
    bank = bank_of(form.rate_hz)
    (length,), frame = form.shape, len(bank.waves)
    if length < frame:
        raise ModelError(
            f"[model] front = 'log-mel': sounds of {length} samples are shorter than a frame, "
            f"{frame} at {form.rate_hz:g} Hz; use longer ones, or front = 'none'"
        )
    frames = (length - frame) // bank.hop + 1
    bins, bands = bank.bands.shape

    def steps() -> list[Step]:
        return [
            Step("loudness", (-1,), length),
            Step("spectra", (0,), frames * 2 * bins, Product(1, frames, frame, 2 * bins)),
            Step("power", (1,), frames * bins),
            Step("bands", (2,), frames * bands, Product(1, frames, bins, bands)),
            Step("logarithm", (3,), frames * bands),
            Step("normalise", (4,), frames * bands),
        ]

    def apply(sounds: Tensor) -> Tensor:
        return _apply(sounds, bank)

    return Transform(apply, (bands, frames), steps, BLOCK)


def _apply(sounds: Tensor, bank: Bank) -> Tensor:
    sounds = sounds - sounds.mean(1, keepdim=True)
    sounds = sounds / (sounds.square().mean(1, keepdim=True).sqrt() + QUIET)
    frames = sounds.unfold(1, len(bank.waves), bank.hop)  # [N, T, frame]
    real, imaginary = (frames @ bank.waves).chunk(2, 2)
    power = real.square().add_(imaginary.square())
    bands = (power @ bank.bands + FLOOR).log_()
    mean, deviation = bands.mean((1, 2), keepdim=True), bands.std((1, 2), keepdim=True)
    return ((bands - mean) / (deviation + STILL)).transpose(1, 2).to(torch.float16)


@lru_cache(maxsize=8)
def bank_of(rate_hz: float) -> Bank:
    frame, hop = max(2, round(FRAME_S * rate_hz)), max(1, round(HOP_S * rate_hz))
    time = torch.arange(frame, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / frame)
    bins = torch.arange(frame // 2 + 1, dtype=torch.float64)
    angles = 2 * math.pi / frame * torch.outer(time, bins)
    scale = window / window.square().sum().sqrt()  # white noise keeps its power
    waves = torch.cat([angles.cos(), angles.sin()], 1) * scale[:, None]
    num = MOST_BANDS
    while num > 1 and not (bands := _triangles(bins * rate_hz / frame, rate_hz, num)).any(0).all():
        num -= 1  # at a low rate there are fewer bins than bands
    bands = _triangles(bins * rate_hz / frame, rate_hz, num)
    return Bank(hop, waves.float(), (bands / bands.sum(0).clamp_min(1e-12)).float())


def _triangles(frequencies_hz: Tensor, rate_hz: float, num: int) -> Tensor:
    """[bins, num]: a band rises from the middle of the one before, and falls to the next's."""
    edges_mel = torch.linspace(0, 1127 * math.log1p(rate_hz / 2 / 700), num + 2).double()
    edges_hz = 700 * torch.expm1(edges_mel / 1127)
    below, middle, above = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (frequencies_hz[:, None] - below) / (middle - below)
    falling = (above - frequencies_hz[:, None]) / (above - middle)
    return torch.minimum(rising, falling).clamp_min(0)
