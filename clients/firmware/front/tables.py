"""Numbers of a front as C has them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from clients.firmware.front.fourier import Line


def number(value: float | np.floating[Any]) -> str:
    """A float32, to the bit."""
    return f"{float(np.float32(value)).hex()}f"


def array(kind: str, name: str, values: Iterable[Any]) -> str:
    """A table, of floats or of whole numbers."""
    told = [number(v) if kind == "float" else f"{int(v)}u" for v in values]
    return f"static const {kind} {name}[{len(told)}] = {{{in_lines(told)}}};"


def in_lines(words: Iterable[str]) -> str:
    """What stands in a table's braces: words, a comma between them, in lines of C."""
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 96:
            lines.append(line.rstrip())
            line = ""
        line += f"{word}, "
    return "\n    " + "\n    ".join([*lines, line.rstrip(", ")]) + "\n"


def line_tables(line: Line, ending: str = "") -> list[str]:
    """Factors, order and waves of a line."""
    waves = np.stack([line.cosines, line.sines], 1).ravel()
    return [
        f"#define FRONT_STAGES{ending} {len(line.factors)}u",
        array("uint16_t", f"FACTORS{ending}", line.factors),
        array("uint16_t", f"ORDER{ending}", line.order),
        array("float", f"WAVES{ending}", waves),
    ]
