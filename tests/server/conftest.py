"""Shared by the tests of the server: its command line."""

import sys

import pytest

from server import cli


@pytest.fixture
def privet(runs, monkeypatch, capfd):
    """Call the command line in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        out, err = capfd.readouterr()
        return int(leave.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def browser():
    """The browser that pages are tested in."""
    from browsed import launched

    with launched() as opened:
        yield opened
