"""Shared by the tests of the report: runs to tell of, and its command line."""

import shutil
import sys

import pytest
from reported import make_runs

from server import cli


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return make_runs(tmp_path_factory.getbasetemp(), monkeypatch)


UPDATES = shutil.ignore_patterns("[0-9][0-9][0-9]", ".shadows")  # large, and not reported


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the runs, to alter."""
    shutil.copytree(made, tmp_path / "runs", ignore=UPDATES)
    return tmp_path / "runs"


@pytest.fixture
def privet(folder, monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setenv("PRIVET_RUNS", str(folder))
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        out, err = capfd.readouterr()
        return int(leave.value.code or 0), out, err

    return call
