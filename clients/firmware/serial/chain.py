"""A board's ledger as it leaves the board: is it whole, and no older than what is known of it?

Two areas of records of 32 bytes: number, mark of the key, and 24 bytes of BLAKE2s(last hash,
number, mark); the first begins the chain with the contract's id and is no step. As in ledger.c.
"""

import hashlib
import struct
from typing import NamedTuple

from clients.firmware.contract import Contract
from privacy.errors import LedgerError

RECORD = 32
TORN, MOST_TORN = 0xFFFFFFFF, 8
ERASED = b"\xff" * RECORD


class Told(NamedTuple):
    """Of one ledger.

    Attributes:
        steps: that were spent. `torn`: those of them that a power cut left half-written.
    """

    steps: int
    torn: int


def read_chain(contract: Contract, areas: tuple[bytes, bytes]) -> Told:
    """Check both areas, as they are after the board was opened.

    Raises:
        LedgerError: no board of this contract has left them so.
    """
    first, second = (_read_area(contract, area) for area in areas)
    if first.steps != second.steps:
        raise _damaged(f"has {first.steps} steps in one area and {second.steps} in the other")
    return Told(first.steps, max(first.torn, second.torn))


def require_known(told: Told, least: int, most: int) -> None:
    """Refuse a ledger that is not the one of which these steps are known.

    Args:
        least: steps whose results have left. `most`: steps that were charged.

    Raises:
        LedgerError: it was cut short or put back; or the board has worked elsewhere.
    """
    if told.steps < least:
        raise _damaged(f"has {told.steps} steps, and {least} are known: cut short, or put back")
    if told.steps > most:
        raise _damaged(
            f"has {told.steps} steps, and --ledger knows of {most}: give the file that the board's "
            "steps were charged to, or a board that was never begun"
        )


def require_longer(before: bytes, after: bytes) -> None:
    """Refuse an area that does not go on where it was, a record at a time.

    Raises:
        LedgerError: it is another chain.
    """
    written = len(before.rstrip(b"\xff")) + RECORD - 1  # a hash may end in 0xFF
    known = before[: written - written % RECORD]
    if not after.startswith(known):
        raise _damaged("does not go on where it ended: cut short, put back, or another board's")


def _read_area(contract: Contract, area: bytes) -> Told:
    records = [area[at : at + RECORD] for at in range(0, len(area), RECORD)]
    if len(area) != contract.ledger_bytes:
        raise _damaged(f"has {len(area)} bytes in an area, and not {contract.ledger_bytes}")
    count = next((i for i, record in enumerate(records) if record == ERASED), len(records))
    if not count or any(record != ERASED for record in records[count:]):
        raise _damaged("has a hole" if count else "was never begun")
    last, torn, in_a_row = contract.id, 0, 0
    for place, record in enumerate(records[:count]):
        number, mark = struct.unpack_from("<II", record)
        if number < place:
            raise _damaged(f"has step {number} twice")
        link = _link(last, place, mark)
        if number == place and record[8:] == link:
            in_a_row = 0
        else:
            link = _link(last, place, TORN)
            in_a_row += 1
            torn += 1
        if in_a_row > MOST_TORN:
            raise _damaged(f"is not what was written, from step {place - MOST_TORN} on")
        last = link
    return Told(count - 1, torn)


def _link(last: bytes, number: int, mark: int) -> bytes:
    return hashlib.blake2s(last + struct.pack("<II", number, mark), digest_size=24).digest()


def _damaged(how: str) -> LedgerError:
    return LedgerError(f"the board's ledger {how}; nothing more is computed on it")
