"""Images that nobody took: what ranges are measured on, so that no record is needed to compile.

A model that was trained under a promise must not be served with numbers taken from its records
without that promise, and a server of a federation has no record at all. So a plan's ranges, and the
shift by its rounded weights, come from drawn images: strokes of a pen, which fill a few pixels, and
blobs with soft edges, which fill many. They are the same for every model of one shape, and public.

Shapes: B images, (H, W) pixels, P points of a stroke.
"""

import numpy as np
from numpy.typing import NDArray

from privacy.encrypted.net import Array

CALIBRATION = f"synthetic images ({__name__}), no record of any data set"
STROKES = 3  # at most, in one drawing
POINTS = 24  # of a stroke
BLOB_SHARE = 0.25  # of the images; the others are drawings
PIECE = 250  # images drawn at once, which bounds the memory


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
