"""Are batches drawn as is charged: each record by itself, at the charged rate, however small?"""

import math

import numpy as np
from scipy.stats import binom, chi2, norm

from attacks.audit.claim import LEVEL, RARE, Asked, Check, Claim, descent, flat
from attacks.audit.planted import Planted, shown_by

ROUNDS = 40  # without noise, in which is counted who was drawn
CROWD, RARE_STEPS = 1 << 21, 160  # together 20 times the 2^24 draws that float32 tells apart


def sampling(claim: Claim, planted: Planted, seed: int) -> Check:
    """Batch sizes vary as those of Poisson samples at the charged rate, with noise or without."""
    line, q = planted.line, claim.sample_rate
    inside = np.flatnonzero(np.random.default_rng(seed).random(len(line)) < 0.5)
    sizes = []
    for number in range(1, ROUNDS + 1):
        asked = Asked(1, q, 0.0, (number, 1), seed=seed, plain=True)
        sizes.append(int((shown_by(claim, line, inside, asked)[inside] > 0.5).sum()))
    n, drawn = len(inside), np.array(sizes)
    spread = float(np.square(drawn - n * q).sum()) / max(n * q * (1 - q), 1e-12)
    total, size = int(drawn.sum()), n * len(drawn)
    chances = [min(binom.cdf(total, size, q), binom.sf(total - 1, size, q))]
    if q < 1:
        chances.append(min(chi2.cdf(spread, len(drawn)), chi2.sf(spread, len(drawn))))
    deviation = math.hypot(claim.noise_multiplier, math.sqrt(q * (1 - q)))
    off = (planted.seen - planted.looks * q) / max(deviation * math.sqrt(planted.looks), 1e-12)
    chances.append(float(norm.sf(abs(off))))
    return Check(
        "sampling",
        bool(2 * min(chances) > LEVEL / len(chances)),
        f"batches of {drawn.mean():.1f} with a deviation of {drawn.std():.1f}; under noise, "
        f"{planted.seen / planted.looks:.4f} of a record",
        f"{n * q:.1f} and {math.sqrt(n * q * (1 - q)):.1f}; {q:.4f}, within what chance allows",
        "batches are shuffled or of fixed size, or drawn at another rate than is charged: the "
        "amplification by sampling that epsilon counts on is not there",
    )


def rare(claim: Claim, seed: int) -> Check:
    """At a rate of one in 10^12, none of hundreds of millions may be drawn."""
    model = claim.build(seed)
    # A secret key, for a seeded one is made of every record.
    asked = Asked(RARE_STEPS, RARE, 0.0, (1, 0), seed=seed, secret=True, crowd=CROWD)
    release, _ = descent(claim, model, claim.x[:1], claim.y[:1], asked, scale=1 / claim.clip)
    still = not bool(flat(release).any())
    draws = CROWD * RARE_STEPS
    return Check(
        "sampling of the rare",
        still,
        f"{'none' if still else 'some'} of {draws:,} records drawn at a rate of {RARE:g}",
        "none",
        "rates have a floor: thresholds of so few bits that what is charged next to nothing is "
        "drawn all the same",
    )
