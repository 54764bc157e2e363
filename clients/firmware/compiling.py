"""From C to a program for the emulator, with the compiler that a Python package brings."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from clients.firmware.contract import FLAGS
from clients.firmware.net import Words
from clients.firmware.sources import ANSWERING, COMPILED, FRONT, SERIAL, C
from privacy.errors import ModelError, PrivetError, SettingsError

TARGETS = {"m4": "cortex_m4+vfp4d16sp", "m7": "cortex_m7+fp_armv8d16"}
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-std=c99")
NEEDED = ("ziglang", "unicorn")
LONGEST_S = 120
# CMSIS-NN, where a user has it. Its public layers give bytes, by a multiplier that is fixed before:
# other numbers than privet's, whose words are scaled by each record. Its product of matrices gives
# whole sums, and these are ours.
CMSIS_NN, HEADERS = "cmsis-nn", "Include"
SOURCE = "Source/NNSupportFunctions/arm_nn_mat_mult_nt_t_s8_s32.c"
FIELD_BITS = 8  # of words that it multiplies
PORT, MEMORY, STRING = "port_emulated.c", "freestanding.c", "libc"


def missing() -> list[str]:
    """Packages of the extra `firmware` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def library_of(asked: str) -> Path | None:
    """The folder of `cmsis-nn=DIR`; None of `own`, or of nothing.

    Raises:
        SettingsError: neither, or there is no such library.
    """
    if asked in ("", "own"):
        return None
    name, _, folder = asked.partition("=")
    if name != CMSIS_NN or not folder:
        raise SettingsError(
            f"--kernels {asked}: say own, or {CMSIS_NN}=DIR, where the library lies"
        )
    found = Path(folder).expanduser()
    if lacking := [
        one
        for one in (f"{HEADERS}/arm_nnsupportfunctions.h", SOURCE)
        if not (found / one).is_file()
    ]:
        raise SettingsError(
            f"--kernels {asked}: has no {lacking[0]}; give the folder of CMSIS-NN, of 2024 or later"
        )
    return found


def require_library(has_plan: bool, numbers: Words | None) -> None:
    """Refuse a net of which the library would compute nothing.

    Raises:
        ModelError: names what it computes.
    """
    if numbers is None or numbers.field_bits != FIELD_BITS:
        raise ModelError(
            f"--kernels {CMSIS_NN}: multiplies words of 5 to 8 bits; train with [arithmetic] "
            "name = 'fixed', or leave it out"
        )
    if not has_plan:
        raise ModelError(
            f"--kernels {CMSIS_NN}: computes convolutions, and a perceptron has none; leave it out"
        )


def build(
    folder: Path,
    target: str,
    flags: tuple[str, ...] = FLAGS,
    *,
    serial: bool = False,
    answers: bool = False,
    library: Path | None = None,
) -> Path:
    """Compile exported sources, and link them with the emulator's port.

    Args:
        folder: of the sources; objects are left in it, so it is a scratch folder.
        target: a key of TARGETS.
        serial: with what a board needs that is a client. answers: of one that learns nothing.
        library: of kernels, compiled with it.

    Raises:
        PrivetError: the compiler or linker refuses; in its words.
    """
    zig = [sys.executable, "-m", "ziglang"]
    objects, theirs = [], () if library is None else (str(library / SOURCE),)
    for name in (
        *(ANSWERING if answers else COMPILED),
        *([SERIAL] if serial else []),
        *([FRONT] if (folder / FRONT).exists() else []),
        *_placed(folder, PORT),
        *theirs,
    ):
        objects.append(folder / f"{Path(name).stem}-{target}.o")
        warnings = () if name in (PORT, MEMORY, *theirs) else WARNINGS
        kind = ("-fno-builtin",) if name == MEMORY else ()
        _run(
            [*zig, "cc", "--target=thumb-freestanding-eabihf", f"-mcpu={TARGETS[target]}", *flags,
             *warnings, *kind, *_found_in(library, folder), "-g0", "-fno-sanitize=undefined",
             "-fno-unwind-tables", "-c",
             str(folder / name), "-o", str(objects[-1])]
        )  # fmt: skip
    program = folder / f"privet-{target}.elf"
    _run([*zig, "ld.lld", "-T", str(C / "emulated.ld"), *map(str, objects), "-o", str(program)])
    return program


def _found_in(library: Path | None, folder: Path) -> tuple[str, ...]:
    """A library's headers, and the one of a C library that they include."""
    if library is None:
        return ()
    return ("-isystem", str(library / HEADERS), "-isystem", str(folder / STRING))


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
    (folder / STRING).mkdir(exist_ok=True)
    (folder / STRING / "string.h").write_text((C / "string_freestanding.h").read_text())
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
