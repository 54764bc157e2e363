"""Max-pooling of images that lie channel after channel, [C, H, W], for torch's own layers."""

import numpy as np

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.plan import Floats, f32, u64


@compiled
def pool(x: Floats, height: int, width: int, out: Floats, places: Floats) -> None:
    """Maxima of all 2x2 windows, stride 1, of N images: [N, H, W] -> [N, H - 1, W - 1], flat.

    `places` [W + 1 + N * H * W] gets the place of each window's first maximum, 0 to 3, after W + 1
    numbers that `unpool` wants there. All images are one flat row: windows that would wrap round an
    edge are computed too, and left out of `out`.
    """
    best = np.empty(len(x), np.float32)
    right, below, across = x[1:], x[width:], x[width + 1 :]
    place = places[width + 1 :]
    for p in range(len(x) - width - 1):
        most, at = x[p], f32(0)
        greater = right[p] > most or right[p] != right[p]  # a NaN is kept
        most, at = (right[p], f32(1)) if greater else (most, at)
        greater = below[p] > most or below[p] != below[p]
        most, at = (below[p], f32(2)) if greater else (most, at)
        greater = across[p] > most or across[p] != across[p]
        best[p] = across[p] if greater else most
        place[p] = f32(3) if greater else at
    to = u64(0)
    for row in range(len(x) // width):
        if (row + 1) % height:
            start = u64(row * width)
            for j in range(width - 1):
                out[to + u64(j)] = best[start + u64(j)]
            to += u64(width - 1)


@compiled
def unpool(g: Floats, height: int, width: int, places: Floats, out: Floats) -> None:
    """The transpose of `pool`: give each g to its window's maximum, [N * H * W]."""
    ahead = width + 1
    padded = np.zeros(len(out) + ahead, np.float32)  # zero too where windows would wrap
    at = u64(0)
    for row in range(len(out) // width):
        if (row + 1) % height:
            start = u64(row * width + ahead)
            for j in range(width - 1):
                padded[start + u64(j)] = g[at + u64(j)]
            at += u64(width - 1)
    own, left, above = padded[ahead:], padded[width:], padded[1:]
    place, place_left, place_above = places[ahead:], places[width:], places[1:]
    for p in range(len(out)):
        total = own[p] if place[p] == 0 else f32(0)
        total += left[p] if place_left[p] == 1 else f32(0)
        total += above[p] if place_above[p] == 2 else f32(0)
        out[p] = total + (padded[p] if places[p] == 3 else f32(0))
