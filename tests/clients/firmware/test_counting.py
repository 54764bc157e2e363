"""Instructions by class, their cycles, and whose they are."""

import numpy as np
import pytest
from test_board import CONTRACT, LAYERS, NUM, RECORDS, needs_tools

from clients.firmware.check import KEY, check
from clients.firmware.compiling import build
from clients.firmware.counting import Where, together
from clients.firmware.emulator import Board
from clients.firmware.sources import sources
from clients.firmware.thumb import KINDS, cycles_m4, decoded

# Bytes as LLVM's assembler gives them; class, words; and cycles by ARM's tables, alone.
ENCODED = [
    ("0120", "alu", 0, 1),  # movs r0, #1
    ("4843", "multiply", 0, 1),  # muls r0, r1, r0
    ("4868", "load", 1, 2),  # ldr r0, [r1, #4]
    ("1a5f", "load", 1, 2),  # ldrsh r2, [r3, r4]
    ("5a80", "store", 1, 1),  # strh r2, [r3, #2]
    ("30b5", "store", 3, 4),  # push {r4, r5, lr}
    ("10bd", "load", 2, 3),  # pop {r4, pc}
    ("0cc9", "load", 2, 3),  # ldm r1!, {r2, r3}
    ("00b1", "branch", 0, 1),  # cbz r0, ...
    ("ffd1", "branch", 0, 1),  # bne ...
    ("7047", "branch", 0, 1),  # bx lr
    ("d2e90201", "load", 2, 3),  # ldrd r0, r1, [r2, #8]
    ("8de83001", "store", 3, 4),  # stm.w sp, {r4, r5, r8}
    ("91f90300", "load", 1, 2),  # ldrsb.w r0, [r1, #3]
    ("01f80200", "store", 1, 1),  # strb.w r0, [r1, r2]
    ("21fb0230", "multiply", 0, 1),  # smlad r0, r1, r2, r3
    ("a2fb0301", "multiply", 0, 1),  # umull r0, r1, r2, r3
    ("b1fbf2f0", "divide", 0, 7),  # udiv r0, r1, r2
    ("2ffa91f0", "alu", 0, 1),  # sxtb16 r0, r1, ror #8
    ("01eac200", "alu", 0, 1),  # and.w r0, r1, r2, lsl #3
    ("fff7ebff", "branch", 0, 1),  # bl ...
    ("3ff4e9af", "branch", 0, 1),  # beq.w ...
    ("dfe800f0", "branch", 0, 1),  # tbb [pc, r0]
    ("bff35f8f", "alu", 0, 1),  # dmb sy
    ("d0ed000a", "load", 1, 2),  # vldr s1, [r0]
    ("80ed011a", "store", 1, 2),  # vstr s2, [r0, #4]
    ("b0ec040a", "load", 4, 5),  # vldmia r0!, {s0-s3}
    ("20ee810a", "float", 0, 1),  # vmul.f32 s0, s1, s2
    ("01ee820a", "float mac", 0, 3),  # vmla.f32 s0, s3, s4
    ("80ee810a", "float divide", 0, 14),  # vdiv.f32 s0, s1, s2
    ("f1eec32a", "float divide", 0, 14),  # vsqrt.f32 s5, s6
    ("b5ee400a", "float", 0, 1),  # vcmp.f32 s0, #0
    ("01ee900a", "float", 0, 1),  # vmov s3, r0
    ("f1ee10fa", "float", 0, 1),  # vmrs APSR_nzcv, fpscr
    ("fdeec00a", "float", 0, 1),  # vcvt.s32.f32 s1, s0
]


def block(*codes):
    return list(decoded(b"".join(map(bytes.fromhex, codes))))


def test_instructions_are_read():
    found = block(*(code for code, *_ in ENCODED))
    assert [(one.kind, one.words) for one in found] == [(kind, num) for _, kind, num, _ in ENCODED]
    assert {one.kind for one in found} == set(KINDS)
    for code, _, _, cycles in ENCODED:
        assert cycles_m4(block(code)) == cycles, code


@pytest.mark.parametrize(
    ("codes", "cycles"),
    [
        (("4868", "1a5f", "4868"), 2 + 1 + 1),  # loads beside each other
        (("5a80", "4868"), 1 + 1),
        (("0120", "4868"), 1 + 2),
        (("d2e90201", "4868"), 3 + 2),
        (("20ee810a", "01ee820a"), 1 + 3 + 1),  # the sum waits for the product
        (("20ee810a", "0120", "01ee820a"), 1 + 1 + 3),
    ],
)
def test_what_stands_beside_an_instruction_counts(codes, cycles):
    assert cycles_m4(block(*codes)) == cycles


@needs_tools
def test_all_that_is_executed_is_counted_once_and_of_its_layer(tmp_path):
    """By another way: the emulator's own count of instructions, one by one."""
    for name, text in sources(CONTRACT, LAYERS).items():
        (tmp_path / name).write_text(text)
    board = Board(build(tmp_path, "m4"), "m4", CONTRACT, KEY, RECORDS, counted=True)
    board.call("privet_begin")
    board.call("privet_open", 0)
    board.counted()
    seen = []
    board._mu.hook_add(1 << 2, lambda *_: seen.append(1))  # UC_HOOK_CODE
    board._mu.ctl_flush_tb()
    board.call("privet_step", NUM)
    tallies = board.counted()
    total = together(tallies.values())
    skipped = total.instructions - len(seen)  # by their conditions: a cycle each, and not seen
    assert 0 <= skipped < 0.01 * len(seen)
    assert total.instructions < total.cycles_m4 < 2 * total.instructions
    places = {where for _, where in tallies}
    layers = range(len(LAYERS))
    assert {Where("forward", i) for i in layers} < places
    assert {where for where in places if where.phase == "backward"} == {
        Where("backward", i) for i in (-1, 1, 2)
    }
    products = [w.size for w, _ in LAYERS]
    for i, num in enumerate(products):
        of = together(t for (_, at), t in tallies.items() if at == Where("accumulate", i))
        assert 1 <= of.kinds["multiply"] / num / board.reads < 2


@needs_tools
def test_the_parts_of_a_step_are_the_step():
    limits = {"steps": 1, "cuts": 0, "targets": ("m7",)}
    none = np.zeros(1, np.int64)
    for one in check(sources(CONTRACT, LAYERS), CONTRACT, LAYERS, RECORDS, RECORDS[0][:1], none,
                     **limits):  # fmt: skip
        assert sum(sum(part.mix.values()) for part in one.parts) == sum(one.instructions.values())
        least, most = (sum(part.cycles[i] for part in one.parts) for i in (0, 1))
        assert least == pytest.approx(one.cycles[0], abs=len(one.parts))
        assert most == pytest.approx(one.cycles[1], abs=len(one.parts))
