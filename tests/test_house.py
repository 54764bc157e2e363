"""The house rules that a machine can check."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("privacy", "clients", "server", "attacks")


def sources():
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_nothing_is_unpickled():
    """No pickle, no torch.load, no numpy pickles: foreign bytes never become code."""
    forbidden = re.compile(r"\b(pickle|torch\.load|allow_pickle=True|joblib|dill|marshal)\b")
    assert not [(p, m.group()) for p in sources() for m in forbidden.finditer(p.read_text())]


LONGER = {"kernels.py": 460}  # numba notices a change of one file only: it says more on top


def test_files_stay_small_and_well_named():
    for path in sources():
        assert len(path.read_text().splitlines()) <= LONGER.get(path.name, 340), path
        assert path.stem not in {"utils", "common", "helpers", "manager", "base", "misc"}, path


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


def test_the_server_starts_without_loading_what_it_does_not_need():
    """`privet list` answers fast: torch is not imported to print a table of nothing."""
    code = "import sys, server.cli; print([m for m in ('torch', 'flwr') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
