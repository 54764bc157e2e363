"""A museum of faults: DP-SGD on a linear classifier in numpy, right, and wrong in one way each.

Each fault is of a kind that was found in public code, re-created here in a line or two.
"""

import numpy as np

FEATURES, CLASSES, RECORDS, CLIP = 30, 3, 24, 1.0
SIGMA, RATE, STEPS = 1.0, 0.25, 8
PART = 4  # records of a micro-batch


def records(num=RECORDS, seed=0):
    """Records of which each has a direction of its own, and labels."""
    rng = np.random.default_rng(seed)
    x = np.eye(num, FEATURES) + 0.05 * rng.normal(size=(num, FEATURES))
    return x, rng.integers(0, CLASSES, num)


def gradients(w, x, y):
    """Of each record's cross-entropy [N, F, K]."""
    z = x @ w
    p = np.exp(z - z.max(1, keepdims=True, initial=-np.inf))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return x[:, :, None] * p[:, None, :]


def clipped(g, clip=CLIP):
    """Each cut to the norm."""
    norms = np.sqrt((g**2).sum((1, 2)))
    return g * np.minimum(1, clip / np.maximum(norms, 1e-300))[:, None, None]


def sum_of(g, fault):
    """The sum that is said to move by no more than the clip for each record."""
    if fault == "microbatch clipping" and len(g):
        parts = np.array_split(g, max(1, len(g) // PART))
        return sum(clipped(part.mean(0)[None])[0] for part in parts)
    if fault == "gradient accumulation clipped late" and len(g):
        return clipped(g.sum(0)[None])[0]
    if fault == "loss reduction mismatch":
        return clipped(g / max(1, len(g))).sum(0)
    if fault == "tied weights":
        halves = (clipped(g * side, CLIP) for side in _sides(g))
        return sum(half.sum(0) for half in halves)
    if fault == "frozen layers counted":
        return _without_first(g)
    if fault == "mixed precision overflow":
        g = g.astype(np.float16).astype(float)
        return clipped(g).sum(0)
    return clipped(g).sum(0)


def _sides(g):
    """The two uses of a weight that is used twice."""
    yield np.arange(g.shape[2])[None, None, :] < 1
    yield np.arange(g.shape[2])[None, None, :] >= 1


def _without_first(g):
    """The norm is that of the layers an outdated list calls trained; the others go unclipped."""
    known = g[:, : FEATURES // 2]
    norms = np.sqrt((known**2).sum((1, 2)))
    return (g * np.minimum(1, CLIP / np.maximum(norms, 1e-300))[:, None, None]).sum(0)


def noise_of(rng, shape, sigma, drawn, expected, fault):
    """Noise of one step, in the units of the sum."""
    if fault == "noise per micro-batch":  # each part gets its share of the deviation, not variance
        parts = max(1, -(-drawn // PART))
        return sum(rng.normal(size=shape) for _ in range(parts)) * sigma * CLIP / parts
    if fault == "noise before averaging":  # of a mean, to the sum
        return rng.normal(size=shape) * sigma * CLIP / max(1.0, expected)
    if fault == "wrong expected batch size":
        return rng.normal(size=shape) * sigma * CLIP * RATE
    if fault == "noise cut off":
        return np.clip(rng.normal(size=shape), -1.5, 1.5) * sigma * CLIP
    if fault == "noise of another scale":
        return rng.normal(size=shape) * sigma * CLIP * 0.8
    if fault == "a layer without noise":
        noise = rng.normal(size=shape) * sigma * CLIP
        noise[:3] = 0
        return noise
    return rng.normal(size=shape) * sigma * CLIP


def batches(rng, num, rate, steps, fault):
    """Who takes part in each step."""
    size, order, at = max(1, round(rate * num)), rng.permutation(num), 0
    for _ in range(steps):
        if fault in ("shuffling counted as Poisson", "last partial batch"):
            if at >= num:
                order, at = rng.permutation(num), 0
            yield np.isin(np.arange(num), order[at : at + size])
            at += size
        elif fault == "accountant of the wrong rate":
            yield rng.random(num) < min(1.0, 2 * rate)
        else:
            yield rng.random(num) < rate


def maker(fault=""):
    """A training step with one fault; with none, it is right."""

    def make(x, y, seed, noise_multiplier=SIGMA, sample_rate=RATE, steps=STEPS):
        rng = np.random.default_rng(7 if fault == "same seed each run" else seed)
        # noise has a generator of its own, so that a fault is of one thing
        loud = np.random.default_rng([7 if fault == "same seed each run" else seed, 1])
        w = np.zeros((FEATURES, CLASSES))
        w0, expected = w.copy(), sample_rate * max(1, len(x))
        if fault == "more steps than charged" and steps == STEPS:
            steps *= 2
        for n, inside in enumerate(batches(rng, len(x), sample_rate, steps, fault)):
            if fault == "zero batch skipped" and not inside.any():
                continue
            if fault == "same seed each epoch" and n % max(1, round(1 / sample_rate)) == 0:
                loud = np.random.default_rng([seed, 1])
            xs, ys = x[inside], y[inside]
            if fault == "batch norm statistics" and len(xs) > 1:
                xs = (xs - xs.mean(0)) / (xs.std(0) + 1e-5)
            total = sum_of(gradients(w, xs, ys), fault)
            noise = noise_of(loud, w.shape, noise_multiplier, inside.sum(), expected, fault)
            divisor = max(1, inside.sum()) if fault == "last partial batch" else expected
            w = w - 0.1 * (total + noise) / divisor
        return {"w": w0 - w}

    return make


ASKED = (
    "microbatch clipping", "loss reduction mismatch", "noise per micro-batch",
    "wrong expected batch size", "last partial batch", "shuffling counted as Poisson",
    "tied weights", "frozen layers counted", "gradient accumulation clipped late",
    "mixed precision overflow", "same seed each epoch", "noise before averaging",
    "accountant of the wrong rate", "zero batch skipped", "batch norm statistics",
)  # fmt: skip
FAULTS = (
    *ASKED, "noise cut off", "noise of another scale", "a layer without noise",
    "same seed each run", "more steps than charged",
)  # fmt: skip
