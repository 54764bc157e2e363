"""From C to a program for the emulator, with the compiler that a Python package brings."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from clients.firmware.contract import FLAGS
from clients.firmware.sources import ANSWERING, COMPILED, FRONT, SERIAL, C
from privacy.errors import PrivetError

TARGETS = {"m4": "cortex_m4+vfp4d16sp", "m7": "cortex_m7+fp_armv8d16"}
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-std=c99")
NEEDED = ("ziglang", "unicorn")
LONGEST_S = 120
PORT, MEMORY = "port_emulated.c", "freestanding.c"


def missing() -> list[str]:
    """Packages of the extra `firmware` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def build(
    folder: Path,
    target: str,
    flags: tuple[str, ...] = FLAGS,
    *,
    serial: bool = False,
    answers: bool = False,
) -> Path:
    """Compile exported sources, and link them with the emulator's port.

    Args:
        folder: of the sources; objects are left in it, so it is a scratch folder.
        target: a key of TARGETS.
        serial: with what a board needs that is a client. answers: of one that learns nothing.

    Raises:
        PrivetError: the compiler or linker refuses; in its words.
    """
    zig = [sys.executable, "-m", "ziglang"]
    objects = []
    for name in (
        *(ANSWERING if answers else COMPILED),
        *([SERIAL] if serial else []),
        *([FRONT] if (folder / FRONT).exists() else []),
        *_placed(folder, PORT),
    ):
        objects.append(folder / f"{Path(name).stem}-{target}.o")
        warnings = () if name in (PORT, MEMORY) else WARNINGS
        kind = ("-fno-builtin",) if name == MEMORY else ()
        _run(
            [*zig, "cc", "--target=thumb-freestanding-eabihf", f"-mcpu={TARGETS[target]}", *flags,
             *warnings, *kind, "-g0", "-fno-sanitize=undefined", "-fno-unwind-tables", "-c",
             str(folder / name), "-o", str(objects[-1])]
        )  # fmt: skip
    program = folder / f"privet-{target}.elf"
    _run([*zig, "ld.lld", "-T", str(C / "emulated.ld"), *map(str, objects), "-o", str(program)])
    return program


def compile_with_gcc(folder: Path, compiler: tuple[str, ...], port: str, layout: str) -> Path:
    """As `build`, with a GCC that is installed.

    Args:
        compiler: and its core. `port`, `layout`: of c/.

    Raises:
        PrivetError: the compiler or linker refuses; in its words.
    """
    program = folder / "privet.elf"
    front = (FRONT,) if (folder / FRONT).exists() else ()
    names = (*COMPILED, *front, *_placed(folder, port))
    alone = ("-nostdlib", "-fno-builtin", "-T", str(C / layout))
    files = [str(folder / name) for name in names]
    _run([*compiler, *FLAGS, "-std=c99", *alone, *files, "-lgcc", "-o", str(program)])
    return program


def _placed(folder: Path, port: str) -> tuple[str, ...]:
    """What an emulated program has beside an export's sources, put among them."""
    for name in (port, MEMORY, "port.h"):
        (folder / name).write_text((C / name).read_text())
    return port, MEMORY


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrivetError(f"the compiler: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        told = next((line for line in said if "error" in line), said[0])
        raise PrivetError(f"the compiler: {told}")
