"""A GPU computes alike each time, or refuses in one line."""

import os

import pytest
import torch
from elsewhere import Far
from torch import nn

from clients.training import gpu
from privacy.errors import ModelError


@pytest.mark.usefixtures("settings_back")
@pytest.mark.parametrize("given", [None, ":0:0", ":16:8"])
def test_a_gpu_computes_alike_each_time(given, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if given:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    gpu.settle()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (given if given == ":16:8" else ":4096:8")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.benchmark


FAULTS = {
    "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but": (
        "torch's adaptive_avg_pool2d_backward_cuda sums in another order each time"
    ),
    "CUDA out of memory": "the GPU's memory is too small",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_gpu_cannot_do_is_one_line_and_the_weights_are_back(fault, elsewhere, monkeypatch):
    module, error = nn.Linear(2, 2), RuntimeError(fault)
    if "memory" in fault:
        error = torch.cuda.OutOfMemoryError(fault)

    def fail():
        with gpu.on("cuda", module):
            assert isinstance(module.weight.data, Far)
            raise error

    with pytest.raises(ModelError, match=r"^\[training\] device = 'cuda': ") as told:
        fail()
    assert FAULTS[fault] in str(told.value)
    assert "\n" not in str(told.value)
    assert not isinstance(module.weight.data, Far)
    error = RuntimeError("another")
    with pytest.raises(RuntimeError, match="another"):
        fail()


def test_passes_are_as_large_as_gradients_fit():
    for weights, records in ((100, gpu.MOST_AT_ONCE), (gpu.HELD // 8, 8), (4 * gpu.HELD, 1)):
        with torch.device("meta"):
            module = nn.Linear(weights, 1, bias=False)
        assert gpu.at_once(module) == records
