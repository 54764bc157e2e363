"""From C to a program for the emulator, with the compiler that a Python package brings."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from clients.firmware.contract import FLAGS
from clients.firmware.sources import COMPILED, C
from privacy.errors import PrivetError

TARGETS = {"m4": "cortex_m4+vfp4d16sp", "m7": "cortex_m7+fp_armv8d16"}
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-std=c99")
NEEDED = ("ziglang", "unicorn")
LONGEST_S = 120
PORT = "port_emulated.c"


def missing() -> list[str]:
    """Packages of the extra `firmware` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def build(folder: Path, target: str, flags: tuple[str, ...] = FLAGS) -> Path:
    """Compile exported sources, and link them with the emulator's port.

    Args:
        folder: of the sources; objects are left in it, so it is a scratch folder.
        target: a key of TARGETS.

    Raises:
        PrivetError: the compiler or linker refuses; in its words.
    """
    zig = [sys.executable, "-m", "ziglang"]
    (folder / PORT).write_text((C / PORT).read_text())
    objects = []
    for name in (*COMPILED, PORT):
        objects.append(folder / f"{Path(name).stem}-{target}.o")
        warnings = () if name == PORT else WARNINGS
        kind = ("-fno-builtin",) if name == PORT else ()
        _run(
            [*zig, "cc", "--target=thumb-freestanding-eabihf", f"-mcpu={TARGETS[target]}", *flags,
             *warnings, *kind, "-g0", "-fno-sanitize=undefined", "-fno-unwind-tables", "-c",
             str(folder / name), "-o", str(objects[-1])]
        )  # fmt: skip
    program = folder / f"privet-{target}.elf"
    _run([*zig, "ld.lld", "-T", str(C / "emulated.ld"), *map(str, objects), "-o", str(program)])
    return program


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrivetError(f"the compiler: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        told = next((line for line in said if "error" in line), said[0])
        raise PrivetError(f"the compiler: {told}")
