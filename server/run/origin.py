"""Where a run directory came from, and what of one from elsewhere is believed: no link, no path.

A run that this user's privet made has a mark in it: a keyed hash of its settings, whose key lies
beside the cached data sets and never leaves. A directory from elsewhere has none, or another's:
what it says of paths on this machine is not followed unless the user says so.
"""

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from numpy.typing import NDArray
from safetensors.numpy import load_file

from clients.data.settings import Data
from clients.models.settings import Model
from clients.models.sources import admit, expect, find, is_own
from clients.models.weights import recall
from privacy.errors import ModelError, RunError
from privacy.files import cache_folder, is_file, write_atomically
from privacy.foreign import (
    MOST_ARRAYS_BYTES,
    MOST_DOCUMENT_BYTES,
    MOST_TEXT_BYTES,
    first_link,
    open_foreign,
    read_foreign,
)
from privacy.settings import parse, read_toml
from server.experiment.experiment import Experiment
from server.experiment.loading import MODEL

NAME = "origin.txt"
EXTRACTED, WHOLE = "extracted.json", "whole.toml"  # of a net that was cut out, and of what
KEY_BYTES = 32


def refuse_links(folder: Path) -> None:
    """Refuse a directory with anything in it but folders and regular files.

    Raises:
        RunError: names the first other thing.
    """
    try:
        found = first_link(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror}") from None
    if found is not None:
        raise RunError(
            f"{found}: is no regular file, and privet makes no other in {folder.name}; "
            "take it out, or put a copy of what it points to in its place"
        )


def read_document(path: Path) -> str:
    """The text of a file of a run; raises OSError or UnicodeDecodeError."""
    return read_foreign(path, MOST_DOCUMENT_BYTES, follow=False).decode()


def read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of a file of a run; raises OSError, or what safetensors and numpy do."""
    with opened(path):  # it is what it should be; a swap since would be that of a live writer
        return load_file(path)


def opened(path: Path) -> BinaryIO:
    """A file of a run, held open for a reader that wants its path; raises OSError."""
    return open_foreign(path, MOST_ARRAYS_BYTES, follow=False)


def mark(settings: bytes) -> bytes:
    """What says that a run of these settings was made here; empty if no key can be kept."""
    key = _key()
    return hmac.digest(key, settings, "sha256").hex().encode() if key else b""


def require_trust(run: Path, data: Data, trusted: bool) -> None:
    """Refuse to read the user's files because a run directory from elsewhere names them.

    Args:
        data: of the run's settings.
        trusted: the user said so.

    Raises:
        RunError: it names a folder, and was not made here.
    """
    if data.path and not trusted and not _is_ours(run):
        raise RunError(
            f"{run}: was not made here, and wants the data in {data.path!r} ([data] path in its "
            "experiment.toml); if it should read them, say --trust"
        )


def trained_as(run: Path, experiment: Experiment) -> Experiment:
    """The experiment that trained a run's weights: of a net that was cut out, the whole net's."""
    path = run / WHOLE
    return parse(Experiment, read_toml(path), str(path)) if is_file(path) else experiment


def keep_model(run: Path, model: Model) -> None:
    """Keep the file of the user's own model in a run, if it has one."""
    if is_own(model.name):
        with write_atomically(run / MODEL) as file:
            file.write(find(model.name, model.sha256).content)


def expect_model(run: Path, model: Model) -> None:
    """Have the model of a run that was made here built from the file in it, and a backbone read
    from the cache."""
    recall(model.weights_sha256)
    if is_own(model.name) and _is_ours(run):
        expect(model.sha256, run / MODEL)


def admit_model(run: Path, model: Model, trusted: bool) -> None:
    """Let the file of a run's own model be run, if this is what the run began with.

    Args:
        trusted: the user said so: a run directory from elsewhere brings code of another's.

    Raises:
        RunError: the run was not made here, or its file is not there, or another.
    """
    if not is_own(model.name):
        return
    if not trusted and not _is_ours(run):
        raise RunError(
            f"{run}: was not made here, and its {MODEL} is code, which would be run; read it, and "
            "if it may, say --trust"
        )
    try:
        admit(run / MODEL, sha256=model.sha256, follow=False)
    except OSError as error:
        raise RunError(
            f"{run / MODEL}: cannot be read: {error.strerror}; the run needs the file that it "
            f"began with, of SHA-256 {model.sha256[:12]}..."
        ) from None
    except ModelError as error:
        raise RunError(str(error)) from None


def _is_ours(run: Path) -> bool:
    try:
        told = read_foreign(run / NAME, MOST_TEXT_BYTES, follow=False)
        settings = read_foreign(run / "experiment.toml", MOST_TEXT_BYTES, follow=False)
    except OSError:
        return False
    return bool(told) and hmac.compare_digest(told, mark(settings))


def _key() -> bytes:
    path = cache_folder() / "origin.key"
    with suppress(OSError):
        return read_foreign(path, KEY_BYTES)
    with suppress(OSError, RunError):
        with write_atomically(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secrets.token_bytes(KEY_BYTES))
        return read_foreign(path, KEY_BYTES)
    return b""
