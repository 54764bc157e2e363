"""The noise of a device's releases, heard where there is nothing else: its deviation and its law.

A model that is certain and right learns nothing from its records, so what a round takes off its
weights is noise, read without loss from weights of zero (`attacks.audit.lessons`). Nothing
is assumed of two rounds having the same batches, so seeded and secure noise are heard alike.

Shapes: N deviates.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, chi2, kstest, ncx2, poisson
from torch import Tensor, nn

from attacks.audit.claim import (
    LEVEL,
    NOWHERE,
    Asked,
    Check,
    Claim,
    NotApplicable,
    Release,
    amplification,
    descent,
)
from attacks.audit.lessons import quiet_records, reach, silenced
from privacy.dp.ledger import Ledger

Deviates = NDArray[np.float64]

FEW = 2  # records of a round that is to be silent
TAILS = (2.0, 3.0, 4.0, 5.0)  # deviations beyond which deviates are counted
FINEST = 2.0**-20  # of a deviation: what float32 tells apart, or less
CROWDED = 0.1  # deviates a cell of the lattice, up to which coincidences are rare events
EXACT = 1 << 19  # whole numbers up to here come back from float32 weights


@dataclass(frozen=True, eq=False)
class Silence:
    """Where to listen: a silenced model, records that teach it nothing, and what is quiet there.

    Attributes:
        quiet: for each parameter, which of its numbers no record moves, by length of the round.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    scale: float
    quiet: dict[int, dict[str, Tensor]]

    @classmethod
    def of(cls, claim: Claim, seed: int, lengths: tuple[int, ...]) -> "Silence":
        """Silence the run's model, and see what is heard all the same."""
        model = silenced(claim.build(seed), claim.task)
        x, y = quiet_records(claim, model, claim.x[:FEW])
        scale = 1e-2 / (claim.clip * max(1.0, claim.noise_multiplier)) * reach(model, claim.task)
        quiet = {}
        for steps in lengths:
            heard: list[Release] = []
            for secret in (False, True):  # the dice of an arithmetic fall anew
                asked = Asked(steps, 1.0, 0.0, (1, 0), secret=secret)
                heard.append(descent(claim, model, x, y, asked, scale=scale)[0])
            quiet[steps] = {n: (heard[0][n] == 0) & (heard[1][n] == 0) for n in heard[0]}
        return cls(model, x, y, scale, quiet)

    def hear(self, claim: Claim, asked: Asked) -> tuple[Release, float]:
        """What a round of noise takes off the weights, as a sum; and the sigma it was charged."""
        release, ledger = descent(claim, self.model, self.x, self.y, asked, scale=self.scale)
        return release, max((e.noise_multiplier for e in ledger.entries), default=0.0)


class Noise:
    """The noise of several rounds of two clients, of one step or of four."""

    rounds, long = 6, 4

    def __init__(self, claim: Claim, seed: int) -> None:
        self._claim = claim
        self.silence = Silence.of(claim, seed, (1, self.long))
        self.charged = 0.0
        self.heard: list[tuple[int, Release]] = []  # steps of the round, sum of its noise
        asked = Asked(1, claim.sample_rate, claim.noise_multiplier, (1, 0), seed=seed)
        for number in range(1, self.rounds + 1):
            for client in (0, 1):
                for steps in (1, self.long):
                    one = replace(asked, steps=steps, path=(number, client), ledger=Ledger())
                    release, self.charged = self.silence.hear(claim, one)
                    self.heard.append((steps, release))

    def _unit(self, steps: int) -> float:
        """The deviation that is charged, of the noise of a round."""
        pull = self.silence.scale * self._claim.sample_rate * FEW * self._claim.proximal
        gain = amplification(steps, self._claim.momentum, pull)
        return max(self.charged, 1e-12) * self._claim.clip * gain

    def deviation(self) -> Check:
        """Chi-square tests of the noise's variance, for each layer and length of round.

        Where records are heard too, what they can add at most is granted to the upper tail.
        """
        worst, ratio, where = 1.0, 1.0, ""
        groups = [(s, n) for s in (1, self.long) for n in self.heard[0][1]]
        for steps, name in groups:
            rows = [noise[name].flatten() for s, noise in self.heard if s == steps]
            total = float(torch.cat(rows).square().sum()) / self._unit(steps) ** 2
            size = sum(map(len, rows))
            clear = bool(self.silence.quiet[steps][name].all())
            granted = 0.0 if clear else len(rows) * steps * (FEW / max(self.charged, 1e-12)) ** 2
            above = ncx2.sf(total, size, granted) if granted else chi2.sf(total, size)
            p = 2 * min(chi2.cdf(total, size), above)
            if p <= worst:
                worst, ratio = float(p), math.sqrt(total / size)
                where = f"{name}, rounds of {steps} step{'s' * (steps > 1)}"
        return Check(
            "noise deviation",
            bool(worst > LEVEL / len(groups) and self.charged > 0),
            f"{ratio:.4f} of what is charged, in the layer that differs most ({where}); "
            f"chi-square p = {worst:.2g}",
            "1, within what chance allows",
            "less: the noise is forgotten, too small, or lowered after accounting, or what it was "
            "added to is amplified afterwards; more: a step is taken more than once, or noise is "
            "not drawn afresh for each step",
        )

    def deviates(self) -> Deviates:
        """The noise of all single steps, in deviations, where nothing else is heard [N]."""
        quiet = self.silence.quiet[1]
        rows = [n[k][quiet[k]] for s, n in self.heard if s == 1 for k in quiet]
        return np.asarray(torch.cat(rows)) / self._unit(1)

    def law(self, more: Deviates) -> Check:
        """Is it Gaussian: in the middle, in the tails, and in the fineness of its numbers?

        Args:
            more: deviates of real batches, where no record reached.
        """
        size = sum(v.numel() for v in self.heard[0][1].values())
        lattice = FINEST
        if self._claim.step:
            lattice = self._claim.step(self._claim.clip, size) / self._unit(1)
        found = {f"{n} of silent rounds": p for n, p in misfits(self.deviates(), lattice).items()}
        if len(more):
            # Of little noise whole steps are a larger share: what is exact meets on them, too.
            finest = max(FINEST, lattice)
            found |= {f"{n} of full rounds": p for n, p in misfits(more, finest).items()}
        name = min(found, key=lambda n: found[n]) if found else "nothing was heard"
        p = found.get(name, 0.0)
        return Check(
            "noise law",
            bool(p > LEVEL / max(len(found), 1)),
            f"p = {p:.2g} in what differs most ({name}), of {len(self.deviates()) + len(more):,} "
            "deviates",
            "Gaussian, within what chance allows",
            "the noise has another law than was accounted for, or was drawn in too few bits: its "
            "tails, or its coincidences, tell what is not noise",
        )

    def grid(self) -> Check | NotApplicable:
        """Are releases whole multiples of a public step, so that low bits tell nothing?"""
        name, meaning = (
            "noise grid",
            "floating-point noise was added to a floating-point sum, and the low bits of what is "
            "released tell the sum (Mironov 2012)",
        )
        if self._claim.step is None:
            return Check(name, False, "the step has no public grid", "whole multiples", meaning)
        quiet = self.silence.quiet[1]
        size = sum(v.numel() for v in quiet.values())
        start = {n: p == 0 for n, p in self.silence.model.named_parameters()}
        rows = [n[k][quiet[k] & start[k]] for s, n in self.heard if s == 1 for k in quiet]
        if not sum(map(len, rows)):
            return NotApplicable(name, NOWHERE)
        whole = np.asarray(torch.cat(rows)) / self._claim.step(self._claim.clip, size)
        read = whole[(np.abs(whole) < EXACT) & (whole != 0)]
        off = np.abs(read - np.rint(read)) - 2.0**-21 * np.abs(read)  # float32's own error
        worst = float(off.max()) if len(read) else 0.5
        return Check(
            name,
            worst <= 1e-3,
            f"{int((off > 1e-3).sum()):,} of {len(read):,} numbers between its points",
            "none",
            meaning,
        )


def misfits(z: Deviates, lattice: float) -> dict[str, float]:
    """Chance of what is seen, or more, if z are independent N(0, 1) on that lattice, in float32.

    Each is a test of its own: Kolmogorov and Smirnov's, chi-square, tails, and coincidences, for
    numbers in few bits meet more often than they should.
    """
    if not len(z):
        return {}
    total, size = float(np.square(z).sum()), len(z)
    found = {
        "middle": float(kstest(z, "norm").pvalue),
        "variance": 2 * float(min(chi2.cdf(total, size), chi2.sf(total, size))),
    }
    for tail in TAILS:
        share = float(chi2.sf(tail**2, 1))
        beyond = int((np.abs(z) > tail).sum())
        p = 2 * min(binom.cdf(beyond, size, share), binom.sf(beyond - 1, size, share))
        found[f"tail beyond {tail:g}"] = float(p)
    # A cell of float32 is 2^-23 |z| wide at most: as many meet as on a lattice of 2^-23 / sqrt(pi).
    lattice += 2.0**-23 / math.sqrt(math.pi)
    few = z[: max(2, int(CROWDED / lattice))]
    pairs = len(few) ** 2 * lattice / (4 * math.sqrt(math.pi))
    met = len(few) - len(np.unique(few))
    found["coincidences"] = float(poisson.sf(met - 1, 1.05 * pairs + 1))
    return found
