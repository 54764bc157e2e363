"""The C of a contract: sources as they stand in c/, and the headers that are made for it."""

from collections.abc import Iterable
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import FLAGS, Contract
from clients.firmware.fitting import num_layer_words, num_words, quads
from clients.firmware.front.made import Front, front_sources
from clients.firmware.front.tables import in_lines
from clients.firmware.net import Dense, Words
from clients.firmware.numbers.packing import Packed, packed
from clients.firmware.numbers.tables import tables
from clients.firmware.numbers.words import begin, numbers_of
from clients.firmware.plan import CONV, GRU, Plan

C = Path(__file__).parent / "c"
FIXED = (
    "port.h",
    "port_board.c",
    "noise.h",
    "noise.c",
    "ledger.h",
    "ledger.c",
    "step.h",
    "step.c",
    "answer.h",
    "answer.c",
    "net.h",
    "numbers.h",
    "numbers_learning.h",
    "machine.h",
    "serial.h",
    "serial.c",
    "main.c",
    "main_serial.c",
)
ANSWERING = ("answer.c", "net.c")
COMPILED = ("step.c", "noise.c", "ledger.c", *ANSWERING)
TO_ANSWER = ("answer.h", "answer.c", "net.h", "numbers.h", "machine.h")
SERIAL, FRONT = "serial.c", "front.c"


def sources(
    contract: Contract,
    layers: tuple[Dense, ...],
    *,
    answers: bool = False,
    library: Path | None = None,
    front: Front | None = None,
) -> dict[str, str]:
    """Text of each file, by its name.

    Args:
        answers: of a board that learns nothing: its weights lie in flash as they are read, of words
            packed; there is no private step, and no promise.
        library: CMSIS-NN's folder, whose kernels multiply: see `require_library`.
        front: what stands before the net.
    """
    kind, numbers = ("word", "words.h") if contract.numbers else ("float", "sums.h")
    net = "layers" if contract.plan else f"{kind}s"
    taken = {name: name for name in (TO_ANSWER if answers else FIXED)}
    taken |= {"net.c": f"{net}.c", numbers: numbers}
    if contract.plan:
        taken["kernels.h"] = f"{kind}_kernels.h"
    if not answers:
        taken["learning.h"] = f"{net}_learning.h"
        taken |= {"trained.h": "words_trained.h"} if contract.numbers else {}
        taken |= {"back.h": f"{kind}_back.h"} if contract.plan else {}
    if library is not None:
        taken["library.h"] = "library.h"
    if any(layer.kind == GRU for layer in contract.plan or ()):
        both = ("recurrent.h",) if answers else ("recurrent.h", "recurrent_back.h")
        taken |= {name: name for name in both}
    made = {name: (C / source).read_text() for name, source in taken.items()}
    if not answers:
        made["tables.h"] = _tables(contract)
    made["contract.h"] = _contract(contract, answers, library is not None)
    parts = [*ANSWERING] if answers else [*COMPILED, SERIAL]
    if front is not None:
        made |= front_sources(front, contract.scale)
        parts.append(FRONT)
    for name in ("Makefile", "CMakeLists.txt"):
        text = (C / name).read_text().replace("@FLAGS@", " ".join(FLAGS))
        text = text.replace("@LIBRARY@", "" if library is None else str(library.resolve()))
        made[name] = text.replace("@PARTS@", " ".join(parts))
    if contract.numbers:
        made["weights.h"] = (
            _packed_weights(packed(contract, layers))
            if answers
            else _whole_weights(begin(contract, layers))
        )
    else:
        made["weights.h"] = _weights(layers, "weights" if answers else "WEIGHTS")
    return made


def _contract(c: Contract, answers: bool = False, by_library: bool = False) -> str:
    if c.plan is not None:
        told, table = _plan(c, c.plan)
    elif c.numbers is not None:
        told, table = _packed(c, c.numbers), _word_table(c)
    else:
        told, table = {"SCALE": f"{c.scale}u"}, _float_table(c)
    if c.numbers is not None:
        told |= _of_words(c, c.numbers)
    facts = {
        "LAYERS": f"{c.num_layers}u",
        "INPUTS": f"{c.sizes[0]}u",
        "CLASSES": f"{c.sizes[-1]}u",
        "UNITS": f"{c.num_units}u",
        "WEIGHTS": f"{c.num_weights}u",
        "INVERSE_SCALE": _float(1 / c.scale),
        **({"ANSWERS": ""} if answers else _of_steps(c)),
        **told,
        **({"LIBRARY": ""} if by_library else {}),
    }
    lines = [f"#define PRIVET_{name} {value}".rstrip() for name, value in facts.items()]
    lines.append("#define PRIVET_LAYER_TABLE \\\n    " + ", \\\n    ".join(table))
    if answers:
        return _header("contract", "The net in numbers: nothing is promised of it here.", lines)
    words = in_lines(map(str, c.id))
    lines.append(
        f"#ifdef PRIVET_WITH_ID\nstatic const uint8_t CONTRACT_ID[24] = {{{words}}};\n#endif"
    )
    return _header("contract", "What was promised: contract.json in C.", lines)


def _of_steps(c: Contract) -> dict[str, str]:
    """What a board reads that learns."""
    return {
        "SENSITIVITY": f"{c.sensitivity}u",
        "CLIP": _float(c.clip),
        "CLIP_SQUARED": _float(c.clip_squared),
        "RATE": _float(c.rate),
        "SAMPLE_RATE": f"{c.sample_rate}ull",
        "MOST_STEPS": f"{c.most_steps}u",
        "LEDGER_RECORDS": f"{c.most_steps + 1}u",
        "LEDGER_BYTES": f"{c.ledger_bytes}u",
    }


def _plan(c: Contract, plan: Plan) -> tuple[dict[str, str], list[str]]:
    """Facts and table of layers.c; values lie one after another, the record first."""
    starts = list(accumulate((prod(layer.outputs) for layer in plan), initial=c.sizes[0]))
    begin_at = [0, *starts]
    rows, at, unit, word, gate = [], 0, 0, 0, 0
    for layer, value in zip(plan, starts, strict=False):
        numbers = [
            int(layer.rectified), begin_at[layer.source + 1], begin_at[layer.other + 1], value,
            *layer.inputs, *layer.outputs, *layer.kernel, *layer.stride, *layer.padding,
            layer.groups, layer.row, at, unit, gate if layer.kind == GRU else word,
        ]  # fmt: skip
        words = [layer.kind.upper(), *(f"{n}u" for n in numbers), _float(np.float32(layer.eps))]
        rows.append("{" + ", ".join(words) + "}")
        at, unit = at + layer.num_weights, unit + (layer.outputs[0] if layer.row else 0)
        word, gate = word + num_layer_words(layer, c.numbers), gate + layer.num_gates
    kernel = max(max(layer.kernel) for layer in plan if layer.kind == CONV)
    told = {"VALUES": f"{starts[-1]}u", "KERNEL": f"{kernel}u", "FACTOR": _float(c.factor)}
    if gate:
        told["GATES"] = f"{gate}u"
    if c.numbers is not None:
        convolutions = [layer for layer in plan if layer.kind == CONV]
        told |= {
            "WORDS": f"{word}u",
            "MOST_ROW": f"{max(layer.row for layer in convolutions)}u",
            "MOST_INPUTS": f"{max(prod(layer.inputs) for layer in convolutions)}u",
            "MOST_OUTPUTS": f"{max(layer.outputs[0] for layer in convolutions)}u",
        }
    return told, rows


def _float_table(c: Contract) -> list[str]:
    rows, at, unit = [], 0, 0
    for (inputs, outputs), one, factor in zip(pairwise(c.sizes), c.ones, c.factors, strict=True):
        rows.append(
            f"{{{inputs}u, {outputs}u, {at}u, {unit}u, {one}, {_float(factor)}, "
            f"{_float(1 / (one * one))}}}"
        )
        at, unit = at + (inputs + 1) * outputs, unit + outputs
    return rows


def _packed(c: Contract, numbers: Words) -> dict[str, str]:
    return {
        "QUADS": f"{sum(quads(size, numbers) for size in c.sizes[:-1])}u",
        "WORDS": f"{sum(num_words(i, o, numbers) for i, o in pairwise(c.sizes))}u",
    }


def _of_words(c: Contract, numbers: Words) -> dict[str, str]:
    signed, unsigned = numbers.most_inputs(np.array([True, False])).tolist()
    rounded = numbers.gradient_bits < 32
    return {
        "WHOLE_WEIGHTS": "",
        numbers.projection.upper(): "",
        "CHANNELS": str(int(numbers.channels)),
        "MOST_WEIGHT": str((1 << numbers.bits - 1) - 1),
        "MOST_SIGNED": str(signed),
        "MOST_UNSIGNED": str(unsigned),
        "MOST_GRADIENT": str((1 << numbers.gradient_bits - 1) - 1 if rounded else 0),
        "REACH": _float(np.float32(numbers.reach)),
        "FACTOR": _float(c.factor),
        "ONE": str(c.one_weight),
        "FIELD": f"{numbers.field_bits}u",
        "ROWS": f"{sum(one.outputs for one in c.rows)}u",
    }


def _word_table(c: Contract) -> list[str]:
    rows, at, unit, word, x = [], 0, 0, 0, 0
    for inputs, outputs in pairwise(c.sizes):
        num = quads(inputs, numbers_of(c))
        rows.append(f"{{{inputs}u, {outputs}u, {at}u, {unit}u, {word}u, {x}u, {num}u}}")
        at, unit = at + (inputs + 1) * outputs, unit + outputs
        word, x = word + num_words(inputs, outputs, numbers_of(c)), x + num
    return rows


def _tables(contract: Contract) -> str:
    t = tables()

    def array(kind: str, name: str, values: Iterable[int], ending: str) -> str:
        values = list(values)
        body = in_lines(f"{value}{ending}" for value in values)
        return f"static const {kind} {name}[{len(values)}] = {{{body}}};"

    lines = [
        f"#define NOISE_BITS {contract.noise_bits}u",
        f"#define BRICKS {len(t.strip)}u",
        "#ifdef PRIVET_FAST_TABLES",
        array("uint8_t", "STRIP", t.strip.tolist(), "u"),
        "#else",
        f"#define RESIDUE_SHIFT {t.shift}u",
        f"#define TAIL {t.tail}ull",
        f"#define EXP_EIGHT {t.eight}ull",
        array("uint64_t", "EXP_COARSE", t.coarse, "ull"),
        array("uint64_t", "EXP_FINE", t.fine, "ull"),
        array("uint64_t", "HEIGHT", t.height, "ull"),
        array("uint32_t", "BOUND", t.bound, "u"),
        "#endif",
    ]
    return _header("tables", "Of the noise: see clients/firmware/numbers/tables.py.", lines)


def _weights(layers: tuple[Dense, ...], name: str) -> str:
    numbers = [
        _float(value) for layer in layers for part in layer for value in part.ravel().tolist()
    ]
    line = f"static const float {name}[{len(numbers)}] = {{{in_lines(numbers)}}};"
    return _header("weights", "As privet trained them.", [line])


def _whole_weights(weights: NDArray[np.int64]) -> str:
    line = f"static const int32_t WEIGHTS[{len(weights)}] = {{{in_lines(map(str, weights))}}};"
    return _header("weights", "As privet trained them, in units of PRIVET_RATE.", [line])


def _packed_weights(found: Packed) -> str:
    lists = {"uint32_t words": [f"{word:#010x}u" for word in found.words.tolist()]}
    for name in ("scales", "biases"):
        lists[f"float {name}"] = [_float(value) for value in getattr(found, name).tolist()]
    lines = [f"static const {name}[{len(v)}] = {{{in_lines(v)}}};" for name, v in lists.items()]
    return _header("weights", "As privet trained them, in words, packed.", lines)


def _header(name: str, about: str, lines: list[str]) -> str:
    guard = f"PRIVET_{name.upper()}_H"
    text = "\n".join(lines)
    return (
        f"/* {name}.h - {about} Made by privet export. */\n#ifndef {guard}\n#define {guard}\n"
        f"#include <stdint.h>\n\n{text}\n\n#endif\n"
    )


def _float(value: float | np.float32) -> str:
    return f"{float(value).hex()}f"
