"""The auditor before an emulated board: is what it releases what its contract charges?

The tests are those of `attacks.audit`, of which the board's shipped C is the device: noise heard
where there is nothing else, twins of one secret that differ in one record, batches as they
are read.
"""

import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2, norm

from attacks.audit.claim import LEVEL, Check
from attacks.audit.noise import misfits
from clients.firmware.compiling import build
from clients.firmware.contract import Contract
from clients.firmware.emulator import KEY, Board
from clients.firmware.net import Records
from clients.firmware.numbers.noise import poisson

SILENT, DRAWN, TWINS = 6, 20, 24
DEVIATES = 60_000
MOST_BATCH = 8  # records beside the one that is heard
NOBODY = 255  # a label that is none: such a record is read, and adds nothing
MOST_EMPTY = 20  # steps without a record, before one that is heard
TARGET = "m7"


def heard(sources: dict[str, str], contract: Contract, records: Records) -> list[Check]:
    """Audit a board.

    Args:
        sources: as `clients.firmware.sources` made them, or sabotaged.
        records: inputs int16 [N, inputs], labels uint8 [N].
    """
    with TemporaryDirectory(prefix="privet-firmware-") as scratch:
        for name, text in sources.items():
            (Path(scratch) / name).write_text(text)
        program = build(Path(scratch), TARGET)

        def started(held: Records) -> Board:
            board = Board(program, TARGET, contract, KEY, held)
            board.call("privet_begin")
            board.call("privet_open", 0)
            return board

        nobodys = np.full_like(records[1], NOBODY)
        silent = _silent(started(records), contract)
        return [
            _law(silent, contract),
            _repetition(silent),
            _sampling(started((records[0], nobodys)), contract, len(records[1])),
            _sensitivity(started, contract, records),
        ]


def _silent(board: Board, contract: Contract) -> list[NDArray[np.float64]]:
    """What steps without records release from weights of zero, in charged deviations."""
    unit = float(contract.rate) * contract.sensitivity * contract.noise_multiplier
    rows = []
    for _ in range(SILENT):
        board.weights = np.zeros(contract.num_weights, np.float32)
        board.call("privet_step", 0)
        rows.append(-board.weights.astype(np.float64) / unit)
    return rows


def _law(rows: list[NDArray[np.float64]], contract: Contract) -> Check:
    z = np.concatenate(rows)[:DEVIATES]
    found = misfits(z, 2.0**-contract.noise_bits)
    name = min(found, key=lambda one: found[one])
    return Check(
        "noise law",
        found[name] > LEVEL / len(found),
        f"p = {found[name]:.2g} in what differs most ({name}), of {len(z):,} deviates",
        "Gaussian, of the charged deviation, within what chance allows",
        "the noise is too small, of another law, or drawn in too few bits",
    )


def _repetition(rows: list[NDArray[np.float64]]) -> Check:
    pairs = list(combinations(rows, 2))
    most = max(abs(float(np.corrcoef(a, b)[0, 1])) for a, b in pairs)
    limit = float(norm.isf(LEVEL / (2 * len(pairs)))) / math.sqrt(len(rows[0]))
    return Check(
        "noise repetition",
        most <= limit,
        f"two steps correlate by {most:.4f} at most",
        f"{limit:.4f} or less",
        "a keystream was begun twice: who subtracts two releases has none of its noise",
    )


def _sampling(board: Board, contract: Contract, num: int) -> Check:
    q, sizes = contract.sample_rate / 2**32, []
    for _ in range(DRAWN):
        before = board.reads
        board.call("privet_step", num)
        sizes.append(board.reads - before)
    total, size = sum(sizes), num * len(sizes)
    chances = [min(binom.cdf(total, size, q), binom.sf(total - 1, size, q))]
    if q < 1:
        spread = float(np.square(np.array(sizes) - num * q).sum()) / (num * q * (1 - q))
        chances.append(min(chi2.cdf(spread, len(sizes)), chi2.sf(spread, len(sizes))))
    return Check(
        "sampling",
        bool(2 * min(chances) > LEVEL / len(chances)),
        f"batches of {np.mean(sizes):.1f} with a deviation of {np.std(sizes):.1f}",
        f"{num * q:.1f} and {math.sqrt(num * q * (1 - q)):.1f}, within what chance allows",
        "batches are drawn at another rate than is charged, or not each record by itself",
    )


def _sensitivity(
    started: Callable[[Records], Board], contract: Contract, records: Records
) -> Check:
    """Twins with a last record more, which is drawn; the rest of the batch is the same."""
    inputs, labels = records
    before, drawn = _drawn(contract, len(labels))
    ulp = float(np.spacing(np.float32(1)))
    longest, told = 0.0, 0
    for twin in range(TWINS if len(drawn) else 0):
        num = 1 + int(drawn[twin * 7 % min(len(drawn), MOST_BATCH)])
        loud = np.full_like(inputs[:1], contract.scale) if twin % 2 else inputs[num - 1 : num]
        held = (np.concatenate([inputs[: num - 1], loud]), labels[:num])
        released = []
        for count in (num - 1, num):
            board = started(held)
            for _ in range(before):
                board.call("privet_step", 0)
            board.weights = board.weights * np.float32(30 if twin % 3 == 2 else 1)
            start = board.weights
            board.call("privet_step", count)
            released.append(board.weights.astype(np.float64))
            rounding = float(np.abs(start).max()) * ulp * 2
        apart = float(np.linalg.norm(released[1] - released[0])) / float(contract.rate)
        slack = rounding * math.sqrt(contract.num_weights) / float(contract.rate)
        told += apart > slack
        longest = max(longest, (apart - slack) / contract.sensitivity)
    return Check(
        "sensitivity",
        longest <= 1 and told > 0,
        f"{longest:.4f} of S, the most that one record moved a release, of {told} that did",
        "1 or less",
        "a record's gradient is not clipped, or not to what the noise was made for",
    )


def _drawn(contract: Contract, num: int) -> tuple[int, NDArray[np.int64]]:
    """The first step that draws records, after how many steps it comes, and which it draws."""
    for before in range(min(contract.most_steps, MOST_EMPTY)):
        drawn = poisson(KEY, before + 1, num, contract.sample_rate)
        if len(drawn):
            return before, drawn
    return 0, np.zeros(0, np.int64)
