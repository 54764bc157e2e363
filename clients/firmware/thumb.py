"""Thumb instructions by class, and what each takes on a Cortex-M4.

Encodings: Armv7-M Architecture Reference Manual, A5 and A6. Cycles: Cortex-M4 Technical Reference
Manual r0p1, tables 3-1 and 7-1: without wait states; a load beside another load or a store takes
one cycle less, a result of the floating-point unit that the next instruction reads takes one more,
and each branch taken refills the pipeline in one to three cycles.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

ALU, MULTIPLY, DIVIDE = "alu", "multiply", "divide"
LOAD, STORE, BRANCH = "load", "store", "branch"
FLOAT, FLOAT_MAC, FLOAT_DIVIDE = "float", "float mac", "float divide"
KINDS = (ALU, MULTIPLY, DIVIDE, LOAD, STORE, BRANCH, FLOAT, FLOAT_MAC, FLOAT_DIVIDE)

CYCLES = {FLOAT_MAC: 3, FLOAT_DIVIDE: 14, DIVIDE: 7}  # a division: 2 to 12
REFILL = 2  # after a branch: 1 to 3
LONG_WORDS = (29, 30, 31)  # the first five bits of an instruction of four bytes


class Instruction(NamedTuple):
    """One of a block.

    Attributes:
        words: that it loads or stores.
        alone: one word, so that it can follow another's access at once.
        writes: the float register that it writes, -1 if none. `reads`: those that it reads.
    """

    kind: str
    words: int = 0
    alone: bool = False
    writes: int = -1
    reads: tuple[int, ...] = ()


def decoded(code: bytes) -> Iterator[Instruction]:
    """The instructions of a block, in order."""
    place = 0
    while place < len(code):
        (first,) = struct.unpack_from("<H", code, place)
        if first >> 11 in LONG_WORDS:
            (second,) = struct.unpack_from("<H", code, place + 2)
            yield _long(first, second)
            place += 4
        else:
            yield _short(first)
            place += 2


def cycles_m4(block: list[Instruction]) -> int:
    """Of a block whose last branch, if it has one, is not taken."""
    total, before = 0, Instruction(ALU)
    for one in block:
        if one.words:
            beside = one.kind == LOAD and one.alone and before.words > 0 and before.alone
            total += 1 + one.words - (beside or _is_buffered(one))
        else:
            total += CYCLES.get(one.kind, 1)
        total += before.writes >= 0 and before.writes in one.reads
        before = one
    return total


def _is_buffered(one: Instruction) -> bool:
    """A core register's word waits in the write buffer."""
    return one.kind == STORE and one.alone and not one.reads


def _access(is_load: int, words: int = 1, alone: bool = True) -> Instruction:
    return Instruction(LOAD if is_load else STORE, words, alone)


def _short(h: int) -> Instruction:
    top = h >> 12
    if h >> 8 == 0x47 or h & 0xFF87 == 0x4687:
        return Instruction(BRANCH)
    if top == 4 and h & 0xFFC0 == 0x4340:
        return Instruction(MULTIPLY)
    if h >> 11 == 9:
        return _access(1)
    if top == 5:
        return _access(h >> 9 & 7 > 2)
    if top in (6, 7, 8, 9):
        return _access(h >> 11 & 1)
    if h & 0xF500 == 0xB100 or (top == 13 and h >> 8 & 15 < 14) or h >> 11 == 28:
        return Instruction(BRANCH)
    if h & 0xF600 == 0xB400:  # push, pop
        return _access(h >> 11 & 1, (h & 0x1FF).bit_count(), alone=False)
    if top == 12:
        return _access(h >> 11 & 1, (h & 0xFF).bit_count(), alone=False)
    return Instruction(ALU)


def _long(a: int, b: int) -> Instruction:
    if a & 0xEC00 == 0xEC00 and b >> 9 & 7 == 5:
        return _float(a, b)
    if a & 0xFE40 == 0xE800:
        return _access(a >> 4 & 1, b.bit_count(), alone=False)
    if a & 0xFFF0 == 0xE8D0 and b & 0xFFE0 == 0xF000:  # a table of branches
        return Instruction(BRANCH)
    if a & 0xFE40 == 0xE840:
        return _access(a >> 4 & 1, 2, alone=False)
    if a & 0xF800 == 0xF000 and b & 0x8000:
        told = b & 0x5000 or a >> 7 & 7 != 7  # else barriers and special registers
        return Instruction(BRANCH if told else ALU)
    if a & 0xFE00 == 0xF800:
        return _access(a >> 4 & 1)
    if a & 0xFFD0 == 0xFB90 and b & 0xF0 == 0xF0:
        return Instruction(DIVIDE)
    return Instruction(MULTIPLY if a >> 8 == 0xFB else ALU)


def _float(a: int, b: int) -> Instruction:
    d = b >> 12 << 1 | a >> 6 & 1
    n, m = (a & 15) << 1 | b >> 7 & 1, (b & 15) << 1 | b >> 5 & 1
    double = b >> 8 & 1
    if a & 0xFFE0 == 0xEC40:
        return Instruction(FLOAT)
    if a & 0xFE00 == 0xEC00:
        alone, is_load = a & 0x0120 == 0x0100, a >> 4 & 1
        words = 1 + double if alone else b & 0xFF
        one = _access(is_load, words, alone and words == 1)
        return one._replace(writes=-1) if is_load else one._replace(reads=(d,))
    if a >> 8 == 0xEE and b & 0x10:  # between a core register and one of floats, or their flags
        return Instruction(FLOAT, reads=(n,) if a & 0xF0 == 0x10 else ())
    kind, operation = FLOAT, a & 0xB0
    if a & 0xFFBE == 0xEEB4:  # compares
        return Instruction(FLOAT, reads=(d, m))
    if a >> 8 == 0xEE:
        if operation in (0x00, 0x10, 0x90, 0xA0):
            kind = FLOAT_MAC
        elif operation == 0x80 or (operation == 0xB0 and a & 15 == 1 and b & 0xC0 == 0xC0):
            kind = FLOAT_DIVIDE
    reads = (m,) if operation == 0xB0 and a >> 8 == 0xEE else (n, m)
    return Instruction(kind, writes=d, reads=reads + ((d,) if kind == FLOAT_MAC else ()))
