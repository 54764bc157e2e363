"""Shared by the tests of training: a GPU that is made up."""

import pytest
import torch
from elsewhere import FAR, Elsewhere, pretend


@pytest.fixture
def elsewhere(monkeypatch):
    """`cuda` is another device, of this test's own: see `elsewhere`."""
    pretend(monkeypatch, FAR)
    with Elsewhere():
        yield


@pytest.fixture
def settings_back():
    """Those of torch that hold for a whole process."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    names = ("benchmark", "deterministic", "allow_tf32")
    before = {name: getattr(cudnn, name) for name in names}
    alike, tf32 = torch.are_deterministic_algorithms_enabled(), matmul.allow_tf32
    yield
    for name, value in before.items():
        setattr(cudnn, name, value)
    torch.use_deterministic_algorithms(alike)
    matmul.allow_tf32 = tf32
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.enable_mem_efficient_sdp(True)
