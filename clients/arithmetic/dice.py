"""Random numbers of one layer, on one device, in one step.

Clients may train on threads of one process, so torch's global generator would make results depend
on their order. Each layer owns a `Dice`. What it throws is one for all records of a step, or a
seed for each record by itself: never one that depends on which other records there are.
"""

import numpy as np
from numpy.typing import NDArray

from clients.draws import GOLDEN, inlined, row_seeds, scramble, uniform
from privacy.cipher import LongWords
from privacy.compiling import compiled
from privacy.errors import ModelError

__all__ = ["MASK", "Dice", "compiled", "inlined", "scramble", "uniform"]

MASK = (1 << 64) - 1


class Dice:
    """A source of seeds, each thrown once in a pass over a piece of a batch."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, step: int, records: NDArray[np.int64] | None = None) -> None:
        """Begin a pass: the same step, the same throws, whichever records are in it.

        Args:
            step: a word of 64 bits.
            records: the numbers of the records that the pass is about, [B]; without them, their
                places in the batch.
        """
        self._step, self._throws, self._records = step, 0, records

    def throw(self) -> int:
        """A seed in [0, 2^63), for the step."""
        return int(self._word()) >> 1

    def rows(self, num: int) -> LongWords:
        """A seed for each record, uint64 [num].

        Raises:
            ModelError: the pass is about other records.
        """
        records = np.arange(num) if self._records is None else self._records
        if len(records) != num:
            raise ModelError(f"dice for {len(records)} records, not {num}: keep the batch first")
        return row_seeds(self._word(), records)

    def _word(self) -> np.uint64:
        self._throws += 1
        return np.uint64(scramble(np.uint64((self._step + self._throws * GOLDEN) & MASK)))
