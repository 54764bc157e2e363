"""A front as it is exported: its C, and whether it fits beside a net."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.firmware.fitting import Room
from clients.firmware.front.fourier import Floats
from clients.firmware.front.log_mel import LogMel
from clients.firmware.front.scattering import Scattering
from clients.firmware.front.tables import number
from privacy.errors import ModelError

C = Path(__file__).parents[1] / "c"
MOST_UNITS = 32767
VECTORS = 2
Front = LogMel | Scattering


def whole_features(front: Front, raw: NDArray[Any], scale: int) -> NDArray[np.int16]:
    """Of records [N, ...]: int16 [N, features] in units of 1 / scale."""
    units: Floats = front.features(raw) * np.float32(scale)
    return np.clip(np.rint(units), -MOST_UNITS, MOST_UNITS).astype(np.int16)


def front_sources(front: Front, scale: int) -> dict[str, str]:
    """Text of each file, by its name.

    Args:
        scale: the whole number that stands for 1 in what the net reads.
    """
    made = {name: (C / name).read_text() for name in ("front.h", "front_numbers.h")}
    made["front.c"] = (C / front.source).read_text()
    sizes = [f"#define PRIVET_{name} {value}u" for name, value in front.sizes().items()]
    kind = {"int16": "int16_t", "uint8": "uint8_t"}[front.raw_type.name]
    made["front_sizes.h"] = _header("sizes", [*sizes, f"typedef {kind} privet_raw_t;"])
    made["front_tables.h"] = _header(
        "tables", [f"#define FRONT_SCALE {number(scale)}", *front.tables()]
    )
    return made


def front_vectors(front: Front | None, scale: int) -> dict[str, bytes]:
    """Some records that are nobody's, and the features that must come of them, one by one."""
    if front is None:
        return {}
    dice, kind = np.random.default_rng(0), np.iinfo(front.raw_type)
    raw = dice.integers(kind.min, kind.max + 1, (VECTORS, front.sizes()["RAW"]))
    raw = raw.astype(front.raw_type)
    made = whole_features(front, raw, scale).astype("<i2")
    rows = (x.tobytes() + y.tobytes() for x, y in zip(raw, made, strict=True))
    return {"front_vectors.bin": b"".join(rows)}


def told_of(front: Front | None, turned: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For answers.json and budget.json."""
    if front is None:
        return {}
    told = {"name": front.name, **front.sizes(), "planned": front.room._asdict()}
    return {"front": {**told, "measured": list(turned)}}


def require_front_fits(front: Front, net: Room, chip: str, there: Room) -> None:
    """Raises ModelError: a front and the net behind it need more than the chip has."""

    def needs(room: Room, raw: int, features: int) -> Room:
        """With what it reads and gives."""
        return Room(room.ram + raw * front.raw_type.itemsize + 2 * features, room.flash)

    def fits(room: Room, raw: int, features: int) -> bool:
        need = needs(room, raw, features)
        return need.ram + net.ram <= there.ram and need.flash + net.flash <= there.flash

    about = front.room, front.sizes()["RAW"], front.num_features
    if fits(*about):
        return
    mine = needs(*about)
    kind, wants, other, has = "RAM", mine.ram, net.ram, there.ram
    if wants + other <= has:
        kind, wants, other, has = "flash", mine.flash, net.flash, there.flash
    raise ModelError(
        f"--chip {chip}: [model] front = {front.name!r}: needs {wants:,} bytes of {kind}, with the "
        f"net {wants + other:,}, {has:,} are there; {front.remedy(fits)}"
    )


def _header(name: str, lines: list[str]) -> str:
    guard = f"PRIVET_FRONT_{name.upper()}_H"
    text = "\n".join(lines)
    return (
        f"/* front_{name}.h - of the front. Made by privet export. */\n#ifndef {guard}\n"
        f"#define {guard}\n#include <stdint.h>\n\n{text}\n\n#endif\n"
    )
