"""The noise of a device's releases: its deviation, and whether any of it is used twice."""

import math

import numpy as np
import torch
from scipy.stats import chi2, norm

from attacks.audit.claim import LEVEL, Asked, Check, Claim, Heard, Release, descent


class Noise:
    """The noise of several rounds: of two clients, one step or four, with the sums taken out."""

    rounds, long = 6, 4

    def __init__(self, claim: Claim, seed: int) -> None:
        self.charged = 0.0
        self.noise: list[tuple[int, Release]] = []  # steps of the round, noise
        model = claim.build(seed)
        for number in range(1, self.rounds + 1):
            for client in (0, 1):
                for steps in (1, self.long)[: 1 + (number == 1)]:

                    def twin(sigma: float, path: tuple[int, int], steps: int) -> Heard:
                        # Four steps go so little way that the gradients stay as they were.
                        asked = Asked(steps, claim.sample_rate, sigma, path)
                        scale = (1e-2 if steps == 1 else 1e-3) / claim.clip
                        return descent(claim, model, claim.x, claim.y, asked, scale=scale)

                    noisy, ledger = twin(claim.noise_multiplier, (number, client), steps)
                    clean, _ = twin(0.0, (number, client), steps)
                    self.charged = max((e.noise_multiplier for e in ledger.entries), default=0.0)
                    unit = max(self.charged, 1e-12) * claim.clip * math.sqrt(steps)
                    self.noise.append((steps, {n: (noisy[n] - clean[n]) / unit for n in noisy}))

    def deviation(self) -> Check:
        """Chi-square tests of the noise's variance, for each layer and length of round."""
        worst, ratio, where = 1.0, 1.0, ""
        groups = [(s, n) for s in (1, self.long) for n in self.noise[0][1]]
        for steps, name in groups:
            z = torch.cat([noise[name].flatten() for s, noise in self.noise if s == steps]).numpy()
            total = float(np.square(z).sum())
            p = 2 * min(chi2.cdf(total, z.size), chi2.sf(total, z.size))
            if p <= worst:
                worst, ratio = p, math.sqrt(total / z.size)
                where = f"{name}, rounds of {steps} step{'s' * (steps > 1)}"
        return Check(
            "noise deviation",
            bool(worst > LEVEL / len(groups) and self.charged > 0),
            f"{ratio:.4f} of what is charged, in the layer that differs most ({where}); "
            f"chi-square p = {worst:.2g}",
            "1, within what chance allows",
            "less: the noise is forgotten, too small, or lowered after accounting; more: a step "
            "is taken more than once, or noise is not drawn afresh for each step",
        )

    def repetition(self) -> Check:
        """Correlation of the noise of every two rounds, clients and layers of one shape."""
        rows = torch.stack(
            [torch.cat([v.flatten() for v in noise.values()]) for s, noise in self.noise if s == 1]
        )
        rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
        pairs = torch.triu(rows @ rows.t(), diagonal=1).abs()
        worst = float(pairs.max())
        count = len(rows) * (len(rows) - 1) // 2
        limit = float(norm.isf(LEVEL / (2 * count))) / math.sqrt(rows.shape[1])
        return Check(
            "noise repetition",
            worst <= limit,
            f"correlation {worst:.4f} in the two rounds most alike",
            f"at most {limit:.4f}",
            "the noise is seeded alike in each round or on each client: a difference of two "
            "releases has none",
        )
