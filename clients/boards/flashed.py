"""An export of `privet export --to c`, as it was flashed: its contract, and its program for the
emulator."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.firmware.compiling import build, missing
from clients.firmware.contract import VERSION, Contract
from clients.firmware.net import Words
from clients.firmware.plan import Layer
from clients.firmware.serial.emulated import TARGET
from privacy.documents import from_json
from privacy.errors import PrivetError, SettingsError

CONTRACT = "contract.json"


def read_contract(folder: Path) -> Contract:
    """The contract of an export.

    Raises:
        SettingsError: the folder is none, or its contract is not the one that its id names.
    """
    path = folder / CONTRACT
    try:
        told = from_json(path.read_bytes())
        if told["version"] != VERSION:
            raise SettingsError(
                f"--firmware {folder}: a contract of version {told['version']}, and this privet "
                f"has {VERSION}; export and flash it again"
            )
        contract = _contract(told)
        is_whole = contract.id.hex() == told["id"]
    except OSError as error:
        raise SettingsError(
            f"--firmware {path}: {error.strerror}; make a folder with: privet export RUN --to c"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise SettingsError(f"--firmware {path}: is not as it was exported; export it again")
    return contract


def emulated_program(folder: Path, scratch: Path) -> Path:
    """Compile an export for the emulator.

    Raises:
        PrivetError: the extra `firmware` is missing, or the compiler refuses.
    """
    if lacking := missing():
        raise SettingsError(
            f"--board emulated: needs {' and '.join(lacking)}; pip install 'privet[firmware]'"
        )
    try:
        for path in (*folder.glob("*.c"), *folder.glob("*.h")):
            shutil.copy(path, scratch)
        return build(scratch, TARGET, serial=True)
    except (PrivetError, OSError) as error:
        raise PrivetError(f"--firmware {folder}: {error}; export it again") from None


def _contract(told: Mapping[str, Any]) -> Contract:
    keys = Contract.__dataclass_fields__
    about = {key: told[key] for key in keys}
    about["sizes"] = tuple(told["sizes"])
    if told["numbers"] is not None:
        about["numbers"] = Words(**told["numbers"])
    if told["plan"] is not None:
        about["plan"] = tuple(map(_layer, told["plan"]))
    return Contract(**about)


def _layer(told: Mapping[str, Any]) -> Layer:
    about: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return Layer(**about)
