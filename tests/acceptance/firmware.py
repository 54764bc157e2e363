"""C on emulated microcontrollers: bits, power cuts, the auditor, and what must not pass.

run as: python tests/acceptance/firmware.py

Exit status 1 if a board is not its simulation, a step's number comes twice, or a sabotage passes.
Skipped without the extra `firmware` (ziglang 101 MB, unicorn 16 MB).
"""

# ruff: noqa: E402
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (ROOT / "tests/clients/firmware/numbers", ROOT / "tests", ROOT)
sys.path[:0] = map(str, ROOMS)

import numpy as np
from test_layers_in_c import made, pictures, sequences
from test_word_layers import drawn

from clients.arithmetic import Arithmetic
from clients.chip import load_chip
from clients.firmware.check import check, survived
from clients.firmware.compiling import build, missing
from clients.firmware.contract import FLAGS, agree
from clients.firmware.net import Dense, Words
from clients.firmware.sources import sources
from clients.models import Model
from clients.protocol import Form
from privacy.errors import PrivetError

NUM, CUTS = 32, 1000
SMALL, LARGE = (22, 7, 5, 4), (784, 32, 10)


def net(sizes):
    """Layers, and records of which most inputs are zero."""
    dice = np.random.default_rng(3)
    layers = tuple(
        Dense(
            dice.normal(0, 1 / i**0.5, (o, i)).astype(np.float32),
            dice.normal(0, 0.1, o).astype(np.float32),
        )
        for i, o in pairwise(sizes)
    )
    inputs = dice.integers(0, 256, (NUM, sizes[0])) * (dice.random((NUM, sizes[0])) < 0.3)
    return layers, (inputs.astype(np.int16), dice.integers(0, sizes[-1], NUM).astype(np.uint8))


ARITHMETICS = {
    "float": None,
    "int8": Words("fixed", 8, 8, 8, True),
    "int4": Words("fixed", 4, 4, 4, True),
    "ternary": Words("ternary", 2, 8, 8, True),
    "binary": Words("binary", 1, 8, 8, True),
}
FUSED = (*(f for f in FLAGS if "contract" not in f), "-ffp-contract=fast")
MOST_RAM = {"float": 214_000, "int8": 128 << 10, "int4": 119_000, "ternary": 113_000}
MOST_RAM |= {"binary": 110_000}
CHIPS = {"m4": "stm32l4r5", "m7": "stm32h743"}
MOST_ERROR = 0.15
MOST_SHARE = {32: 0.35, 256: 0.08}  # of a step's instructions, of 784-32-10, by its batch
MOST_RAM_WINDOWS = 96 << 10  # cnn1d of windows of 6 x 128
NUM_ASKED = 1000
ANSWERED = re.compile(r"(\w+): (\d+) of (\d+) test records answered alike, (\d+) as")
LEAST_PRODUCTS = {"m4": 0.5, "m7": 0.8}  # a cycle, of the first layer in int8


def contract_of(layers, numbers, steps=100, batch=NUM):
    plan = {"noise_multiplier": 1.0, "clip": 1.0, "learning_rate": 0.5, "sample_rate": 1.0}
    plan |= {"num_records": batch, "epsilon": None, "delta": 1e-5, "scale": 255}
    agreed = agree(layers, **plan, steps=steps, numbers=numbers)
    return replace(agreed, most_steps=steps)  # it may keep one less, for the noise's rounding


def bits(sizes, steps, name):
    """Steps of an arithmetic on a perceptron, bit by bit; of the large one, what they take."""
    rows, (layers, records) = [], net(sizes)
    c = contract_of(layers, ARITHMETICS[name], steps)
    asked, own = records[0][:8], np.zeros(8, np.int64)
    for one in check(sources(c, layers), c, layers, records, asked, own, cuts=0):
        row = {"arithmetic": name, "target": one.target, "steps": one.steps}
        row |= {"net": "-".join(map(str, sizes)), "holds": one.passed and one.steps == steps}
        if sizes == LARGE:
            row |= {"ram_bytes": one.ram_bytes, "batch": one.batch}
            row |= {"privacy_share": round(one.privacy_share, 4)}
            row |= priced(one, c.num_weights)
            row["holds"] = row["holds"] and abs(row["noise_model_error"]) <= MOST_ERROR
            row |= {"products_a_cycle": round(products_a_cycle(one, sizes), 3)}
            fast = row["products_a_cycle"] >= LEAST_PRODUCTS[one.target] or name != "int8"
            fits = one.ram_bytes <= MOST_RAM[name]
            share = one.privacy_share <= MOST_SHARE[NUM]
            row["holds"] = row["holds"] and fits and fast and share
        rows.append(row)
    return rows


def shares(name):
    """What privacy takes of a step of 256 records."""
    layers, (inputs, labels) = net(LARGE)
    batch = max(MOST_SHARE)
    c, times = contract_of(layers, ARITHMETICS[name], 1, batch), batch // NUM
    records = np.tile(inputs, (times, 1)), np.tile(labels, times)
    limits = {"steps": 1, "cuts": 0, "targets": ("m4",)}
    (one,) = check(sources(c, layers), c, layers, records, inputs[:1], np.zeros(1, int), **limits)
    row = {"arithmetic": name, "net": "784-32-10", "target": one.target, "batch": one.batch}
    share = round(one.privacy_share, 4)
    return [row | {"privacy_share": share, "holds": one.passed and share <= MOST_SHARE[batch]}]


def windows(name):
    """RAM of a step of cnn1d, width 8, on windows of a phone's six axes."""
    form, model = Form((6, 128), 6, "window"), Model(name="cnn1d", width=8)
    _, _, records, weights, c = drawn(model, form, Arithmetic(**IN_PRIVET[name]))
    rows, limits = [], {"steps": 2, "cuts": 0}
    made = sources(c, weights)
    for one in check(made, c, weights, records, records[0][:2], np.zeros(2, int), **limits):
        row = {"net": "cnn1d 6x128, width 8", "arithmetic": name, "target": one.target}
        row |= {"ram_bytes": one.ram_bytes, "privacy_share": round(one.privacy_share, 4)}
        rows.append(row | {"holds": one.passed and one.ram_bytes <= MOST_RAM_WINDOWS})
    return rows


def products_a_cycle(found, sizes):
    """Of the first layer's forward pass, at the middle of its cycles."""
    (part,) = (one for one in found.parts if (one.phase, one.layer) == ("forward", 0))
    return found.batch * sizes[0] * sizes[1] / (sum(part.cycles) / 2)


def priced(found, num_weights):
    """Cycles of noise and update a weight, and how far the chip model is from their middle."""
    (noise,) = (part for part in found.parts if part.phase == "noise")
    low, high = (cycles / num_weights for cycles in noise.cycles)
    model = load_chip(CHIPS[found.target]).microcontroller.gaussian
    told = {"noise_instructions": round(sum(noise.mix.values()) / num_weights, 1)}
    error = model / ((low + high) / 2) - 1
    return told | {"noise_cycles": [low, high], "noise_model_error": round(error, 3)}


OWN = {"cnn1d": (Form((6, 32), 6, "window"), {}), "ds-cnn": (Form((1, 25, 10), 6), {"depth": 2})}
IN_PRIVET = {
    "float": {"name": "float"},
    "int8": {"name": "fixed"},
    "int4": {"name": "fixed", "bits": 4, "activation_bits": 4, "gradient_bits": 4},
    "ternary": {"name": "ternary"},
    "binary": {"name": "binary", "activation_bits": 8},
}


def plans(name, words):
    """A hundred steps of convolutions, norms, pools and sums, or of a net of privet's of them."""
    if name in OWN:
        form, more = OWN[name]
        made_of = drawn(Model(name=name, width=4, **more), form, Arithmetic(**IN_PRIVET[words]))
    else:
        made_of = made({"sequences": sequences, "pictures": pictures}[name])
    _, _, records, weights, c = made_of
    rows, asked, own = [], records[0][:8], np.zeros(8, np.int64)
    for one in check(sources(c, weights), c, weights, records, asked, own, cuts=0):
        row = {"net": name, "arithmetic": words, "target": one.target, "steps": one.steps}
        rows.append(row | {"holds": one.passed and one.steps == 100})
    return rows


TOLD = (
    *((bits, LARGE, 3, name) for name in ARITHMETICS),
    *((shares, name) for name in ("float", "int8")),
    *((bits, SMALL, 100, name) for name in ARITHMETICS),
    *((windows, name) for name in ("float", "int8")),
    *((plans, name, words) for name in OWN for words in IN_PRIVET),
    *((plans, name, "float") for name in ("sequences", "pictures")),
)


def told(one):
    """Rows of one of TOLD."""
    which, *about = one
    return which(*about)


def sabotaged():
    """Each must be found out within a few steps."""
    rows = []
    layers, records = net(SMALL)
    own = np.zeros(1, np.int64)
    for name in ("float", "int8"):
        c = contract_of(layers, ARITHMETICS[name])
        sound = sources(c, layers)
        noise = "key, step, STREAM_NOISE"
        faults = {
            "products fused": (sound, FUSED),
            "another S": (sources(replace(c, sensitivity=c.sensitivity - 1), layers), FLAGS),
            "a number used twice": (
                changed(sound, "step.c", noise, "key, 1u, STREAM_NOISE"),
                FLAGS,
            ),
        }
        for fault, (text, flags) in faults.items():
            limits = {"steps": 5, "cuts": 0, "targets": ("m7",), "flags": flags}
            try:
                (one,) = check(text, c, layers, records, records[0][:1], own, **limits)
                found = not one.passed
            except PrivetError:  # the board does not open
                found = True
            rows.append({"arithmetic": name, "fault": fault, "holds": found})
    return rows


def changed(made, name, old, new):
    assert old in made[name]
    return {**made, name: made[name].replace(old, new)}


def cuts():
    """A thousand power cuts: at random instructions, and while flash is programmed."""
    layers, records = net(SMALL)
    c = contract_of(layers, ARITHMETICS["int8"], steps=2000)
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in sources(c, layers).items():
            (Path(scratch) / name).write_text(text)
        count = survived(build(Path(scratch), "m4"), "m4", c, records, CUTS)
    return {"power_cuts": count, "holds": count == CUTS}


def command():
    """The command that a user types, with its auditor; 1,000 records answered as by privet."""
    with tempfile.TemporaryDirectory() as runs:
        place = {**os.environ, "PRIVET_RUNS": runs}

        def privet(*words):
            ask = [sys.executable, "-m", "server", *words]
            return subprocess.run(ask, cwd=ROOT, env=place, capture_output=True, text=True)

        short = ("federation.rounds=1", "federation.clients=2", "model.hidden=[6]")
        made = privet("run", "tiny", *[word for one in short for word in ("-s", one)])
        board = ("export", "latest", "--to", "c", "--check", "--audit", "-o", f"{runs}/board")
        told = privet(*board)
        holds = made.returncode == told.returncode == 0
        rows = {"holds": holds, "told": told.stderr.splitlines()[-8:]}
        mnist = ("data.name=mnist", "data.limit=3000")
        if privet("run", "tiny", *[w for one in (*short, *mnist) for w in ("-s", one)]).returncode:
            return rows | {"answered": "skipped: needs MNIST: privet data fetch mnist"}
        alone = ("export", "latest", "--to", "c", "--answers", "--check", "-o", f"{runs}/alone")
        found = [ANSWERED.match(line) for line in privet(*alone).stderr.splitlines()]
        answered = {one[1]: [int(num) for num in one.groups()[1:]] for one in found if one}
        alike = set(answered) == set(CHIPS) and all(
            one == [NUM_ASKED] * 3 for one in answered.values()
        )
        return rows | {"holds": holds and alike, "answered": answered}


def main() -> int:
    started = time.perf_counter()
    if lacking := missing():
        print(json.dumps({"skipped": f"needs {' and '.join(lacking)}: privet[firmware]"}))
        return 0
    with ProcessPoolExecutor(2) as pool:
        single = [pool.submit(one) for one in (command, cuts, sabotaged)]
        rows = [row for found in pool.map(told, TOLD) for row in found]
        typed, lost, faults = (one.result() for one in single)
    found = {"bits": rows, "sabotaged": faults, "cuts": lost, "command": typed}
    found["seconds"] = round(time.perf_counter() - started)
    print(json.dumps(found, indent=1))
    held = [one["holds"] for one in (*rows, *faults, lost, typed)]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
