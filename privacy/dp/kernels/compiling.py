"""How a kernel is compiled: by numba, on first use, and the result is kept.

numba makes what it keeps anew when the kernel's own file changes, but not when another does whose
kernels it calls. So it is kept under a name that tells what stands in all files of this room.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy import compiling as kept


def content(room: Path) -> str:
    """A checksum of all kernels' source."""
    return f"{zlib.crc32(b''.join(p.read_bytes() for p in sorted(room.glob('*.py')))):08x}"


_CONTENT = content(Path(__file__).parent)


def compiled(kernel: Callable[..., Any]) -> Any:
    """A kernel that holds no GIL."""
    return kept.compiled(_named(kernel))


def summing(kernel: Callable[..., Any]) -> Any:
    """A kernel whose sums may be taken in any order."""
    return kept.compiling(fastmath={"reassoc", "contract"})(_named(kernel))


def _named(kernel: Callable[..., Any]) -> Callable[..., Any]:
    kernel.__qualname__ += f"_{_CONTENT}"  # numba names its files by it
    return kernel
