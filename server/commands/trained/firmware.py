"""`privet export --to c`: for a microcontroller, checked and audited in an emulator."""

from pathlib import Path
from typing import TYPE_CHECKING

from privacy.errors import PrivetError

if TYPE_CHECKING:
    from clients.firmware.answers import Answered
    from clients.firmware.check import Found
    from clients.firmware.front.check import Turned
    from clients.firmware.qemu import Seen
    from server.export.firmware import Board
    from server.run.directory import Run


def to_c(run: "Run", out: Path, chip: str, check: bool, audit: bool) -> None:
    """Write inference and the private step as C.

    Raises:
        PrivetError: it cannot be exported, or the emulated board is not the simulation.
    """
    from server.console import err
    from server.export.firmware import board_of, require_tools, write

    board = board_of(run, chip)
    if check or audit:
        require_tools()
    found, seen = board.check() if check else ([], [])
    for one in found:
        err.print(told(one), highlight=False)
    if check:
        err.print(told_of_m55(seen), highlight=False)
    turned = _turned(board) if check else []
    all_seen: list[Found | Seen | Turned] = [*found, *seen, *turned]
    if wrong := [one.target for one in all_seen if not one.passed]:
        raise PrivetError(
            f"on {' and '.join(wrong)} the C is not the simulation; nothing was written"
        )
    checks = board.audit() if audit else []
    for test in checks:
        err.print(f"{test.name}: {test.measured}; expected: {test.expected}", highlight=False)
    if failed := [test for test in checks if not test.passed]:
        raise PrivetError(f"{failed[0].name}: {failed[0].meaning}; nothing was written")
    write(board, out, found, checks, seen, turned)
    if not check:
        err.print("not verified on the target; do so with --check", highlight=False)
    print(out)


def answers_to_c(run: "Run", out: Path, chip: str, check: bool) -> None:
    """Write inference alone as C.

    Raises:
        PrivetError: it cannot be exported, or the emulated board answers otherwise.
    """
    from server.console import err
    from server.export.answering import write_answers
    from server.export.firmware import board_of, require_tools

    board = board_of(run, chip, answers=True)
    if check:
        require_tools()
    found = board.check_answers() if check else []
    for one in found:
        err.print(
            f"{one.target}: {one.answers} of {one.asked} test records answered alike, {one.own} as "
            f"the run itself answers; RAM {one.ram_bytes:,} bytes, flash {one.flash_bytes:,}",
            highlight=False,
        )
    turned = _turned(board) if check else []
    all_seen: list[Answered | Turned] = [*found, *turned]
    if wrong := [one.target for one in all_seen if not one.passed]:
        raise PrivetError(
            f"on {' and '.join(wrong)} the C is not the simulation; nothing was written"
        )
    write_answers(board, out, found, turned)
    if not check:
        err.print("not verified on the target; do so with --check", highlight=False)
    print(out)


def _turned(board: "Board") -> "list[Turned]":
    """What the front of a board has shown, told."""
    from server.console import err

    found = board.check_front()
    for one in found:
        low, high = one.cycles
        err.print(
            f"{one.target}: the front turns {one.equal} of {one.asked} test records to the bits of "
            f"its definition, within {one.far:.2g} of what the run read; a record: "
            f"{one.instructions:,} instructions, {low:,} to {high:,} cycles",
            highlight=False,
        )
    return found


def told_of_m55(seen: "list[Seen]") -> str:
    """What QEMU has shown of a core that is not counted; or what it would take."""
    if not seen:
        from clients.firmware.qemu import not_installed

        return f"m55: not verified on the target; needs {' and '.join(not_installed())}"
    (one,) = seen
    return f"{one.target}: {_bits(one)}; {one.answers} of {one.asked} test records answered alike"


def _bits(one: "Found | Seen") -> str:
    if one.differs_at:
        return f"other bits from step {one.differs_at} on"
    return f"{one.steps} private steps, the same bits"


def told(found: "Found") -> str:
    """What a check has shown, in a few lines."""
    total = sum(found.instructions.values())
    low, high = found.cycles
    return (
        f"{found.target}: {_bits(found)}; {found.answers} of {found.asked} test records answered "
        f"alike, {found.own} as the run itself answers; "
        f"{found.cuts} power cuts, no step number twice\n"
        f"    a step of {found.batch} records: {total:,} instructions, {low:,} to {high:,} cycles, "
        f"{found.privacy_share:.1%} for privacy; RAM {found.ram_bytes:,} bytes, flash "
        f"{found.flash_bytes:,}"
    )
