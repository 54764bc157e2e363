"""Strokes: scattering coefficients, made even by how those of random strokes vary.

DP-SGD clips a record's gradient by its norm, and adds noise of the same strength in every
direction. Scattering coefficients of pictures share a large mean, and most of their variance lies
along a few directions: where noise is strong, these are all that a linear layer learns (Sun, Suresh
and Menon, "The importance of feature preprocessing for differentially private linear optimization",
ICLR 2024, who take a mean and a covariance from the records, under a part of the budget). Here both
are those of pictures that a fixed generator draws: curves on a black ground. No record is asked, so
it costs no privacy, and it is the same for all data sets.

The covariance is taken as a product of one over channels and one over places, both diagonalised:
an axis is a channel's by a place's. Those along which strokes vary most are kept, and a coefficient
whose variance is v is divided by (v + a thousandth of the greatest)^`EVEN`: 0 would leave it, 1 / 2
make all alike.

Pictures of things are filled, shaded and patterned. For these the fixed generator draws shapes
instead, and it is the logarithms of the coefficients that are made even: a weak pattern in a dark
cloth then tells as much as a strong one in a bright cloth (Anden and Mallat, "Deep scattering
spectrum", IEEE TSP 62(16), 2014, section V).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.scattering import GROUPS, scatter
from clients.models.transform import Product, Step

DRAWN = 1000  # pictures
SEED = 28
MOST_STROKES = 3
POINTS = 40  # of a stroke
MARGIN = 1 / 7  # of a side, in which no control point lies
WIDTHS = (0.8 / 28, 1.8 / 28)  # half of a stroke's, in sides
EVEN = 0.3
FLOOR = 1e-3
NORM = 50.0  # of a record, about
MOST = 5.0

# Shapes, in sides of a picture and in cycles a side.
SHAPE_SEED = 29
HALVES = (0.2, 0.5)  # of a shape, along each side of the picture
OFF_CENTRE = 0.08  # at most, along each
BUMPS = 5  # waves around an outline
ROUGHNESS = 0.25  # of the first; that of the k-th is weaker by sqrt(k)
LEVELS = (0.2, 0.9)  # of grey
MOST_WAVES = 3
CYCLES = (0.5, 11.0)
STRONGEST = 0.35
STRIPED = 0.5  # share of waves that are as stripes, of two values
DARK = 2e-3  # a coefficient so small is as good as none


class Evenness(NamedTuple):
    """What makes coefficients [N, C, P] even.

    Attributes:
        mean: [C, P], of strokes.
        channels, places: [C, C] and [P, P], axes as rows and as columns.
        kept: int64 [A], which of the C x P axes, in their order.
        scale: [A].
    """

    mean: Tensor
    channels: Tensor
    places: Tensor
    kept: Tensor
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Coefficients [N, C, P] -> [N, A]."""
        turned = self.channels @ (x - self.mean) @ self.places
        return turned.flatten(1)[:, self.kept] * self.scale


class Kind(NamedTuple):
    """Which pictures are drawn, and what of their coefficients is made even.

    Attributes:
        draw: (num, height, width) -> float32 [num, height, width] in [0, 1].
        prepare: coefficients [N, C, h, w] -> [N, C, h w], each record by itself.
        logarithms: does `prepare` take them?
    """

    draw: Callable[[int, int, int], Tensor]
    prepare: Callable[[Tensor], Tensor]
    logarithms: bool = False


@lru_cache(maxsize=4)
def evenness(kind: Kind, height: int, width: int, axes: int) -> Evenness:
    """Of pictures of a size.

    Args:
        axes: how many are kept.
    """
    return even_out(kind.prepare(scatter(kind.draw(DRAWN, height, width))), axes)


def normalised(coefficients: Tensor) -> Tensor:
    """Coefficients [N, C, h, w] in groups within each record, [N, C, h w]."""
    return F.group_norm(coefficients, GROUPS).flatten(2)


def logarithms(coefficients: Tensor) -> Tensor:
    """Those of coefficients [N, C, h, w], of mean 0 and variance 1 in each record, [N, C, h w]."""
    return F.group_norm(coefficients.clamp_min(0).add_(DARK).log_(), 1).flatten(2)


def draw(num: int, height: int, width: int) -> Tensor:
    """Pictures float32 [num, height, width] in [0, 1] of one to three cubic Bezier curves each."""
    rng = np.random.default_rng(SEED)
    side = min(height, width)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[:, None]
    t = np.linspace(0, 1, POINTS)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], 1)
    sides, margin = np.array([height - 1, width - 1]), MARGIN * side
    out = np.zeros((num, height, width), np.float32)
    for picture in out:
        half = side * rng.uniform(*WIDTHS)
        for _ in range(rng.integers(1, MOST_STROKES + 1)):
            y, x = (weights @ rng.uniform(margin, sides - margin, (4, 2))).T
            distance = np.sqrt(((rows - y) ** 2 + (columns - x) ** 2).min(2))
            np.maximum(picture, np.clip(half + 0.5 - distance, 0, 1), out=picture)
    return torch.from_numpy(out)


def draw_shapes(num: int, height: int, width: int) -> Tensor:
    """Pictures float32 [num, height, width] in [0, 1] of one shape each: an outline that waves
    about an ellipse, filled with a grey and one to three plane waves or stripes."""
    rng = np.random.default_rng(SHAPE_SEED)
    side = min(height, width)
    rows = (np.arange(height)[:, None] - (height - 1) / 2) / side
    columns = (np.arange(width) - (width - 1) / 2) / side
    sides, turns = np.array([height, width]) / side, np.arange(1, BUMPS + 1)
    out = np.zeros((num, height, width), np.float32)
    for picture in out:
        half = sides * rng.uniform(*HALVES, 2)
        y, x = sides * rng.uniform(-OFF_CENTRE, OFF_CENTRE, 2)
        y, x = (rows - y) / half[0], (columns - x) / half[1]
        bumps = ROUGHNESS * rng.normal(size=BUMPS) / np.sqrt(turns)
        around = turns * np.arctan2(y, x)[..., None] + rng.uniform(0, 2 * np.pi, BUMPS)
        beyond = np.hypot(y, x) - 1 - np.cos(around) @ bumps
        grey = np.full((height, width), rng.uniform(*LEVELS))
        for _ in range(rng.integers(1, MOST_WAVES + 1)):
            cycles, angle = np.exp(rng.uniform(*np.log(CYCLES))), rng.uniform(0, np.pi)
            along = rows * np.sin(angle) + columns * np.cos(angle)
            wave = np.cos(2 * np.pi * (cycles * along + rng.uniform()))
            wave = np.sign(wave) if rng.uniform() < STRIPED else wave
            grey += rng.uniform(0, STRONGEST) * wave
        inside = np.clip(0.5 - beyond * half.min() * side, 0, 1)
        picture[:] = np.clip(grey, 0, 1) * inside
    return torch.from_numpy(out)


STROKES, SHAPES = Kind(draw, normalised), Kind(draw_shapes, logarithms, logarithms=True)


def even_out(coefficients: Tensor, axes: int) -> Evenness:
    """By pictures' coefficients [N, C, P], in doubles."""
    x = coefficients.double()
    mean = x.mean(0)
    centred = x - mean
    num, channels, places = x.shape
    over_channels = torch.einsum("nap,nbp->ab", centred, centred) / (num * places)
    over_places = torch.einsum("nap,naq->pq", centred, centred) / (num * channels)
    (by_channel, rows), (by_place, columns) = _axes(over_channels), _axes(over_places)
    variance = torch.outer(by_channel, by_place).flatten()
    # in their own order: two that vary alike are not exchanged by another library's last bit
    kept = variance.argsort(descending=True)[:axes].sort().values
    scale = (variance[kept] + FLOOR * variance.max()) ** -EVEN
    made = Evenness(mean, rows.T, columns, kept, scale)
    made = made._replace(scale=scale * (NORM / made(x).norm(dim=1).mean()))
    return Evenness(*(p.float().contiguous() if p.is_floating_point() else p for p in made))


def in_halves(even: Tensor) -> Tensor:
    """Numbers [N, A] as [N, 2 A] in [0, 1], as bit streams take them: what is above 0, then what is
    below; those beyond `MOST` are 1. So a small number is few bits, and 0 none."""
    return torch.cat([even, -even], 1).div_(MOST).clamp_(0, 1)


def _axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Its eigenvalues, the greatest first, and its eigenvectors as columns; of each vector the
    greatest entry is positive, for every library to find the same."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    greatest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return values.clamp_min(0), vectors * greatest.sign()


def steps_behind(channels: int, places: int, axes: int, source: int) -> list[Step]:
    """What is done to the coefficients of one channel's record, which step `source` gives."""
    size = channels * places
    return [
        Step("less the mean", (source,), size),
        Step("axes of channels", (source + 1,), size, Product(1, places, channels, channels)),
        Step("axes of places", (source + 2,), size, Product(1, channels, places, places)),
        Step("even", (source + 3,), axes),
    ]
