"""The server whose noise takes itself back (`[federation] bands`), before the auditor.

What the auditor takes for one release is `bands` rounds, in the first of which its clients take
part: put through the matrix, and added up by that round's column, they are the sum of the first
and noise of the deviation that is charged. Nothing tells more of those clients.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from attacks.audit.banded import apart, through, whitened
from attacks.audit.claim import Check
from clients.training.job import Job
from privacy.dp.banded.matrix import Banded, Matrix
from privacy.dp.grid import Grid, most_steps
from server.experiment.experiment import Experiment
from server.run.directory import Run

SIZE, LONG = 4096, 3  # numbers of a silent release; times `bands` are so many rounds listened to

Weights = dict[str, NDArray]
Release = Callable[[Weights, list[Weights], Job, int, int, Banded], Weights]


def unfolded(
    release: Release,
    matrix: Matrix,
    before: Weights,
    sent: list[Weights],
    job: Job,
    number: int,
    planned: int,
) -> Weights:
    """The change of the weights that `bands` rounds tell of the clients of the first, float64.

    Args:
        release: one round of the server's, as `server.adversary.servers.heard`.
        number: of the auditor's round: where in the run it stands, and which key its noise has.
    """
    first = 1 + number % (matrix.rounds - matrix.bands + 1)
    banded = _begun(matrix, first, sum(w.size for w in before.values()))
    numbers = range(first, first + matrix.bands)
    columns = [matrix.below(n).tolist() for n in numbers]
    step = Grid.of(job.budget.clip, sum(w.size for w in before.values())).step / planned
    rounds = []
    for turn in range(matrix.bands):
        there = sent if turn == 0 else [before]
        rounds.append(release(before, there, job, number * matrix.bands + turn, planned, banded))
    own = np.array(columns[0])
    found = {}
    for name, start in before.items():
        steps = np.array([np.rint((r[name] - start).ravel() / step) for r in rounds])
        told = own @ through(columns, steps.astype(np.int64)) / float(own @ own)
        found[name] = np.rint(told).reshape(start.shape) * step
    return found


def checks(experiment: Experiment, run: Run | None, release: Release) -> Iterator[Check]:
    """Of the noise of many rounds in a row, and of who takes part in them."""
    federation, budget = experiment.federation, experiment.budget
    matrix = Matrix(federation.rounds, federation.bands)
    yield apart(experiment.cohorts, federation.bands)
    if run:
        done = [[c.client for c in r.clients if not c.failure] for r in run.rounds]
        yield apart(done, federation.bands)
    assert budget.noise_multiplier is not None
    silent = {"w": np.zeros(SIZE)}
    grid = Grid.of(budget.clip, SIZE)
    long = min(LONG * matrix.bands, matrix.rounds)
    windows, off = [], 0
    for first in sorted({1, matrix.rounds - long + 1}):
        banded = _begun(matrix, first, SIZE)
        columns, rows = [], []
        for number in range(first, first + long):
            heard = release(silent, [silent], experiment.job, number, 1, banded)["w"] / grid.step
            rows.append(np.rint(heard).astype(np.int64))
            off += int((np.abs(heard - np.rint(heard)) > 1e-6 * np.maximum(1, heard)).sum())
            columns.append(matrix.below(number).tolist())
        windows.append((columns, np.array(rows)))
    yield whitened(windows, budget.noise_multiplier * most_steps(grid))
    yield Check(
        "banded grid",
        off == 0,
        f"{off:,} numbers of {sum(rows.size for _, rows in windows):,} between its points",
        "none",
        "what is taken back is no whole number of steps: low bits of a release tell its sum",
    )


def _begun(matrix: Matrix, first: int, size: int) -> Banded:
    """From a round on, as if none had been before it."""
    return Banded(matrix, first, [np.zeros(size, np.int64)] * (min(first, matrix.bands) - 1))
