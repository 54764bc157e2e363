"""The noise of a run's last releases, where later ones take it back (`[federation] bands`).

rounds/NNN.noise.safetensors, for the server alone: with a round's noise goes what hid its sum. A
file is written before its round is done, for a killed run goes on from it; it is removed when
no later round needs it, and with the last round all are. A run whose files are gone cannot go on:
other noise in their place would not take back what was added, and cost as much.
"""

import os
import stat

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from privacy.dp.banded.matrix import Banded, matrix
from privacy.errors import RunError
from privacy.files import write_atomically
from server.run.directory import Run
from server.run.origin import read_arrays

NAME = "rounds/{:03d}.noise.safetensors"
EACH = "rounds/*.noise.safetensors"


def take_up(run: Run, done: int) -> Banded | None:
    """The noise of a run with so many rounds done; None if each round's is its own.

    Raises:
        RunError: noise that the next round takes back is not there.
    """
    federation = run.experiment.federation
    found = matrix(federation.rounds, federation.bands)
    if found is None or done == federation.rounds:
        return None
    before = []
    for number in range(max(1, done - federation.bands + 2), done + 1):
        path = run.path / NAME.format(number)
        try:
            before.append(read_arrays(path)["noise"].astype(np.int64, casting="safe"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = "not there" if isinstance(error, FileNotFoundError) else "damaged"
            raise RunError(
                f"{path}: {reason}; round {done + 1} takes back noise of round {number} "
                "([federation] bands), and none can stand in its place; start a new run"
            ) from None
    return Banded(found, done + 1, before)


def keep(run: Run, banded: Banded) -> None:
    """Write the last round's noise down, before the round is; raises RunError."""
    path = run.path / NAME.format(banded.number - 1)
    with write_atomically(path) as file:
        os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        file.write(save({"noise": banded.before[-1]}))


def forget(run: Run, done: int) -> None:
    """Remove what no round after so many needs: not even the last one, made again."""
    federation = run.experiment.federation
    needed = done - federation.bands + 1 if done < federation.rounds else done + 1
    for path in run.path.glob(EACH):
        number = path.name.partition(".")[0]
        if number.isdecimal() and int(number) < needed:
            path.unlink(missing_ok=True)
