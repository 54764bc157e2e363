"""Files of public weights, known by their SHA-256: safetensors, which hold numbers and no code.

As with model files (`clients.models.sources`), settings and messages name a file and its SHA-256;
what is read is what the user put here under it: the cache keeps a copy, so that neither a run nor a
job can point at a file of this machine.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from privacy.errors import ModelError
from privacy.files import cache_folder, write_atomically
from privacy.foreign import MOST_ARRAYS_BYTES, read_foreign

if TYPE_CHECKING:
    from torch import Tensor

CODE = (".pth", ".pt", ".ckpt", ".bin")

_PLACES: dict[str, Path] = {}


def digest(path: Path) -> tuple[str, bytes]:
    """SHA-256 and content of a file of weights.

    Raises:
        ModelError: it cannot be read, or loading such files runs what is in them.
    """
    if path.suffix in CODE:
        told, made = path.name, path.with_suffix(".safetensors").name
        raise ModelError(
            f"{path}: to load a {path.suffix} file is to run code that may be in it, so privet "
            'does not; if you trust it, convert it once: python -c "from torch import load; from '
            "safetensors.torch import save_file; save_file({k: v.contiguous() for k, v in "
            f"load('{told}', map_location='cpu', weights_only=True).items()}}, '{made}')\""
        )
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: is no .safetensors file; convert the weights to one")
    try:
        content = read_foreign(path, MOST_ARRAYS_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return hashlib.sha256(content).hexdigest(), content


def expect(sha256: str, path: Path) -> None:
    """Say where a file of that SHA-256 is, if it is there."""
    _PLACES.setdefault(sha256, path)


def keep(path: Path) -> str:
    """Copy a file of weights into the cache; returns its SHA-256.

    Raises:
        ModelError: it is no safetensors file, or cannot be read.
        RunError: the cache cannot be written to.
    """
    sha256, content = digest(path)
    kept = _place(sha256)
    if not kept.is_file():
        with write_atomically(kept) as file:
            file.write(content)
    expect(sha256, kept)
    return sha256


def recall(sha256: str) -> bool:
    """Have the weights of that SHA-256 read from the cache; are they there?"""
    if not sha256 or not (kept := _place(sha256)).is_file():
        return False
    expect(sha256, kept)
    return True


def _place(sha256: str) -> Path:
    return cache_folder() / "weights" / f"{sha256}.safetensors"


def find(name: str, sha256: str) -> "dict[str, Tensor]":
    """The tensors of an admitted file, by name.

    Raises:
        ModelError: there is none of that SHA-256, or it holds what is no weight.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = _PLACES.get(sha256)
    if path is None or not path.is_file():
        told = f"{sha256[:12]}..." if sha256 else "none"
        raise ModelError(
            f"[model] weights = {name!r}: no file of SHA-256 {told} is here; name it once more "
            "with -s model.weights=FILE, or of a node with --weights FILE"
        )
    found, content = digest(path)
    if found != sha256:
        raise ModelError(
            f"{path}: has SHA-256 {found[:12]}..., and {sha256[:12]}... is meant; bring that file "
            "back"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: is no whole safetensors file: {error}") from None
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {key}: has a number that is not finite")
    return tensors
