"""Log-mel of a board in numpy: the same bits as c/front_log_mel.c, and their definition.

float32, each operation rounded to nearest, none fused. A record is L samples of 16 bits, of which
`full` stands for 1.

1. Loudness, in integers: v = L sum(x x) - sum(x)^2; mean = sum(x) / L, gain = 1 / (root(v) / L +
   quiet full).
2. A frame: ((x - mean) gain) times the window, and its spectrum (`fourier`); power re re + im im.
3. A band: the sum of power times weight over its bins in their order, then ln(s / floor + 1): the
   run's own but for ln(floor), which the mean takes away. ln is that of `logarithm`.
4. Mean and deviation over all bands: sums by frame, of them in order; deviation from n - 1. A
   feature is (b - mean) / (deviation + still), band by band, in units of 1 / scale.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clients.firmware.fitting import Room
from clients.firmware.front.fourier import Floats, line_of, transform
from clients.firmware.front.tables import array, line_tables, number
from clients.firmware.numbers.floats import in_order

f4 = np.float32
MOST_SAMPLES = 1 << 16  # whose squares are summed in 64 bits
CODE = 3 << 10  # measured: 1.3 KiB with gcc
SERIES = (0.142857149, 0.2, 0.333333343)


@dataclass(frozen=True)
class LogMel:
    """Of sounds of a length and rate.

    Attributes:
        length: samples of a record. `second`: of a second. `hop`: from frame to frame.
        window: float32 [frame]. `bands`: float32 [bins, M]; the bins of a band stand together.
        full: the sample that stands for 1.
        floor, quiet, still: of a band's power, of a loudness, of a record's deviation.
    """

    length: int
    second: int
    hop: int
    window: Floats
    bands: Floats
    full: float
    floor: float
    quiet: float
    still: float
    name = "log-mel"
    source = "front_log_mel.c"
    raw_type = np.dtype("<i2")

    @property
    def frames(self) -> int:
        """Of a record."""
        return (self.length - len(self.window)) // self.hop + 1

    @property
    def num_features(self) -> int:
        """[M, T] of them."""
        return self.bands.shape[1] * self.frames

    @property
    def room(self) -> Room:
        """Static memory and tables, measured code."""
        frame, bands = len(self.window), self.bands.shape[1]
        tables = 4 * (3 * frame + int((self.bands > 0).sum())) + 2 * frame + 4 * bands
        held = 8 * max(line_of(frame).factors)
        return Room(8 * frame + 4 * self.num_features + held, tables + CODE)

    def features(self, raw: NDArray[np.int16]) -> Floats:
        """Samples [N, L] -> float32 [N, M T], before they are rounded to units."""
        x, frame = raw.astype(np.int64), len(self.window)
        total, squares = x.sum(1), (x * x).sum(1)
        spread = squares * self.length - total * total
        exact = (spread >> 32).astype(f4) * f4(2**32) + (spread & 0xFFFFFFFF).astype(f4)
        mean = total.astype(f4) / f4(self.length)
        gain = f4(1) / (np.sqrt(exact) / f4(self.length) + f4(self.quiet * self.full))
        line, bins = line_of(frame), len(self.bands)
        told = np.zeros((len(x), self.frames, self.bands.shape[1]), f4)
        for t in range(self.frames):
            samples = x[:, t * self.hop : t * self.hop + frame].astype(f4)
            windowed = (samples - mean[:, None]) * gain[:, None] * self.window
            re, im = transform(line, windowed, np.zeros_like(windowed), 1)
            power = (re * re + im * im)[:, :bins]
            for m, (start, weights) in enumerate(self._sparse):
                s = in_order(power[:, start : start + len(weights)] * weights)
                told[:, t, m] = logarithm(s * f4(1 / self.floor) + f4(1))
        num = self.num_features
        middle = _sum(told) / f4(num)
        told = told - middle[:, None, None]
        deviation = np.sqrt(_sum(told * told) / f4(num - 1)) + f4(self.still)
        made: Floats = (told / deviation[:, None, None]).transpose(0, 2, 1)
        return made.reshape(len(x), num)

    @property
    def _sparse(self) -> list[tuple[int, Floats]]:
        """Where each band begins, and its weights."""
        found = []
        for band in self.bands.T:
            (places,) = np.nonzero(band)
            found.append((int(places[0]), band[places[0] : places[-1] + 1]))
        return found

    def remedy(self, fits: Callable[[Room, int, int], bool]) -> str:
        """The longest sounds that would fit."""
        for tenths in range(self.length * 10 // self.second, 0, -1):
            shorter = replace(self, length=tenths * self.second // 10)
            if shorter.length < len(self.window) or shorter.length == self.length:
                continue
            if fits(shorter.room, shorter.length, shorter.num_features):
                return f"cut sounds of length_s = {tenths / 10:g} in the schema"
        return "take a larger chip"

    def sizes(self) -> dict[str, int]:
        """For front_sizes.h."""
        return {"RAW": self.length, "FEATURES": self.num_features}

    def tables(self) -> list[str]:
        """For front_tables.h."""
        frame = len(self.window)
        bins, bands = self.bands.shape
        starts, weights = zip(*self._sparse, strict=True)
        numbers = {
            "LENGTH": f"{self.length}u",
            "FRAME": f"{frame}u",
            "HOP": f"{self.hop}u",
            "FRAMES": f"{self.frames}u",
            "BINS": f"{bins}u",
            "BANDS": f"{bands}u",
            "FREE": number(self.num_features - 1),
            "QUIET": number(self.quiet * self.full),
            "STILL": number(self.still),
            "INVERSE_FLOOR": number(1 / self.floor),
            "FACTOR": f"{max(line_of(frame).factors)}u",
        }
        return [
            *(f"#define FRONT_{name} {value}" for name, value in numbers.items()),
            *line_tables(line_of(frame)),
            array("float", "WINDOW", self.window),
            array("uint16_t", "BAND_STARTS", starts),
            array("uint16_t", "BAND_SIZES", map(len, weights)),
            array("float", "BAND_WEIGHTS", np.concatenate(weights)),
        ]


def _sum(told: Floats) -> Floats:
    """[N, T, M] -> [N]: of each frame, and of these."""
    n, t, m = told.shape
    return in_order(in_order(told.reshape(n * t, m)).reshape(n, t))


def logarithm(x: Floats) -> Floats:
    """ln x, x >= 1: of m 2^e with m in [0.71, 1.42), e ln 2 + 2 artanh((m - 1) / (m + 1))."""
    bits = x.view(np.uint32)
    e = ((bits >> 23).astype(np.int32) - 127).astype(f4)
    m = ((bits & 0x7FFFFF) | 0x3F800000).astype(np.uint32).view(f4)
    high = m > f4(1.41421354)
    m, e = np.where(high, m * f4(0.5), m), np.where(high, e + f4(1), e)
    s = (m - f4(1)) / (m + f4(1))
    t = s * s
    p = f4(0.111111112) * t
    for c in SERIES:
        p = (p + f4(c)) * t
    found: Floats = e * f4(0.693147182) + ((s + s) + (s + s) * p)
    return found
