"""A second device where there is none: tensors that are elsewhere, and say so.

A `Far` tensor holds its numbers in this machine's memory, claims to be on another device, and meets
no tensor that is here, but a single number, as on a GPU. So what only runs on a GPU is tried on any
machine: where a constant is made on the wrong side, or a result is read without being brought back,
an operation fails as it would there, and the numbers are those of the processor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from clients.training import gpu

FAR = torch.device("meta")  # whose own kernels, which have no numbers, are never reached
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Far(Tensor):
    """A tensor of another device, by what it holds here."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Far":
        made: Far = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=FAR,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While open, `FAR` is a device with numbers on it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    some_far = any(isinstance(t, Far) for t in tensors)
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if some_far and func not in MOVES:
        here = [list(t.shape) for t in tensors if not isinstance(t, Far) and t.dim()]
        if here:
            raise RuntimeError(f"{func}: all tensors must be on one device, and {here} are here")
    kwargs = kwargs if asked is None else {**kwargs, "device": torch.device("cpu")}
    out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if func._schema.name.endswith("_") and args and isinstance(args[0], Tensor):
        return args[0]  # changed in place
    goes_far = some_far if asked is None else asked == FAR
    return tree_map(_far, out) if goes_far else out


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Far) else value


def _far(value: Any) -> Any:
    return Far(value) if isinstance(value, Tensor) and not isinstance(value, Far) else value


def pretend(monkeypatch: Any, device: torch.device) -> None:
    """Have steps for a GPU computed on a device that is here; with `FAR`, inside `Elsewhere`."""
    monkeypatch.setattr(gpu, "lacking", lambda: "")
    monkeypatch.setattr(gpu, "described", lambda: {"gpu": "made up", "cuda": "0"})
    monkeypatch.setattr(gpu, "settle", lambda: None)
    monkeypatch.setitem(gpu.DEVICES, "cuda", device)
