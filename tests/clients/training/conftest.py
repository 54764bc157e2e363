"""Shared by the tests of training: a GPU that is made up."""

import pytest
from elsewhere import FAR, Elsewhere, pretend


@pytest.fixture
def elsewhere(monkeypatch):
    """`cuda` is another device, of this test's own: see `elsewhere`."""
    pretend(monkeypatch, FAR)
    with Elsewhere():
        yield
