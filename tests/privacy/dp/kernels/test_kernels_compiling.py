"""What numba keeps of a kernel is made anew when another file of the room changes."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

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


def answer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """What a process would be told that imports the room anew."""
    for name in [name for name in sys.modules if name.split(".")[0] == "room"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)  # which forgets what was found there
    number: int = importlib.import_module("room.outer").outer()
    return number


def test_a_kernel_notices_a_change_of_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")  # wherever a user keeps others
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    shutil.copy(compiling.__file__, room)
    (room / "outer.py").write_text(OUTER)
    (room / "inner.py").write_text(INNER.format(1))
    assert answer(monkeypatch, tmp_path) == 1
    assert list(room.glob("__pycache__/outer.outer*.nbi"))  # kept beside it
    (room / "inner.py").write_text(INNER.format(22))
    assert answer(monkeypatch, tmp_path) == 22


def test_the_kernels_are_kept_under_their_content() -> None:
    name = walk.add_clipped.py_func.__qualname__
    assert name.endswith(compiling.content(Path(walk.__file__).parent))


PROCESS = """
import sys
from room.outer import outer
print(outer(), sum(outer.stats.cache_hits.values()))
print("numba.cpython.unicode" in sys.modules)
"""


def asked(folder: Path, **environment: str) -> list[str]:
    """What a process of its own says that asks the room's kernel."""
    (folder / "ask.py").write_text(PROCESS)
    path = f"{folder}:{Path(__file__).parents[4]}"
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": "", **environment}
    done = subprocess.run(
        [sys.executable, folder / "ask.py"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_another_processor_compiles_its_own(tmp_path: Path) -> None:
    """What was kept for one is not run by another, and is still there for the first."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    shutil.copy(compiling.__file__, room)
    (room / "outer.py").write_text(OUTER)
    (room / "inner.py").write_text(INNER.format(7))
    other = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "+sse4.2"}
    compiles, finds = ["7", "0", "True"], ["7", "1", "False"]
    assert asked(tmp_path) == compiles
    assert asked(tmp_path) == finds  # and numba was not readied to compile
    assert asked(tmp_path, **other) == compiles
    assert asked(tmp_path, **other) == finds
    assert asked(tmp_path) == finds
