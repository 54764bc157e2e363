"""What numba keeps of a kernel is made anew when another file of the room changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from privacy.dp.kernels import compiling, walk

OUTER = """
from room.compiling import compiled
from room.inner import number

@compiled
def outer():
    return number()
"""
INNER = """
from room.compiling import compiled

@compiled
def number():
    return {}
"""


def answer(folder: Path) -> str:
    code = "from room.outer import outer; print(outer())"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_kernel_notices_a_change_of_another_file(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    shutil.copy(compiling.__file__, room)
    (room / "outer.py").write_text(OUTER)
    (room / "inner.py").write_text(INNER.format(1))
    assert answer(tmp_path) == "1"
    (room / "inner.py").write_text(INNER.format(22))
    assert answer(tmp_path) == "22"


def test_the_kernels_are_kept_under_their_content() -> None:
    name = walk.add_clipped.py_func.__qualname__
    assert name.endswith(compiling.content(Path(walk.__file__).parent))
