"""Records that nobody has: what ranges are measured on, so that no record is needed to compile.

A model that was trained under a promise must not be served with numbers taken from its records
without that promise, and a server of a federation has no record at all. So a plan's ranges, and the
shift by its rounded weights, come from drawn records. Images are strokes of a pen, which fill a few
pixels, and blobs with soft edges, which fill many; rows of a table lie anywhere between the bounds
of its schema; windows and sounds are smooth noise about some level. They are the same for every
model of one form, and public.

Shapes: B records, (H, W) pixels, P points of a stroke, C channels, L samples.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.dataset import Dataset
from clients.data.encodings import Columns
from privacy.encrypted.net import Array

CALIBRATION = f"synthetic records ({__name__}), no record of any data set"
STROKES = 3  # at most, in one drawing
POINTS = 24  # of a stroke
BLOB_SHARE = 0.25  # of the images; the others are drawings
PIECE = 250  # images drawn at once, which bounds the memory


def synthetic_inputs(dataset: Dataset, num: int, seed: int = 0) -> torch.Tensor:
    """What a model reads of drawn records of a data set's form, float32 [B, ...]."""
    drawn = _DRAWN[dataset.kind](dataset, num, seed)
    return torch.from_numpy(drawn).float().reshape(num, *dataset.shape)


def _pictures(dataset: Dataset, num: int, seed: int) -> Array:
    """Each colour is drawn by itself."""
    *channels, height, width = (1, *dataset.shape) if len(dataset.shape) == 1 else dataset.shape
    images = synthetic_images((height, width), num * int(np.prod(channels)), seed)
    return images.reshape(num, *dataset.shape)


def _rows(dataset: Dataset, num: int, seed: int) -> NDArray:
    """Of a table: any number between the bounds, any value or none of them.

    Of amounts one in two is the least; of numbers that may be missing one in ten is.
    """
    assert isinstance(dataset.encoding, Columns)
    rng = np.random.default_rng(seed)
    columns = list(dataset.encoding.schema.columns.values())
    drawn = rng.uniform(-1, 1, (num, len(columns)))
    for place, column in enumerate(columns):
        if column.values:
            drawn[:, place] = rng.integers(len(column.values) + bool(column.missing), size=num)
            continue
        if column.log:
            drawn[rng.random(num) < 0.5, place] = -1
        if column.missing:
            drawn[rng.random(num) < 0.1, place] = np.nan
    rows: NDArray = dataset.encoding(torch.from_numpy(drawn).float()).numpy()
    return rows


def _windows(dataset: Dataset, num: int, seed: int) -> Array:
    """Each channel about a level of its own."""
    rng = np.random.default_rng(seed)
    return np.clip(_noise(rng, num, dataset.shape) + rng.uniform(-1, 1, (num, 1, 1)), -1, 1)


def _sounds(dataset: Dataset, num: int, seed: int) -> Array:
    return np.clip(_noise(np.random.default_rng(seed), num, (1, *dataset.shape)), -1, 1)


def _noise(rng: np.random.Generator, num: int, shape: tuple[int, ...]) -> Array:
    """Smooth noise [B, C, L], some of it loud and some hardly heard."""
    frequencies = np.fft.rfftfreq(shape[1])
    width = np.exp(rng.uniform(0, 3, (num, 1, 1)))
    smooth = np.exp(-((frequencies * width) ** 2) / 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal((num, *shape))) * smooth, shape[1])
    loudness = np.exp(rng.uniform(-4, -0.5, (num, 1, 1)))
    return np.asarray(noise / (noise.std(axis=2, keepdims=True) + 1e-12) * loudness)


_DRAWN: dict[str, Callable[[Dataset, int, int], NDArray]] = {
    "picture": _pictures,
    "table": _rows,
    "window": _windows,
    "sound": _sounds,
}


def synthetic_images(shape: tuple[int, int], num: int, seed: int = 0) -> Array:
    """Drawings and blobs [B, H, W] in [0, 1], the same for the same arguments."""
    rng = np.random.default_rng([seed, *shape])
    blobs = round(BLOB_SHARE * num)
    pieces = [_blobs(rng, shape, blobs)]
    for start in range(0, num - blobs, PIECE):
        pieces.append(_drawings(rng, shape, min(PIECE, num - blobs - start)))
    return rng.permutation(np.concatenate(pieces))


def _drawings(rng: np.random.Generator, shape: tuple[int, int], num: int) -> Array:
    """One to three strokes, each a quadratic Bezier curve of one pen."""
    side = min(shape)
    ends = rng.uniform(-0.05, 1.05, (num, STROKES, 3, 2)) * np.array(shape)
    t = np.linspace(0, 1, POINTS)[:, None, None, None, None]
    start, middle, end = np.moveaxis(ends, 2, 0)[:, None]
    points = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)[:, 0]  # [P, B, 3, 2]
    drawn = rng.integers(1, STROKES + 1, num)[:, None] > np.arange(STROKES)
    radius = side * rng.uniform(0.04, 0.09, (num, 1, 1))
    nearest = np.full((num, *shape), np.inf)
    rows, columns = np.arange(shape[0])[:, None] + 0.5, np.arange(shape[1]) + 0.5
    for stroke in range(STROKES):
        for y, x in np.moveaxis(points[:, :, stroke], 2, 1):
            squared = (rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2
            squared[~drawn[:, stroke]] = np.inf
            np.minimum(nearest, squared, out=nearest)
    return np.asarray(np.clip(radius + 1 - np.sqrt(nearest), 0, 1))


def _blobs(rng: np.random.Generator, shape: tuple[int, int], num: int) -> Array:
    """Smooth noise, cut at a level of its own: from small spots to most of the image."""
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    width = min(shape) * rng.uniform(0.1, 0.25, (num, 1, 1))
    noise = np.fft.rfft2(rng.standard_normal((num, *shape)))
    smooth: NDArray = np.fft.irfft2(noise * np.exp(-((4 * frequencies * width) ** 2) / 2), shape)
    smooth = smooth - smooth.mean((1, 2), keepdims=True)
    smooth /= smooth.std((1, 2), keepdims=True) + 1e-12
    return np.asarray(np.clip((smooth - rng.uniform(0, 1.5, (num, 1, 1))) * 2, 0, 1))
