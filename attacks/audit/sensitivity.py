"""One record more or less: how far it can move a sum without noise, wherever it stands.

Twins have the same secrets (`attacks.audit.entropy`), so the sum may differ by what the record
itself adds, and nothing else: neither by where it stands, nor by what others draw beside it.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.audit.claim import (
    HUGE,
    RARE,
    Asked,
    Check,
    Claim,
    NotApplicable,
    Release,
    descent,
    flat,
    weights_of,
)
from attacks.audit.entropy import Entropy, given
from attacks.audit.lessons import BIASES, CERTAIN, FARTHEST, alike, quiet_records, quiet_targets
from attacks.audit.noise import FEW, Silence
from privacy.errors import PrivetError

RECORDS = 12  # of a small batch, whose every record is left out once
PIECE = 256  # records that are computed together: a batch of more comes in several
REACHED = 0.9  # of the clip, by a record that was clipped
TOLERANCE = 1e-3  # of the clip: what float32 weights leave of a sum
EXPONENTS = (0, 5, 10, 15, 18, 20, 22)  # of ten, by which hostile weights are scaled
CERTAINTIES = (0.0, 20.0, 40.0, 50.0, 60.0)  # of hostile weights


class Case(NamedTuple):
    """A batch at weights of somebody's choice.

    Attributes:
        places: whose record is there once, and left out once.
        huge: that one record is enlarged, and of a label that the model finds wrong.
    """

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    places: tuple[int, ...]
    huge: bool = False


def sensitivity(claim: Claim, seed: int) -> list[Check | NotApplicable]:
    """Without noise, a record may move the sum by the clip and no more.

    It is said where no record reaches the clip, for there nobody sees whether one is clipped.
    """
    worst, where = 0.0, "nothing was heard"
    for case in cases(claim, seed):
        for place, name, moved in _moved(claim, case, seed):
            if not math.isfinite(moved) or moved > worst:
                worst = moved if math.isfinite(moved) else math.inf
                where = f"{case.name}, record {place + 1} of {len(case.x)}, mostly {name}"
    check = Check(
        "sensitivity",
        0 < worst <= 1 + TOLERANCE,
        f"{worst:.4f} of the clip norm ({where})",
        "at most 1",
        "gradients are clipped as a batch or after averaging, a layer is left out of the clipping "
        "or of the norm, a record is not clipped at some place, a batch is used more than once, or "
        "what is drawn for one record depends on the others",
    )
    if check.passed and worst < REACHED:
        why = f"no record of the auditor's moves a sum by more than {worst:.2g} of the clip norm"
        return [check, NotApplicable("sensitivity of what is clipped", why)]
    return [check]


def divisor(claim: Claim, seed: int) -> Check | NotApplicable:
    """Where records teach nothing, one more of them may change nothing, down to the last bit.

    So the noisy sum is divided by a public number: by their own it would tell how many there are
    (Opacus's issues 571 and 819). Records that teach something all the same are not drawn; where
    they are all there, as clients are, there is no telling.
    """
    silence, rate = Silence.of(claim, seed, (1,)), claim.sample_rate
    quiet = flat(silence.quiet[1])
    if not quiet.all():
        rate = RARE
    if rate == RARE and claim.twins:
        return NotApplicable("public divisor", "every record that the model is given teaches it")
    rows = []
    for num in (FEW, FEW + 1, 2 * FEW):
        asked = Asked(1, rate, claim.noise_multiplier, (1, 0), secret=True, nominal=2 * FEW)
        with given(Entropy(seed)):
            x, y = quiet_records(claim, silence.model, claim.x[:num])
            release, _ = replace(silence, x=x, y=y).hear(claim, asked)
        rows.append(flat(release))
    apart = sum(not torch.equal(rows[0], row) for row in rows[1:])
    return Check(
        "public divisor",
        not apart,
        f"{apart} of {len(rows) - 1} releases change with the number of silent records",
        "none",
        "the sum is divided by the private number of records, which the noise's size then tells",
    )


def cases(claim: Claim, seed: int) -> Iterator[Case]:
    """Small batches, one in pieces, and weights that a hostile server might choose."""
    order = torch.randperm(len(claim.x), generator=torch.Generator().manual_seed(seed))
    x, y = claim.x[order], claim.y[order]
    everyone = tuple(range(RECORDS))
    for trial in range(2):
        model = claim.build(seed + trial)
        small = slice(trial * RECORDS, (trial + 1) * RECORDS)
        yield Case("a small batch", model, x[small], y[small], everyone)
        yield Case("a huge record in it", model, x[small], y[small], everyone, huge=True)
    many = (PIECE + 4) // len(x) + 1
    x_many, y_many = (torch.cat([t] * many)[: PIECE + 4] for t in (x, y))
    places = (0, 1, PIECE // 2, PIECE - 1, PIECE, PIECE + 3)
    for huge in (False, True):
        yield Case("a batch in pieces", claim.build(seed), x_many, y_many, places, huge)
    yield Case("a huge record alone", model, x[:1], y[:1], (0,), huge=True)
    for exponent in EXPONENTS:
        for certainty in CERTAINTIES:
            name = f"weights of 1e{exponent} that are certain by {certainty:g}"
            two = alike(claim, x[:2])
            hostile = _hostile(claim, two, seed, exponent, certainty)
            yield Case(name, hostile, two, quiet_targets(claim, 2), (1,))


def _moved(claim: Claim, case: Case, seed: int) -> Iterator[tuple[int, str, float]]:
    """By what share of the clip each record moves the sum, and in which parameter most."""
    # A sum of so many clips stays within weights of one, where an arithmetic cuts them off.
    scale = 0.5 / (claim.clip * min(len(case.x), 4 * RECORDS))
    readable = {
        n: _spacing(w) <= 1e-4 * claim.clip * scale for n, w in weights_of(case.model).items()
    }
    whole = None if case.huge else _sum(claim, case.model, case.x, case.y, scale, seed)
    for place in case.places:
        if case.huge:
            whole = _sum(claim, case.model, *_enlarged(claim, case, place), scale, seed)
        if whole is None:
            continue
        less: Release | None = {n: torch.zeros_like(v) for n, v in whole.items()}
        if len(case.x) > 1:
            less = _sum(claim, case.model, case.x, case.y, scale, seed, without=place)
        if less is None:
            continue
        by_layer = {
            n: float(torch.where(readable[n], whole[n] - less[n], 0.0).norm()) for n in whole
        }
        name = max(by_layer, key=lambda n: by_layer[n])
        yield place, name, math.hypot(*by_layer.values()) / claim.clip


def _sum(
    claim: Claim,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    scale: float,
    seed: int,
    without: int | None = None,
) -> Release | None:
    """The clipped sum of all records; None if the device refuses to make one."""
    asked = Asked(1, 1.0, 0.0, path=(1, 0), secret=True, without=without, nominal=len(x))
    with given(Entropy(seed)):
        try:
            return descent(claim, model, x, y, asked, scale=scale)[0]
        except PrivetError:
            return None


def _enlarged(claim: Claim, case: Case, place: int) -> tuple[Tensor, Tensor]:
    """A batch with one huge record, which the model finds wrong, or its gradient would be none."""
    x, y = case.x.clone(), case.y.clone()
    x[place] *= HUGE
    with torch.no_grad():
        outputs = copy.deepcopy(case.model).eval()(x[place : place + 1].float())[0]
        y[place] = FARTHEST[claim.task](outputs)
    return x, y


def _hostile(claim: Claim, x: Tensor, seed: int, exponent: int, certainty: float) -> nn.Module:
    """Activations so large, and gradients so small, that a norm in float32 loses one or both."""
    model = claim.build(seed)
    names = list(dict(model.named_parameters()))
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            if i == 0:
                p.mul_(10.0**exponent)
            if name == names[-1] and p.dim() == 1:
                BIASES[claim.task](p, min(certainty, CERTAIN), x)
            elif name == names[-2] and p.dim() == 2:
                p.zero_()
    return model


def _spacing(weights: Tensor) -> Tensor:
    """Of float32 numbers about so large."""
    return torch.nextafter(weights.abs(), torch.tensor(math.inf)) - weights.abs()
