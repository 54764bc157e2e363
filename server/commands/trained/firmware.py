"""`privet export --to c`: for a microcontroller, checked and audited in an emulator."""

from pathlib import Path
from typing import TYPE_CHECKING

from privacy.errors import PrivetError

if TYPE_CHECKING:
    from clients.firmware.check import Found
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
    found = board.check() if check else []
    for one in found:
        err.print(told(one), highlight=False)
    if wrong := [one.target for one in found if not one.passed]:
        raise PrivetError(
            f"on {' and '.join(wrong)} the C is not the simulation; nothing was written"
        )
    checks = board.audit() if audit else []
    for test in checks:
        err.print(f"{test.name}: {test.measured}; expected: {test.expected}", highlight=False)
    if failed := [test for test in checks if not test.passed]:
        raise PrivetError(f"{failed[0].name}: {failed[0].meaning}; nothing was written")
    write(board, out, found, checks)
    if not check:
        err.print("not verified on the target; do so with --check", highlight=False)
    print(out)


def told(found: "Found") -> str:
    """What a check has shown, in a few lines."""
    bits = f"{found.steps} private steps, the same bits"
    if found.differs_at:
        bits = f"other bits from step {found.differs_at} on"
    total = sum(found.instructions.values())
    low, high = found.cycles
    return (
        f"{found.target}: {bits}; {found.answers} of {found.asked} test records answered alike, "
        f"{found.own} as the run itself answers; "
        f"{found.cuts} power cuts, no step number twice\n"
        f"    a step of {found.batch} records: {total:,} instructions, {low:,} to {high:,} cycles, "
        f"{found.privacy_share:.1%} for privacy; RAM {found.ram_bytes:,} bytes, flash "
        f"{found.flash_bytes:,}"
    )
