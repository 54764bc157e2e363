"""The house rules that a machine can check."""

import graphlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from watched import begin, grow

ROOT = Path(__file__).parent.parent
ROOMS = ("privacy", "clients", "server", "attacks")


def sources():
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_nothing_is_unpickled():
    """No pickle, no torch.load, no numpy pickles: foreign bytes never become code."""
    forbidden = re.compile(r"\b(pickle|torch\.load|allow_pickle=True|joblib|dill|marshal)\b")
    assert not [(p, m.group()) for p in sources() for m in forbidden.finditer(p.read_text())]


def test_files_stay_small_and_well_named():
    for path in (*sources(), *(ROOT / "tests").rglob("*.py")):
        assert len(path.read_text().splitlines()) <= 330, path
        assert path.stem not in {"utils", "common", "helpers", "manager", "base", "misc"}, path


DOORS = sorted(path.parent for path in sources() if path.name == "__init__.py")


@pytest.mark.parametrize("room", DOORS, ids=lambda room: str(room.relative_to(ROOT)))
def test_each_door_tells_what_is_in_its_room(room):
    """The map in a room's docstring against the tree, and the room's size."""
    files = {path.stem for path in room.glob("*.py") if not path.stem.startswith("__")}
    rooms = {f"{path.parent.name}/" for path in room.glob("*/__init__.py")}
    told = re.findall(r"^([a-z_]+/?) {2,}\S", (room / "__init__.py").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(files | rooms)
    assert len(files) + 1 <= 14


def test_the_house_in_the_readme_is_the_tree():
    """Every room by its path, and no path that is not there, in any room's page."""
    table = (ROOT / "README.md").read_text().partition("## The house")[2]
    named = {ROOT / path for path in re.findall(r"`([a-z_/]+)/`", table)}
    assert named == {*DOORS, ROOT / "compose", ROOT / "tests"}
    for page in ROOT.glob("*/README.md"):
        for path in re.findall(
            r"`((?:privacy|clients|attacks|server|tests)/[\w./]+)", page.read_text()
        ):
            there = (ROOT / path, page.parent / path)  # a page may speak from where it stands
            assert any(map(Path.exists, there)), f"{page}: {path}"


def test_tests_stand_in_the_rooms_that_they_test():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - {ROOT / "tests"}
    assert not [f for f in folders if not (ROOT / f.relative_to(ROOT / "tests")).is_dir()]


def test_no_file_imports_itself_by_a_detour():
    """Deferred imports and those for types are imports too."""
    graph = grimp.build_graph(*ROOMS)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # CycleError names the circle


def test_no_registry_host_is_committed():
    """Versions only: where packages come from is the user's affair."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    hosts = re.compile("pypi" + r"\.org|files\.python" + r"hosted|registry\.npm" + "js")
    texts = ((name, (ROOT / name).read_text(errors="ignore")) for name in tracked)
    assert not [name for name, text in texts if hosts.search(text)]


def test_every_package_is_installed_with_the_project():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in sources() if p.name == "__init__.py"
    }
    assert listed == found


HEAVY = ("torch", "flwr", "ray", "sklearn", "scipy", "plotly", "numba", "opacus", "pandas")
LOADED = f"""
import sys
from server.cli import main
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def loaded_by(*command, **environment):
    asked = [sys.executable, "-c", LOADED, *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    return done.stderr.splitlines()[-1]


def test_looking_loads_nothing_heavy(tmp_path):
    """`privet list` answers at once; so does `show`, of what the accountant told before."""
    grow(begin(tmp_path / "runs", "one"), 2)
    here = {"PRIVET_DATA": str(tmp_path), "PRIVET_RUNS": str(tmp_path / "runs")}
    assert loaded_by("--help", **here) == "[]"
    assert loaded_by("list", **here) == "[]"
    assert "opacus" in loaded_by("show", "one", **here)
    assert loaded_by("show", "one", **here) == "[]"


def test_a_plan_of_what_is_known_loads_nothing_heavy(tmp_path):
    """A net is built, and noise solved for, once on a machine; other numbers need neither."""
    here = {"PRIVET_DATA": str(tmp_path)}
    free = ["-s", "budget.unit=none"]
    assert "torch" in loaded_by("plan", "tiny", **here)
    assert loaded_by("plan", "tiny", **here) == "[]"
    assert loaded_by("plan", "tiny", "-s", "seed=2", "-s", "data.partition=shards", **here) == "[]"
    assert "torch" in loaded_by("plan", "tiny", *free, **here)
    assert loaded_by("plan", "tiny", *free, "-s", "federation.rounds=7", **here) == "[]"
    assert "torch" in loaded_by("plan", "tiny", "-s", "model.hidden=[9]", **here)
