"""Is the secret as wide as it should be: 256 bits of the operating system, each of them used?

`torch.Generator.manual_seed` keeps 32 bits of what it is given, Python's and numpy's generators
tell their state after a few hundred words: none may stand between a secret and a release.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
import torch

from attacks.audit.claim import NOWHERE, Asked, Check, Claim, NotApplicable, flat
from attacks.audit.entropy import Entropy, given
from attacks.audit.noise import Silence
from privacy.dp.ledger import Ledger

KEY_BYTES = 32
NARROW = {
    torch.Generator: "torch.Generator, which keeps 32 bits of its seed",
    np.random.RandomState: "numpy's RandomState",
    np.random.Generator: "numpy's Generator",
    random.Random: "Python's random.Random",
}
GLOBAL = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
IN_PLACE = ("normal_", "uniform_", "bernoulli_", "random_", "exponential_")


def width(claim: Claim, seed: int) -> Check | NotApplicable:
    """Every byte of the key must alter the noise, and no narrower generator may be on its way."""
    silence = Silence.of(claim, seed, (1,))
    quiet = flat(silence.quiet[1])
    if not quiet.any():
        return NotApplicable("key width", NOWHERE)
    asked = Asked(1, claim.sample_rate, claim.noise_multiplier, (1, 0), seed=seed, secret=True)

    def heard(flipped: int | None) -> tuple[torch.Tensor, int]:
        with given(Entropy(seed, flipped)) as entropy:
            release = silence.hear(claim, replace(asked, ledger=Ledger()))[0]
        return flat(release)[quiet], entropy.num_bytes

    base, num_bytes = heard(None)
    again, _ = heard(None)
    unused = [
        place
        for place in range(min(num_bytes, KEY_BYTES))
        if float((heard(place)[0] == base).double().mean()) > 0.5
    ]
    with generators_used() as narrow:
        for rate in (claim.sample_rate, 1.0):  # who is drawn, and what is drawn for them
            for secret in (True, claim.secure):
                one = replace(asked, sample_rate=rate, secret=secret, ledger=Ledger())
                silence.hear(claim, one)
    said = [f"{num_bytes} bytes of the operating system's, {len(unused)} of which alter nothing"]
    said += sorted(narrow)
    if not torch.equal(base, again):
        said.append("randomness from elsewhere")
    return Check(
        "key width",
        num_bytes >= KEY_BYTES and not unused and not narrow and torch.equal(base, again),
        "; ".join(said),
        f"{KEY_BYTES} bytes or more, each of which alters the noise, and no narrower generator",
        "the secret passes through a generator that keeps fewer bits than it is given: it can be "
        "found by search",
    )


@contextmanager
def generators_used() -> Iterator[set[str]]:
    """Which narrow generators anything in this thread calls."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (name := _narrow(function)):
            found.add(name)

    kept = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(kept)


def _narrow(function: Any) -> str:
    """The generator that a function of a library draws from; empty if from none."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if isinstance(owner, random.SystemRandom):
        return ""
    for kind, said in NARROW.items():
        if isinstance(owner, kind):
            return said
    module = getattr(function, "__module__", None) or ""
    in_place = name in IN_PLACE and isinstance(owner, torch.Tensor)
    if in_place or (name in GLOBAL and module == "torch"):
        return f"torch.{name}"
    return NARROW[np.random.RandomState] if module == "numpy.random.mtrand" else ""
