"""What is kept of a kernel: made anew when another file of the room changes, or for another
processor; made once, by whichever process comes first; and done without where nothing can be kept.
"""

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
import numpy as np
from room.compiling import compiled

@compiled
def number():
    return int(np.full(1, {}).sum())  # functions of numba's own, each of some module
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
    assert list(room.glob("__pycache__/outer.outer*.nbc"))  # kept beside it
    (room / "inner.py").write_text(INNER.format(22))
    assert answer(monkeypatch, tmp_path) == 22


def test_the_kernels_are_kept_under_their_content() -> None:
    name = walk.add_clipped.py_func.__qualname__
    assert name.endswith(compiling.content(Path(walk.__file__).parent))


PROCESS = """
import os, sys, llvmlite.binding
if does := os.environ.get("DOES"):
    llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap(**{does: True})
from room.outer import outer
print(outer(), sum(outer.stats.cache_hits.values()))
print("numba.np.arrayobj" in sys.modules)
"""
COMPILES, FINDS = ["7", "0", "True"], ["7", "1", "False"]  # and numba was not readied to compile
GENERIC = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "+sse4.2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a room in it."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    shutil.copy(compiling.__file__, room)
    (room / "outer.py").write_text(OUTER)
    (room / "inner.py").write_text(INNER.format(7))
    (tmp_path / "ask.py").write_text(PROCESS)
    return tmp_path


def ask(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Begin a process that asks the room's kernel."""
    path = f"{folder}:{Path(__file__).parents[4]}"
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": "", **environment}
    return subprocess.Popen(
        [sys.executable, folder / "ask.py"],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def asked(folder: Path, **environment: str) -> list[str]:
    """What such a process says."""
    told, faults = ask(folder, **environment).communicate()
    assert not faults
    return told.split()


def test_another_processor_compiles_its_own(folder: Path) -> None:
    """What was kept for one is not run by another, and is still there for the first."""
    assert asked(folder) == COMPILES
    assert asked(folder) == FINDS
    assert asked(folder, **GENERIC) == COMPILES
    assert asked(folder) == FINDS
    # Compiled for any processor, but written by what this one can do: as `tiles` is.
    assert asked(folder, **GENERIC, DOES="avx2") == COMPILES
    assert asked(folder, **GENERIC) == FINDS


def test_processes_that_begin_at_once_compile_once(folder: Path) -> None:
    both = [ask(folder) for _ in range(2)]
    assert sorted(process.communicate()[0].split()[1] for process in both) == ["0", "1"]
    for file in (folder / "room" / "__pycache__").glob("*.nbc"):
        file.write_bytes(file.read_bytes()[:100])
    assert asked(folder) == COMPILES  # what is not whole is nothing


def test_where_nothing_can_be_kept_it_is_told(folder: Path) -> None:
    (folder / "room" / "__pycache__").touch()  # no folder
    process = ask(folder, XDG_CACHE_HOME="/dev/null/none", PYTHONDONTWRITEBYTECODE="1")
    told, faults = process.communicate()
    assert told.split() == COMPILES
    assert "set NUMBA_CACHE_DIR" in faults
    assert len(faults.splitlines()) == 1
