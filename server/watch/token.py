"""The word that opens the page: the same for a folder however often it is watched."""

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from privacy.errors import RunError
from privacy.files import cache_folder, write_atomically
from privacy.foreign import read_foreign

NAME = "watch.key"
KEY_BYTES = 32
TOKEN_BYTES = 24


def token_of(folder: Path) -> tuple[str, bool]:
    """The token of a folder of runs, and whether the next watcher of it will have the same.

    A keyed hash of the folder's path; the key lies beside the cached data sets, for this user
    alone, and never leaves.
    """
    key = _key()
    where = os.fsencode(folder.resolve())
    digest = hmac.digest(key or secrets.token_bytes(KEY_BYTES), where, "sha256")
    return digest[:TOKEN_BYTES].hex(), bool(key)


def is_token(said: str, token: str) -> bool:
    """In the same time for any word that is said."""
    return hmac.compare_digest(said.encode(errors="replace"), token.encode())


def _key() -> bytes:
    path = cache_folder() / NAME
    with suppress(OSError):
        if len(key := read_foreign(path, KEY_BYTES)) == KEY_BYTES:
            return key
    with suppress(OSError, RunError):
        with write_atomically(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secrets.token_bytes(KEY_BYTES))
        return read_foreign(path, KEY_BYTES)
    return b""
