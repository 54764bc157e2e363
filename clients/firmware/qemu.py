"""A Cortex-M55, in QEMU where that is installed: the bits of each step, and answers.

QEMU's board mps3-an547 executes what unicorn does not. Nothing is counted. Floats are kept from
Helium, which flushes small numbers to zero (Arm v8-M Architecture Reference Manual, FPSCR.FZ).
"""

import shutil
import struct
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.firmware.check import Truth
from clients.firmware.compiling import compile_with_gcc
from clients.firmware.contract import Contract
from clients.firmware.emulator import KEY
from privacy.errors import PrivetError

EMULATOR, COMPILER = "qemu-system-arm", "arm-none-eabi-gcc"
TARGET, MACHINE, CORE = "m55", "mps3-an547", ("-mcpu=cortex-m55+nomve.fp", "-mfloat-abi=hard")
LONGEST_S = 600
PORT, LAYOUT = "port_qemu.c", "qemu.ld"


@dataclass(frozen=True)
class Seen:
    """What a core did.

    Attributes:
        steps: with the same bits; `differs_at`: the first without, 0 if there is none.
        answers: of `asked` records, as the simulation's.
    """

    target: str
    steps: int
    differs_at: int
    asked: int
    answers: int

    @property
    def passed(self) -> bool:
        """Did all agree?"""
        return not self.differs_at and self.answers == self.asked

    def as_dict(self) -> dict[str, Any]:
        """For budget.json."""
        return {**asdict(self), "passed": self.passed}


def not_installed() -> list[str]:
    """Programs that are not on this machine."""
    return [name for name in (EMULATOR, COMPILER) if shutil.which(name) is None]


def see(
    sources: dict[str, str], contract: Contract, truth: Truth, asked: NDArray[np.int16]
) -> Seen:
    """Compile for the core, run all steps, and compare with the simulation.

    Raises:
        PrivetError: the compiler refuses, or the program stops.
    """
    inputs, labels = truth.records
    with TemporaryDirectory(prefix="privet-qemu-") as scratch:
        folder = Path(scratch)
        for name, text in sources.items():
            (folder / name).write_text(text)
        program = compile_with_gcc(folder, (COMPILER, *CORE, "-mthumb"), PORT, LAYOUT)
        steps, num = len(truth.raw), len(asked)
        (folder / "plan.bin").write_bytes(struct.pack("<3I", steps, len(labels), num))
        (folder / "key.bin").write_bytes(KEY.astype("<u4").tobytes())
        (folder / "asked.bin").write_bytes(asked.astype("<i2").tobytes())
        rows = (x.astype("<i2").tobytes() + bytes([y]) for x, y in zip(inputs, labels, strict=True))
        (folder / "records.bin").write_bytes(b"".join(rows))
        _run(program, folder)
        said = np.frombuffer((folder / "seen.bin").read_bytes(), "<u4")
    if len(said) != num + steps * contract.num_weights:
        raise PrivetError(f"{TARGET} in QEMU: ended before its last step")
    weights = said[num:].reshape(steps, -1)
    same = [bool(np.array_equal(*pair)) for pair in zip(weights, truth.raw, strict=True)]
    right = int((said[:num] == truth.answers).sum())
    differs = same.index(False) + 1 if False in same else 0
    return Seen(TARGET, differs - 1 if differs else steps, differs, num, right)


def _run(program: Path, folder: Path) -> None:
    command = [EMULATOR, "-M", MACHINE, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrivetError(f"{TARGET} in QEMU: {error}") from None
    if done.returncode:
        raise PrivetError(f"{TARGET} in QEMU: status {done.returncode}, see ledger.h")
