"""The scattering transform of a board in numpy: the same bits as c/front_scatter.c, and their
definition.

float32, each operation rounded to nearest, none fused. A record is C pictures of bytes, of which
`full` stands for 1; of three channels what is read is (r m0 + g m1) + b m2 for each row m of `mix`.

1. A channel is reflected about its edges to P x Q (`reflected`), and transformed: rows, then
   columns (`fourier`). S0 is the average of it before.
2. A wavelet of scale 0: the spectrum times its real filter, the inverse, root(re re + im im). Of
   scale 1 on every second pixel: the sum over (0, 0), (0, 1), (1, 0), (1, 1) of what stands half a
   grid apart, then the inverse of that. Filters have the inverse's 1 / (P Q) in them. Scale 1 is
   looked for in the picture and in the spectrum of each modulus of scale 0.
3. An average: along a row the sum over columns in order, of these the sum over rows in order.
4. Groups of maps: mean and mean square of what differs from it, sums by map, of them in order; a
   feature is (x - mean) * (1 / root(that + eps)), in units of 1 / scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.firmware.fitting import Room
from clients.firmware.front.fourier import Floats, line_of, transform_maps
from clients.firmware.front.tables import array, line_tables, number
from clients.firmware.numbers.floats import in_order

f4 = np.float32
CODE = 4 << 10  # measured: 2.4 KiB with gcc
ORIENTATIONS, MAPS = 8, 81


@dataclass(frozen=True)
class Scattering:
    """Of pictures of a size.

    Attributes:
        shape: channels, height and width.
        mix: float32 [3, 3] of colours; None reads channels as they are.
        reflected: which pixel each of a padded grid is, along rows and along columns.
        filters: spectra of wavelets over P Q, float32 [2, 8, P, Q].
        averages: along rows [H/4, P] and columns [W/4, Q] of the padded grid, and of every second
            pixel of it.
        groups: in which maps are normalised. `eps`: of a variance. `full`: the byte that is 1.
    """

    shape: tuple[int, int, int]
    mix: Floats | None
    reflected: tuple[NDArray[np.int64], NDArray[np.int64]]
    filters: Floats
    averages: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    groups: int
    eps: float
    full: float
    name = "scatter"
    source = "front_scatter.c"
    raw_type = np.dtype("u1")

    @property
    def sides(self) -> tuple[int, int]:
        """P and Q."""
        return len(self.reflected[0]), len(self.reflected[1])

    @property
    def out(self) -> tuple[int, int]:
        """Of a map."""
        return len(self.averages[0][0]), len(self.averages[0][1])

    @property
    def num_features(self) -> int:
        """[C 81 H/4 W/4] of them."""
        return num_features(self.shape)

    @property
    def room(self) -> Room:
        """Static memory and tables, measured code."""
        return room_of(self.shape)

    def features(self, raw: NDArray[np.uint8]) -> Floats:
        """Pictures [N, ...] -> float32 [N, C 81 H/4 W/4], before they are rounded to units."""
        x = f4(1 / self.full) * raw.reshape(len(raw), *self.shape).astype(f4)
        if self.mix is not None:
            m = self.mix[:, :, None, None]
            x = np.stack([x[:, 0] * r[0] + x[:, 1] * r[1] + x[:, 2] * r[2] for r in m], 1)
        rows, columns = self.reflected
        padded = x[:, :, rows][..., columns]
        maps = self._maps(padded.reshape(-1, *self.sides))
        grouped = maps.reshape(len(raw) * self.groups, -1, prod(self.out))
        num = f4(grouped.shape[1] * grouped.shape[2])
        apart: Floats = grouped - (_sum(grouped) / num)[:, None, None]
        inverse = f4(1) / np.sqrt(_sum(apart * apart) / num + f4(self.eps))
        made: Floats = apart * inverse[:, None, None]
        return made.reshape(len(raw), -1)

    def _maps(self, x: Floats) -> Floats:
        """[N, P, Q] -> [N, 81, H/4, W/4]"""
        fine, coarse = self._lines
        maps = np.zeros((len(x), MAPS, *self.out), f4)
        maps[:, 0] = self._average(0, x)
        re, im = transform_maps(*fine, x, np.zeros_like(x), 1)
        second = 1 + 2 * ORIENTATIONS
        for t in range(ORIENTATIONS):
            f = self.filters[0, t]
            u = _modulus(*transform_maps(*fine, re * f, im * f, -1))
            maps[:, 1 + t] = self._average(0, u)
            a, b = transform_maps(*fine, u, np.zeros_like(u), 1)
            for v in range(ORIENTATIONS):
                f = self.filters[1, v]
                found = _modulus(*transform_maps(*coarse, _folded(a * f), _folded(b * f), -1))
                maps[:, second + t * ORIENTATIONS + v] = self._average(1, found)
        for t in range(ORIENTATIONS):
            f = self.filters[1, t]
            found = _modulus(*transform_maps(*coarse, _folded(re * f), _folded(im * f), -1))
            maps[:, 1 + ORIENTATIONS + t] = self._average(1, found)
        return maps

    def _average(self, grid: int, x: Floats) -> Floats:
        """[N, P, Q] -> [N, H/4, W/4]"""
        rows, columns = self.averages[grid]
        s = np.zeros((*x.shape[:2], len(columns)), f4)
        for q in range(x.shape[2]):
            s = s + columns[:, q] * x[:, :, q, None]
        out = np.zeros((len(x), len(rows), len(columns)), f4)
        for p in range(x.shape[1]):
            out = out + rows[:, p, None] * s[:, p, None]
        return out

    @property
    def _lines(self) -> list[tuple[Any, Any]]:
        """Of a row and of a column, of each grid."""
        p, q = self.sides
        return [(line_of(q // step), line_of(p // step)) for step in (1, 2)]

    def remedy(self, fits: Callable[[Room, int, int], bool]) -> str:
        """The least crop with which it would fit."""
        c, h, w = self.shape
        for crop in range(2, min(h, w) // 2 - 2, 2):  # sides stay multiples of 4
            smaller = (c, h - 2 * crop, w - 2 * crop)
            if fits(room_of(smaller), prod(smaller), num_features(smaller)):
                return f"train with [data] crop = {crop}"
        return "take a larger chip"

    def sizes(self) -> dict[str, int]:
        """For front_sizes.h."""
        return {"RAW": prod(self.shape), "FEATURES": self.num_features}

    def tables(self) -> list[str]:
        """For front_tables.h."""
        (p, q), (rows, columns), (c, h, w) = self.sides, self.out, self.shape
        lengths = sorted({line.size for pair in self._lines for line in pair})
        numbers = {
            "CHANNELS": str(c),
            "HEIGHT": f"{h}u",
            "WIDTH": f"{w}u",
            "ROWS": f"{p}u",
            "COLUMNS": f"{q}u",
            "MOST_SIDE": f"{max(p, q)}u",
            "OUT_ROWS": f"{rows}u",
            "OUT_COLUMNS": f"{columns}u",
            "GROUP": f"{c * MAPS // self.groups}u",
            "EPS": number(self.eps),
            "INVERSE_FULL": number(1 / self.full),
            "FACTOR": f"{max(max(line_of(size).factors) for size in lengths)}u",
        }
        grids = []
        for step, (row, column) in enumerate(self._lines):
            lines = (
                f"{{{one.size}u, FRONT_STAGES_{one.size}, FACTORS_{one.size}, ORDER_{one.size}, "
                f"WAVES_{one.size}}}"
                for one in (row, column)
            )
            told = ", ".join(lines)
            grids.append(
                f"{{{column.size}u, {row.size}u, {told}, AVERAGE_ROWS_{step}, "
                f"AVERAGE_COLUMNS_{step}}}"
            )
        made = [f"#define FRONT_{name} {value}" for name, value in numbers.items()]
        made.append("#define FRONT_GRIDS \\\n    " + ", \\\n    ".join(grids))
        for size in lengths:
            made += line_tables(line_of(size), f"_{size}")
        for step, pair in enumerate(self.averages):
            for side, part in zip(("ROWS", "COLUMNS"), pair, strict=True):
                made.append(array("float", f"AVERAGE_{side}_{step}", part.ravel()))
        for side, places in zip(("ROWS", "COLUMNS"), self.reflected, strict=True):
            made.append(array("uint16_t", f"REFLECTED_{side}", places))
        if self.mix is not None:
            made.append(array("float", "MIX", self.mix.ravel()))
        return [*made, array("float", "FILTERS", self.filters.ravel())]


def num_features(shape: tuple[int, int, int]) -> int:
    """Of pictures of a shape."""
    c, h, w = shape
    return c * MAPS * (h // 4) * (w // 4)


def room_of(shape: tuple[int, int, int]) -> Room:
    """Of pictures of a shape."""
    _, h, w = shape
    p, q = h + 8, w + 8
    most = max(max(line_of(size).factors) for size in (p, q))
    ram = 4 * (4 * p * q + p * q // 2 + 2 * max(p, q) + 2 * most + num_features(shape))
    averages = (h // 4 * p + w // 4 * q) * 3 // 2
    return Room(ram, 4 * (2 * ORIENTATIONS * p * q + averages) + 24 * (p + q) + CODE)


def _folded(x: Floats) -> Floats:
    """[N, P, Q] -> [N, P/2, Q/2]: four in their order."""
    n, p, q = x.shape
    parts = x.reshape(n, 2, p // 2, 2, q // 2)
    s = np.zeros((n, p // 2, q // 2), f4)
    for a, b in np.ndindex(2, 2):
        s = s + parts[:, a, :, b]
    return s


def _modulus(re: Floats, im: Floats) -> Floats:
    found: Floats = np.sqrt(re * re + im * im)
    return found


def _sum(x: Floats) -> Floats:
    """[N, maps, area] -> [N]: of each map, and of these."""
    n, maps, area = x.shape
    return in_order(in_order(x.reshape(n * maps, area)).reshape(n, maps))
