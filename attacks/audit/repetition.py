"""Is any noise used twice: between rounds, clients, data or settings, or within one release?

The difference of two releases with common noise has none of it. Noise is heard in silence (see
`attacks.audit.noise`), and every two releases are laid over one another at every shift.

Shapes: P numbers of a release.
"""

import copy
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, t
from torch import nn

from attacks.audit.claim import LEVEL, NOWHERE, Asked, Check, Claim, Device, NotApplicable, flat
from attacks.audit.lessons import quiet_records, reach
from attacks.audit.noise import FEW, Silence
from privacy.dp.ledger import Ledger

MOST = 1 << 14  # numbers of a release that are compared
BLOCK = 128  # of them, compared alone: noise may be shared in part
MARGIN = 1.1  # for shifted rows, whose lengths are not measured one by one


def repetition(claim: Claim, seed: int) -> Check | NotApplicable:
    """No two releases may be alike, whatever part of one is held against whatever of the other."""
    names, rows = zip(*releases(claim, seed).items(), strict=True)
    if not len(rows[0]):
        return NotApplicable("noise repetition", NOWHERE)
    pairs = list(combinations_with_replacement(range(len(rows)), 2))
    blocks = sum(len(row) // BLOCK for row in rows) // len(rows)
    size = min(map(len, rows))
    shifted = float(norm.isf(LEVEL / (4 * len(pairs) * 2 * size)))
    aligned = float(_limit(LEVEL / (2 * len(pairs) * max(blocks, 1)), min(BLOCK, size)))
    worst, where, measured = 0.0, "", "none are alike"
    spectra = [np.fft.rfft(row, 2 * MOST) for row in rows]
    for i, j in pairs:
        short = min(len(rows[i]), len(rows[j]))
        over = _at_shifts(spectra[i], spectra[j], short, same=i == j) / (MARGIN * shifted)
        kept = (0.0, 0.0) if i == j else (_in_blocks(rows[i][:short], rows[j][:short]) / aligned,)
        if (most := max(over, *kept)) > worst:
            worst = most
            where = names[i] if i == j else f"{names[i]} and {names[j]}"
    measured = f"likeness of {worst:.2f} of what chance allows in those most alike ({where})"
    return Check(
        "noise repetition",
        bool(worst <= 1),
        measured,
        f"at most 1, among {len(rows)} releases",
        "noise is seeded alike in each round, on each client, or for other data or settings: a "
        "difference of two releases has none",
    )


def releases(claim: Claim, seed: int) -> dict[str, NDArray[np.float64]]:
    """Noise [P] of one step, of deviation one, under the same seed: by what was different."""
    silence = Silence.of(claim, seed, (1,))
    quiet = flat(silence.quiet[1])
    start = Asked(1, claim.sample_rate, claim.noise_multiplier, (1, 0), seed=seed)
    sigma, rate = claim.noise_multiplier, claim.sample_rate
    asked = {
        "the first round": start,
        "the second round": replace(start, path=(2, 0)),
        "another client": replace(start, path=(1, 1)),
        "another noise": replace(start, noise_multiplier=1.25 * sigma),
        "another clip": replace(start, clip=2 * claim.clip),
        "another seed": replace(start, seed=seed + 1),
        "a seed that is 2^32 more": replace(start, seed=seed + (1 << 32)),
    }
    if not claim.twins:  # there a second step is another round
        asked["a round of two steps"] = replace(start, steps=2)
    if rate < 1:
        asked["another rate"] = replace(start, sample_rate=rate / 2)
    found = {name: silence.hear(claim, replace(o, ledger=Ledger()))[0] for name, o in asked.items()}

    def with_other(name: str, other: Silence, device: Device | None = None) -> None:
        by = replace(claim, device=device or claim.device)
        asked = replace(start, ledger=Ledger())
        found[name] = other.hear(by, asked)[0]
        if claim.twins:  # what is not noise in it is known
            clean = other.hear(by, replace(asked, noise_multiplier=0.0, ledger=Ledger()))[0]
            found[name] = {n: v - clean[n] for n, v in found[name].items()}

    x = claim.x[FEW : 2 * FEW]
    if claim.twins or torch.equal(x, claim.x[:FEW]):  # hardly any records: there are no others
        x = x + 1
    others, y = quiet_records(claim, silence.model, x)
    if claim.twins:  # there a sum of other records is one from which there is something to learn
        others, y = x, y + 1
    with_other("other records", replace(silence, x=others, y=y))
    if not claim.twins:
        with_other("other weights", replace(silence, model=_stirred(claim, silence)))
        with_other("another learning rate", replace(silence, scale=1.5 * silence.scale))
    for name, device in claim.others.items():
        with_other(name, silence, device)
    rows = {name: np.asarray(flat(release)[quiet][:MOST]) for name, release in found.items()}
    num = max(1, min(MOST, int(quiet.sum())))
    return {
        name: row / max(float(np.linalg.norm(row)) / num**0.5, 1e-300) for name, row in rows.items()
    }


def _stirred(claim: Claim, silence: Silence) -> nn.Module:
    """A model all but as silent, whose weights are others."""
    model = copy.deepcopy(silence.model)
    with torch.no_grad():
        last = list(model.parameters())[-1]
        last.view(-1)[0] = 0.75 * last.view(-1)[0] + 2.0**-20 * reach(model, claim.task)
    return model


def _at_shifts(a: NDArray, b: NDArray, size: int, *, same: bool) -> float:
    """The greatest sum of products at any shift of up to half the length, in its deviations."""
    products = np.fft.irfft(a * np.conj(b))
    shifts = np.minimum(np.arange(len(products)), len(products) - np.arange(len(products)))
    near = (shifts <= size // 2) & ~(same & (shifts == 0))
    return float((np.abs(products[near]) / np.sqrt(size - shifts[near])).max())


def _in_blocks(a: NDArray, b: NDArray) -> float:
    """The greatest correlation of two rows' blocks, and of the whole at the same measure."""
    size = min(BLOCK, len(a))
    x, y = (row[: len(row) // size * size].reshape(-1, size) for row in (a, b))
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float((np.abs((x * y).sum(1)) / np.maximum(lengths, 1e-300)).max())


def _limit(level: float, size: int) -> float:
    """The correlation of two rows of independent normal deviates that `level` of pairs exceed."""
    quantile = t.isf(level / 2, size)
    return float(quantile / np.sqrt(size + quantile**2))
