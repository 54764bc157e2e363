"""[secure]: how a sum is made that the server cannot take apart; and the terms of one such sum.

The terms are public: every member gets the same and checks them, the server keeps to them. What
they fix is in `digest`, to which every key and every message between members is bound, so that
nothing of one sum is of use in another.
"""

import hashlib
import math
from functools import cached_property, lru_cache
from typing import Annotated, Literal

from pydantic import Field

from privacy.errors import SecureSumFailed
from privacy.settings import Range, Section
from privacy.sums.fixed_point import FixedPoint

FEWEST = 3  # survivors: of the sum of two each knows the other's part
FEW = 32  # up to so many are all neighbours of each other
LOSS = 0.3  # share of members whose loss a graph is made to bear
CHANCE = 1e-3  # that it does not
MOST_MEMBERS = 1 << 20
MOST_NUMBERS = 1 << 28  # of an update
MOST_TEXT = 1 << 20  # characters of terms: some hundred thousand members


class Secure(Section):
    """[secure]: the sum behind `[federation] secure_aggregation`.

    Attributes:
        survivors: least share of the cohort whose updates make a round. Under `unit = "client"`
            the noise is solved for just as many.
        threshold: share of those who hold a part of a client's seed, more than which can tell it.
            From a half up: so two lists of survivors alone cannot open a client; a server that lies
            and has c of the holders on its side cannot, from (1 + c / holders) / 2 up.
        neighbours: clients to which each gives parts of its secrets (Bell et al. 2020); 0 is the
            least that clients accept, by their number.
        bits: of a masked number. 64 cost twice the bytes.
        value_range: the largest change of a weight that can be told; larger ones are cut, and how
            many were is part of the sum.
        most_examples: the weight of a client with more records is that of so many.
        dishonest: clients among the survivors who may leave out their noise, or tell it.
        groups: into which a cohort is drawn, each with a sum of its own, so that sums can be
            compared where single updates cannot. A client then hides in its group only.
    """

    survivors: float = Field(default=0.6, gt=0.5, le=1)
    threshold: float = Field(default=0.5, ge=0.5, lt=1)
    neighbours: Annotated[int, Range(0, MOST_MEMBERS)] = 0
    bits: Literal[32, 64] = 32
    value_range: Annotated[float, Range(1e-6, 1e6)] = 4.0
    most_examples: Annotated[int, Range(1, (1 << 24) - 1)] = 1 << 16
    dishonest: Annotated[int, Range(0, MOST_MEMBERS)] = 0
    groups: Annotated[int, Range(1, MOST_MEMBERS)] = 1

    def fewest(self, members: int) -> int:
        """Survivors without whom there is no sum."""
        return max(math.ceil(self.survivors * members - 1e-9), FEWEST)

    def honest(self, members: int) -> int:
        """Survivors whose noise is counted on."""
        return self.fewest(members) - self.dishonest

    def degree(self, members: int) -> int:
        """Neighbours that each member draws: all others where they are few."""
        return min(self.neighbours or degree_for(members, self.threshold), members - 1)


def parts_needed(holders: int, threshold: float) -> int:
    """Holders who can tell a seed together; one fewer know nothing of it."""
    return math.floor(threshold * holders + 1e-9) + 1


@lru_cache(maxsize=64)
def degree_for(members: int, threshold: float) -> int:
    """The least degree with which, when 30 % of the members are lost, all seeds can be told.

    A member's neighbours are a random subset; each seed that must be told fails with the lower tail
    of the hypergeometric distribution, and all of them with at most the sum of these (Bell et al.
    2020, section 3). Where a fifth of the members collude, that of one member's holders enough do
    to read it has, at this degree, a chance below 2^-47 in a sum (the upper tail).
    """
    if members <= FEW:
        return members - 1
    from scipy.stats import hypergeom  # a second, for large cohorts alone

    lost = math.floor(LOSS * members)
    for degree in range(4, members - 1, 2):
        needed = parts_needed(degree + 1, threshold)
        fails = hypergeom.cdf(needed - 1, members - 1, members - 1 - lost, degree)
        if members * fails <= CHANCE:
            return degree
    return members - 1


class Terms(Section):
    """What the server and all members know of one sum.

    Attributes:
        scheme: `masks` or `ckks`.
        run, round, nonce: which sum this is; the nonce is fresh with each attempt.
        task: of what every member is sent to train, from `clients.node.secure.task_of`: weights
            and job. A member checks it, so that whoever was sent something else has other terms.
        members: client numbers, ascending.
        degree: neighbours that each member draws.
        needed: holders who can tell a seed.
        survivors: without so many there is no sum.
        length: numbers of an update.
        bits, value_range, most_examples: as in `Secure`.
        clip: L2 norm to which a member clips its update; 0 does not.
        deviation: of each member's discrete Gaussian noise, in grid units; 0 adds none.
        scale: grid units in one.
    """

    scheme: Literal["masks", "ckks"]
    run: str
    round: Annotated[int, Range(0, 1_000_000)]
    nonce: str = Field(min_length=32, max_length=32)
    task: str = Field(min_length=64, max_length=64)
    members: tuple[Annotated[int, Range(0, MOST_MEMBERS)], ...] = Field(max_length=MOST_MEMBERS)
    degree: Annotated[int, Range(0, MOST_MEMBERS)]
    needed: Annotated[int, Range(0, MOST_MEMBERS)]
    survivors: Annotated[int, Range(0, MOST_MEMBERS)]
    length: Annotated[int, Range(1, MOST_NUMBERS)]
    bits: Literal[32, 64]
    value_range: Annotated[float, Range(1e-6, 1e6)]
    most_examples: Annotated[int, Range(1, (1 << 24) - 1)]
    clip: Annotated[float, Range(1e-6, 1e6, or_zero=True)] = 0.0
    deviation: Annotated[int, Range(0, 1 << 20)] = 0
    scale: Annotated[float, Range(1e-18, 1e30)]

    @classmethod
    @lru_cache(maxsize=8)
    def from_json(cls, text: str) -> "Terms":
        """Parse what came over the wire.

        Raises:
            SecureSumFailed: it is not the terms of a sum.
        """
        if len(text) > MOST_TEXT:
            raise SecureSumFailed(f"terms of a sum: {len(text)} characters")
        try:
            return cls.model_validate_json(text)
        except ValueError as error:
            raise SecureSumFailed(f"terms of a sum: {error}") from None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()

    @cached_property
    def grid(self) -> FixedPoint:
        """The numbers that are added."""
        return FixedPoint(self.bits, self.scale, self.value_range, len(self.members))

    def require_safe(self, me: int) -> None:
        """What a member wants before it takes part, whatever the server says.

        Raises:
            SecureSumFailed: under these terms its update could be read.
        """
        num = len(self.members)
        if me not in self.members or len(set(self.members)) != num or num < FEWEST:
            raise SecureSumFailed(f"client {me} is no member, or there are fewer than {FEWEST}")
        if self.survivors < FEWEST:
            raise SecureSumFailed(f"a sum of {self.survivors} tells each what the other said")
        if self.scheme == "masks":
            least = degree_for(num, 0.5)  # a greater threshold has a greater one
            if not least <= self.degree < num:
                raise SecureSumFailed(
                    f"{self.degree} neighbours among {num} members: {least} are the least"
                )
            if not self.degree + 1 >= self.needed > (self.degree + 1) / 2:
                raise SecureSumFailed(
                    f"{self.needed} holders could tell a seed: no more than half of them"
                )
        if not 2 * self.survivors > num:
            raise SecureSumFailed(f"a sum of {self.survivors} of {num}: no more than half of them")
        if self.clip and self.clip * self.scale > self.grid.most:
            raise SecureSumFailed("a clipped update does not fit the grid")
