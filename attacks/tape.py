"""Tape: a finished run as an adversary holds it.

Made by `server.adversary.replay`; nothing here is live.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Weights = dict[str, NDArray]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs [B, K], targets [B, ...] -> [B]
ABSENT = 0.0  # what stands for a number that is missing, beside its flag


@dataclass(frozen=True)
class Column:
    """One column of a table, as a model reads it.

    Attributes:
        start, width: its place among the inputs, and how many numbers it has there.
        values: of a category, one-hot: how many it has, missing counted; 0 is a number, which
            stands at `start`, and after it flags, and after them knots.
        flags: of a number: its value where a flag is set: that it is the least, or `ABSENT`.
        knots: of a number: how near it is to each of so many points of its range, equally far
            apart; 0 where it is missing.
    """

    name: str
    start: int
    width: int
    values: int = 0
    flags: tuple[float, ...] = ()
    knots: int = 0


@dataclass(frozen=True)
class Nature:
    """What a record is: public.

    Attributes:
        kind: picture [H, W] or [C, H, W], window [C, L], sound [L], table [F], or features of such.
        low, high: between which its numbers lie.
        columns: of a table.
        behind: it is known by its features alone, which tell no phases of a window or sound, and
            little of a picture's brightness and contrast.
    """

    kind: str
    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    columns: tuple[Column, ...] = ()
    behind: bool = False

    def settled(self, x: Tensor) -> Tensor:
        """Records [B, ...] of which each number's knots say what the number itself does.

        Whoever alters a number alters what else is told of it; derivatives pass.
        """
        bent = [column for column in self.columns if column.knots]
        if not bent:
            return x
        parts, at = [], 0
        for column in bent:
            first = column.start + 1 + len(column.flags)
            parts += [x[:, at:first], self._knots(x, column)]
            at = first + column.knots
        return torch.cat([*parts, x[:, at:]], 1)

    def _knots(self, x: Tensor, column: Column) -> Tensor:
        share = (x[:, column.start, None] - self.low) / (self.high - self.low)
        points = torch.arange(column.knots, dtype=x.dtype)
        near = (1 - (share * (column.knots - 1) - points).abs()).clamp(min=0)
        if ABSENT in column.flags:
            place = column.start + 1 + column.flags.index(ABSENT)
            near = near * (x[:, place, None] <= 0.5)
        return near


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Of classes int64 [B], record by record."""
    return F.cross_entropy(outputs, y, reduction="none")


@dataclass(frozen=True, eq=False)
class Sample:
    """Records that the adversary can put to a model.

    Attributes:
        inputs: maps indices int64 [B] to what the model reads, float32 [B, ...].
        y: labels int64 [N], or targets float32 [N, K]; with K = 0 a record stands for itself.
        originals: the same records before any fixed transform, float32 [B, *nature.shape].
        loss: what training makes small, of each record.
        task: classes, labels, number or itself.
    """

    inputs: Callable[[Tensor], Tensor]
    y: Tensor
    originals: Callable[[Tensor], Tensor]
    loss: Loss = cross_entropy
    task: str = "classes"

    def targets(self, indices: Tensor, inputs: Tensor) -> Tensor:
        """What a model is to say of some records, whose inputs are `inputs`."""
        return inputs.flatten(1) if self.task == "itself" else self.y[indices]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Recipe:
    """How the run trains: public, since every client is told.

    Attributes:
        cohorts: the clients of each round.
        learning_rates: one a round.
        noise_multiplier: of record-level DP-SGD; None where the clients train without.
        clip: of a record's gradient.
        gradient_norm: to which a batch's is shortened, without DP; 0 leaves it alone.
        server_momentum, server_learning_rate: of FedAvgM; 0 and 1 are FedAvg.
        plain: nothing happens but SGD or DP-SGD on each client, and a weighted mean, with or
            without momentum, on the server. Else only the run's own code (`Tape.fit`) can train
            shadows.
    """

    cohorts: Sequence[Sequence[int]]
    local_steps: int
    sample_rate: float
    momentum: float
    learning_rates: Sequence[float]
    noise_multiplier: float | None
    clip: float
    gradient_norm: float = 0.0
    server_momentum: float = 0.0
    server_learning_rate: float = 1.0
    plain: bool = True

    @property
    def rounds(self) -> int:
        """How many."""
        return len(self.cohorts)


@dataclass(frozen=True, eq=False)
class Tape:
    """A finished run.

    Attributes:
        pool: the candidates: every record that some client owns.
        owner: int32 [N], the client of each candidate.
        shares: int32 [N], how shadows spread the pool over clients: a split of the same kind.
        member: bool [N], was it trained on? What the attacks are judged by; none may read it.
        reference: records of the same kind that no client has.
        nature: what a record is.
        front: the fixed transform that makes of records what the model reads; None: it reads them.
        person: int64 [N], whose each candidate is; None where nobody says.
        reference_person: the same of `reference`.
        whole: whole persons were held out, so shadows too have or lack whole ones.
        build: a fresh model from a seed.
        weights: global weights after a round; 0 is the start.
        update: what a client released in a round, as weights; None if the run did not record it.
        released: the (round, client) of every update that was.
        sums_only: the server was behind secure aggregation; then `update` is masked, or None.
        fit: trains shadows by the run's own code: (member bool [K, N], seeds [K], rounds) ->
            for each shadow, its weights after each of those rounds.
        signature: of all that shapes a shadow: equal signatures may share shadows.
        epsilon, delta: what the run claims for a record; epsilon is None without a promise.
    """

    pool: Sample
    owner: NDArray[np.int32]
    shares: NDArray[np.int32]
    member: Bools
    reference: Sample
    num_classes: int
    build: Callable[[int], nn.Module]
    weights: Callable[[int], Weights]
    update: Callable[[int, int], Weights] | None
    released: frozenset[tuple[int, int]]
    recipe: Recipe
    fit: Callable[[Bools, Sequence[int], Sequence[int]], list[list[Weights]]]
    signature: str
    epsilon: float | None
    delta: float
    nature: Nature
    front: Callable[[Tensor], Tensor] | None = None
    sums_only: bool = False
    person: NDArray[np.int64] | None = None
    reference_person: NDArray[np.int64] | None = None
    whole: bool = False

    def snapshots(self, count: int = 4) -> list[int]:
        """Rounds at which an adversary who sees every global model looks; the last is the end."""
        rounds = self.recipe.rounds
        return sorted({max(1, round(rounds * (i + 1) / count)) for i in range(count)})
