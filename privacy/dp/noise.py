"""Gaussian noise in whole numbers: a normal deviate, scaled and rounded, exactly.

Noise in floating point tells what it was added to (Mironov 2012). So sums are rounded to integers
first, and integers are added to them: for an integer S and a real Z, S + round(Z) = round(S + Z),
and what is released is a function of the continuous Gaussian mechanism.

That holds as far as round(Z) is distributed as it should be. Each deviate is Box and Muller's
function of 2^-64 steps, computed in float64, whose error is bounded; a rounding that such an error
or finer steps could change is done again, with 192 more bits and as many digits (see `_exactly`).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import LANES, WORDS, Key, Words, keystream
from privacy.compiling import compiled, compiling

SECURE, SEEDED = "secure", "seeded"

HALF = WORDS // 4  # pairs of deviates in one call of the cipher: two words of 64 bits each
PER_CALL = 2 * HALF
MARGIN = 2.0**-42  # in deviations: what the float64 deviate may be off; measured, 2^-46
SHORT = 2.0**-20  # a radius is recomputed if its uniform number is so near 0 or 1
MOST_DEVIATION = 2.0**40  # beyond it nearly all would be recomputed
MORE_BYTES = 24  # of a pair that is computed again, for each of its two words

# Products and sums may be fused, and a division is not guarded: both keep loops out of vectors.
vectorised: Any = compiling(error_model="numpy", fastmath={"contract"})


class Noise:
    """A source of independent Gaussian noise.

    Args:
        key: of the noise alone. As secret as it is, so secret is what the noise hides.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._words = key.words()
        self._counter = 0

    def integers(self, deviation: float, size: int) -> NDArray[np.int64]:
        """Independent draws of round(deviation * Z), int64 [size]; none is ever given twice.

        Args:
            deviation: 0 (no noise) to `MOST_DEVIATION`.
        """
        if not 0 <= deviation <= MOST_DEVIATION:
            raise ValueError(f"deviation = {deviation}: 0 to {MOST_DEVIATION:g}")
        out = np.zeros(size, np.int64)
        if deviation:
            doubtful = np.empty(size, np.int64)
            num = integers(self._words, self._counter, deviation, out, doubtful)
            for i in doubtful[:num].tolist():
                out[i] = self._exactly(i, deviation)
        self._counter += -(-size // PER_CALL) * LANES
        return out

    def _exactly(self, i: int, deviation: float) -> int:
        """Draw i of a request, from the words it had, continued by bits of their own."""
        call, place = divmod(i, PER_CALL)
        counter = self._counter + call * LANES
        words = np.empty(WORDS, np.uint32)
        keystream(self._words, counter, words)
        pair = place % HALF
        more = self._key.derive("more bits", counter, pair)
        tails = more.value[:MORE_BYTES], more.derive("angle").value[:MORE_BYTES]
        both = words.view(np.uint64)[[pair, HALF + pair]].tolist()
        radius, angle = (
            (word << 8 * MORE_BYTES) + int.from_bytes(tail, "big")
            for word, tail in zip(both, tails, strict=True)
        )
        import mpmath  # slow to load, and seldom needed

        z = normal(radius, angle, 64 + 8 * MORE_BYTES, place // HALF)
        with mpmath.workprec(512):
            return int(mpmath.nint(z * deviation))


def normal(radius: int, angle: int, bits: int, which: int) -> Any:
    """Box and Muller's normal deviate 0 or 1 of two words of so many bits, to 150 digits.

    The angle is measured from the middle of the first quarter turn less pi / 2, as the kernel does.
    """
    import mpmath

    with mpmath.workprec(512):
        u = (mpmath.mpf(radius) + mpmath.mpf(0.5)) / mpmath.mpf(2) ** bits
        turn = (mpmath.mpf(angle) + mpmath.mpf(0.5)) / mpmath.mpf(2) ** bits
        r = mpmath.sqrt(-2 * mpmath.log(u))
        phi = 2 * mpmath.pi * turn - mpmath.pi / 4
        return r * (mpmath.sin if which else mpmath.cos)(phi)


@compiled  # type: ignore[untyped-decorator]
def integers(
    key: Words, counter: int, deviation: float, out: NDArray[np.int64], doubtful: NDArray[np.int64]
) -> int:
    """Rounded deviates, from the keystream that begins at block `counter`.

    Returns:
        How many places of `out` stand in `doubtful`: their rounding needs more digits.
    """
    words = np.empty(WORDS, np.uint32)
    uniform, scaled = np.empty(HALF), np.empty(PER_CALL)
    num = 0
    for start in range(0, len(out), PER_CALL):
        keystream(key, counter + start // PER_CALL * LANES, words)
        box_muller(words.view(np.uint64), deviation, uniform, scaled)
        size = min(PER_CALL, len(out) - start)
        part = out[start : start + size]
        margin, near = deviation * MARGIN, 0
        for i in range(size):
            rounded = np.rint(scaled[i])
            part[i] = np.int64(rounded)
            near += np.abs(np.abs(scaled[i] - rounded) - 0.5) <= margin
        extreme = 0
        for i in range(HALF):
            extreme += np.abs(uniform[i] - 0.5) > 0.5 - SHORT
        if near + extreme:
            for i in range(size):
                rounded = np.rint(scaled[i])
                is_near = np.abs(np.abs(scaled[i] - rounded) - 0.5) <= margin
                if is_near or np.abs(uniform[i % HALF] - 0.5) > 0.5 - SHORT:
                    doubtful[num] = start + i
                    num += 1
    return num


@vectorised  # type: ignore[untyped-decorator]
def box_muller(words: NDArray[np.uint64], deviation: float, uniform: NDArray, out: NDArray) -> None:
    """Normal deviates times `deviation`: the first half of the words give radii, the second angles.

    Sine, cosine and logarithm by the polynomials of fdlibm, on [-pi/4, pi/4] and [sqrt(1/2),
    sqrt(2)]; no branch, so that the compiler can take eight at a time.
    """
    for i in range(HALF):
        u = (np.float64(words[i]) + 0.5) * 2.0**-64  # in (0, 1]
        uniform[i] = u
        radius = np.sqrt(-2.0 * _log(u)) * deviation
        angle = words[HALF + i]
        inside = np.int64(angle & np.uint64((1 << 62) - 1))
        a = (np.float64(inside) * 2.0**-62 - 0.5) * (math.pi / 2)  # in [-pi/4, pi/4]
        s = a * a
        p = 1.58969099521155010221e-10 * s - 2.50507602534068634195e-08
        p = p * s + 2.75573137070700676789e-06
        p = p * s - 1.98412698298579493134e-04
        p = p * s + 8.33333333332248946124e-03
        p = p * s - 1.66666666666666324348e-01
        sine = p * s * a + a
        q = -1.13596475577881948265e-11 * s + 2.08757232129817482790e-09
        q = q * s - 2.75573143513906633035e-07
        q = q * s + 2.48015872894767294178e-05
        q = q * s - 1.38888888888741095749e-03
        q = q * s + 4.16666666666666019037e-02
        cosine = q * s * s - 0.5 * s + 1.0
        odd, negative = (angle >> np.uint64(62)) & np.uint64(1), angle >> np.uint64(63)
        radius = -radius if negative else radius
        out[i] = radius * (-sine if odd else cosine)
        out[HALF + i] = radius * (cosine if odd else sine)


@vectorised  # type: ignore[untyped-decorator]
def _log(x: Any) -> Any:
    """Natural logarithm of a normal float64 (fdlibm's, without branches)."""
    bits = np.float64(x).view(np.int64) - np.int64(0x3FE6A09E667F3BCD)
    exponent = np.float64(bits >> np.int64(52))
    m = np.int64((bits & np.int64(0x000FFFFFFFFFFFFF)) + np.int64(0x3FE6A09E667F3BCD))
    f = m.view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01 * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    p = p * z
    half = 0.5 * f * f
    low = exponent * 1.90821492927058770002e-10
    return exponent * 6.93147180369123816490e-01 - ((half - (s * (half + p) + low)) - f)
