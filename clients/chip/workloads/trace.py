"""A torch model as a network of loop nests: run once on one record, and every operation noted.

What is noted is what torch does, below modules and functions: `nn.Conv2d`, `F.conv2d`, `x @ w` and
`einsum` are seen alike, in whatever order and along whatever branches a model's `forward` calls
them, as often as it does. What an operation reads is known by the memory that tensors lie in, so
views cost nothing and are seen through. Recurrent layers are noted whole.

The model runs on meta tensors, which hold no values: it may be of any size. One that cannot (it
makes tensors on a device of its own, or reads values) runs on a record of zeros.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from clients.chip.workloads.record import Record
from clients.chip.workloads.watch import Watch
from clients.chip.workloads.workload import Layer, Network
from privacy.errors import ModelError

BRIEF = 200  # characters of an exception that an error repeats


def trace(model: nn.Module, shape: tuple[int, ...], name: str = "") -> Network:
    """The network that `model` computes on one record.

    Args:
        shape: of one record, without the batch.

    Raises:
        ModelError: there is no product in it, or its pass fails.
    """
    title = name or type(model).__name__
    try:
        record = _run(model, shape, "meta")
    except Exception:
        try:
            record = _run(model, shape, "cpu")
        except Exception as error:
            told = " ".join(str(error).split())[:BRIEF]
            raise ModelError(
                f"{title}: its pass on one record of {'x'.join(map(str, shape))} fails: "
                f"{type(error).__name__}: {told}"
            ) from error
    if not any(layer.nest for layer in record.layers):
        raise ModelError(f"{title}: no convolution, no dense layer and no other product in it")
    if words := record.unused():
        record.add(Layer("unused", "elementwise", 0, (), bias=words))
        record.notes[f"{words:,} trained words have no part in the output of a pass"] = None
    return Network(
        name or title.lower(), math.prod(shape), tuple(record.layers), tuple(record.notes)
    )


def _run(model: nn.Module, shape: tuple[int, ...], device: str) -> Record:
    made = [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    memo = {id(tensor): tensor.detach().clone() for tensor in made}  # which torch would not copy
    shadow = copy.deepcopy(model, memo).to(device).eval()
    x = torch.zeros(1, *shape, device=device)
    watch = Watch(shadow, x)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _unfused(), watch:
        shadow(x)
    return watch.record


@contextmanager
def _unfused() -> Iterator[None]:
    """Attention as its single products, where torch would call one kernel for all."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
