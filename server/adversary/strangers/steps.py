"""A training step of the user's own file, for the auditor: FILE:FUNCTION, and its claims."""

import importlib.util
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from attacks.audit.steps import Claims
from attacks.audit.steps.claims import Make
from privacy.errors import SettingsError
from privacy.files import write_atomically
from privacy.settings import suggest

DRAFT = "my_step.txt"
REMEDY = "give FILE:FUNCTION, as in my_step.py:make"


def draft_step(path: Path) -> None:
    """Write a step that works, Opacus's, for the user to put theirs in its place.

    Raises:
        SettingsError: something is there already, or it is not to be a Python file.
    """
    if path.suffix != ".py":
        raise SettingsError(f"{path}: must end in .py")
    if path.exists():
        raise SettingsError(f"{path}: is there already; choose another name, or take it away")
    with write_atomically(path) as file:
        file.write((Path(__file__).parent / DRAFT).read_bytes())


def load_step(named: str) -> tuple[Make, Claims]:
    """The function, and what its file claims of it.

    The file is run: it is the user's own. Its `claims` are a dictionary, or `Claims`.

    Raises:
        SettingsError: there is no such file or function, or its claims are none.
    """
    path, _, name = named.rpartition(":")
    if not path or not name:
        raise SettingsError(f"{named}: {REMEDY}")
    module = _run(Path(path))
    make = getattr(module, name, None)
    if not callable(make):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise SettingsError(f"{path}: has no function {name}{suggest(name, known)}")
    return make, _claims(getattr(module, "claims", None), path)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SettingsError(f"{path}: is no Python file; {REMEDY}; privet audit draft writes one")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)  # as if Python ran it: it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise SettingsError(f"{path}: cannot be run: {type(error).__name__}: {said}") from error
    finally:
        sys.path.remove(folder)
    return module


def _claims(told: Any, path: str) -> Claims:
    if isinstance(told, Claims):
        return told
    if not isinstance(told, dict):
        raise SettingsError(
            f"{path}: claims: not there; say claims = dict(records=..., labels=..., "
            "noise_multiplier=..., sample_rate=..., steps=...)"
        )
    known = [field.name for field in fields(Claims)]
    for key in told:
        if key not in known:
            raise SettingsError(f"{path}: claims: {key}: unknown{suggest(str(key), known)}")
    try:
        return Claims(**told)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    except TypeError as error:
        raise SettingsError(f"{path}: claims: {error}") from None
