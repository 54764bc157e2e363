"""The noise of a run's last releases, where later ones take it back (`[federation] bands`).

rounds/NNN.noise.safetensors, for the server alone: with a round's noise goes what hid its sum. A
file is written before its round is done, for a killed run goes on from it; it is removed when
no later round needs it, and with the last round all are. A run whose files are gone cannot go on:
other noise in their place would not take back what was added, and cost as much.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from privacy.dp.banded.matrix import Banded, matrix
from privacy.errors import RunError
from privacy.files import write_atomically
from server.run.directory import Run
from server.run.origin import read_arrays
from server.run.rounds import ClientRecord, RoundRecord

NAME = "rounds/{:03d}.noise.safetensors"
EACH = "rounds/*.noise.safetensors"


class Noises:
    """The noise of a run's rounds.

    Args:
        done: rounds, that are on disk.

    Attributes:
        banded: None if each round's stands for itself.

    Raises:
        RunError: noise that the next round takes back is not there.
    """

    def __init__(self, run: Run, done: Sequence[RoundRecord]) -> None:
        self._run = run
        self.banded = _take_up(run, len(done))
        # Whose sums are still in what is released.
        self._recent = deque(
            (_whose(record.clients) for record in done),
            maxlen=run.experiment.federation.bands - 1,
        )

    def hides(self, entries: Iterable[ClientRecord]) -> list[int]:
        """Whom the noise of a round that these took part in hides: drawn again, it is charged to
        all of them."""
        return sorted(_whose(entries).union(*self._recent))

    def keep(self) -> None:
        """Write the last round's noise down, before the round is; raises RunError."""
        if self.banded is None:
            return
        path = self._run.path / NAME.format(self.banded.number - 1)
        with write_atomically(path) as file:
            os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            file.write(save({"noise": self.banded.before[-1]}))

    def forget(self, record: RoundRecord) -> None:
        """Remove what no round after this one, which is on disk, needs: not even if its line is
        taken away, and it is made again."""
        if self.banded is None:
            return
        self._recent.append(_whose(record.clients))
        federation, done = self._run.experiment.federation, record.round
        needed = done - federation.bands + 1 if done < federation.rounds else done + 1
        for path in self._run.path.glob(EACH):
            number = path.name.partition(".")[0]
            if number.isdecimal() and int(number) < needed:
                path.unlink(missing_ok=True)


def _whose(entries: Iterable[ClientRecord]) -> set[int]:
    """Whose updates a round summed up."""
    return {entry.client for entry in entries if not entry.failure}


def _take_up(run: Run, done: int) -> Banded | None:
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
