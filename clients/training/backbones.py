"""Weights of backbones as a device keeps them: in its cache, each under its SHA-256.

A run, and a job, tell a file's name and SHA-256 and no path, so that neither can point at a file of
this machine; what has that SHA-256 was put there by the user.
"""

from pathlib import Path

from clients.models.settings import Model
from clients.models.weights import digest, expect
from privacy.files import cache_folder, write_atomically


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


def recall(model: Model) -> bool:
    """Have a model's backbone read from the cache; is it there?"""
    kept = _place(model.weights_sha256)
    if not model.weights_sha256 or not kept.is_file():
        return False
    expect(model.weights_sha256, kept)
    return True


def _place(sha256: str) -> Path:
    return cache_folder() / "weights" / f"{sha256}.safetensors"
