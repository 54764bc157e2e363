"""The accelerator model: errors against silicon, its speed, and ZigZag on the same network.

ZigZag (zigzag-dse 3.9) does not install beside privet's pins: give the Python of an environment of
its own in $ZIGZAG_PYTHON (`pip install zigzag-dse six`). It runs as its documentation shows, on its
own AlexNet and Eyeriss-like accelerator, optimising latency; only its search is timed, not its
imports.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from published_chips import ALEXNET, CALIBRATION, ENERGY, MLPERF_TINY, ROWS, VGG, fit, predict_ms

from clients.chip import (
    Chip,
    Network,
    Workload,
    cost,
    estimate,
    fixed,
    load_chip,
    reference,
)
from clients.chip.dataflows import mapping
from clients.chip.energy import PJ
from clients.chip.workloads import workload

EYERISS, ISCA = load_chip("eyeriss"), load_chip("eyeriss-isca")
H743, L4R5 = load_chip("stm32h743"), load_chip("stm32l4r5")
ZIGZAG = """
import json, logging, pathlib, sys, tempfile, time
import zigzag
from zigzag.api import get_hardware_performance_zigzag
logging.disable(logging.CRITICAL)
inputs = pathlib.Path(zigzag.__file__).parent / "inputs"
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    get_hardware_performance_zigzag(
        str(inputs / "workload" / "alexnet.onnx"),
        str(inputs / "hardware" / "eyeriss_like.yaml"),
        str(inputs / "mapping" / "default.yaml"),
        opt="latency",
        dump_folder=folder,
        loma_show_progress_bar=False,
    )
    print(json.dumps(time.perf_counter() - start))
"""


def silicon() -> dict[str, Any]:
    """Errors in per cent, row by row."""
    found: dict[str, Any] = {}
    for network, batch, table in (("alexnet", 4, ALEXNET), ("vgg16", 3, VGG)):
        rows = {r.layer: r for r in estimate(network, EYERISS, Workload(), fixed(16), batch).rows}
        errors = {
            name: _percent(rows[name].processing_s * 1e3, ms) for name, (ms, _) in table.items()
        }
        ours = sum(rows[name].processing_s * 1e3 for name in table)
        found[f"eyeriss {network} processing time"] = errors
        found[f"eyeriss {network} total"] = _percent(ours, sum(ms for ms, _ in table.values()))
        found[f"eyeriss {network} active elements wrong"] = sum(
            rows[name].active != active for name, (_, active) in table.items()
        )
    rows = {r.layer: r for r in estimate("alexnet", ISCA, Workload(), fixed(16), 16).rows}
    found["isca 2016 energy: ALU, DRAM, RF"] = {
        name: [
            _percent(rows[name].energy_j[part] / PJ / 1e9, cell)
            for part, cell in zip(("mac", "dram", "scratchpad"), cells, strict=True)
        ]
        for name, cells in ENERGY.items()
    }
    found["stm32h743 latency, constants from other networks"] = _board(ROWS, 0)
    found["stm32h743 memory, constant from other networks"] = _board(ROWS, 1)
    left_out = {
        name: _percent(predict_ms(name, fit({k: v for k, v in ROWS.items() if k != name})), ms)
        for name, (ms, _) in ROWS.items()
    }
    left_out["mean of absolutes"] = statistics.mean(map(abs, left_out.values()))
    found["stm32h743 latency, leave one out"] = left_out
    found["stm32h743 latency of the calibration rows"] = _board(CALIBRATION, 0)
    found["stm32l4r5 latency, held out"] = {
        name: _percent(estimate(name, L4R5, Workload(), fixed(8), 1).latency_s, 1 / per_s)
        for name, per_s in MLPERF_TINY.items()
    }
    return found


def _board(rows: dict[str, tuple[float, float]], column: int) -> dict[str, float]:
    errors = {}
    for name, measured in rows.items():
        found = estimate(name, H743, Workload(), fixed(8), 1)
        ours = (found.latency_s, found.memory.peak_bytes / 1e6)[column]
        errors[name] = _percent(ours * 1e3, measured[column])
    errors["mean of absolutes"] = statistics.mean(map(abs, errors.values()))
    return errors


def _percent(ours: float, published: float) -> float:
    return round(100 * (ours / published - 1), 2)


def forget() -> None:
    """Empty every cache of the model, so that an estimate is cold."""
    for module in (cost, mapping, workload):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def speed() -> dict[str, Any]:
    """Median seconds of one estimate, cold (caches empty) and cached."""
    results = {}
    for name, chip_name, step, batch in (
        ("alexnet", "eyeriss", "inference", 4),
        ("vgg16", "eyeriss", "inference", 3),
        ("alexnet", "edgetpu", "dp-sgd", 32),
        ("mlperf-vww", "eyeriss", "inference", 1),
        ("mlperf-kws", "eyeriss", "dp-sgd", 32),
        ("mcunet-in2", "stm32h743", "inference", 1),
    ):
        network, chip = reference(name), load_chip(chip_name)
        bits = fixed(chip.word_bits)
        cold = []
        for _ in range(30):
            forget()
            cold.append(_seconds(network, chip, Workload(step), bits, batch))
        cached = [_seconds(network, chip, Workload(step), bits, batch) for _ in range(300)]
        results[f"{name} on {chip_name}, {step}"] = {
            "cold_s": statistics.median(cold),
            "cold_least_s": min(cold),
            "cold_greatest_s": max(cold),
            "cached_s": statistics.median(cached),
        }
    return results


def _seconds(network: Network, chip: Chip, work: Workload, bits: Any, batch: int) -> float:
    start = time.perf_counter()
    estimate(network, chip, work, bits, batch)
    return time.perf_counter() - start


def zigzag() -> dict[str, Any]:
    """One search of ZigZag on AlexNet, between cold estimates of ours on the same network."""
    python = os.environ.get("ZIGZAG_PYTHON")
    if not python:
        return {"skipped": "set ZIGZAG_PYTHON to the Python of an environment with zigzag-dse"}
    network, chip = reference("alexnet"), load_chip("eyeriss")

    def ours() -> float:
        forget()
        return _seconds(network, chip, Workload(), fixed(16), 1)

    before = [ours() for _ in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-c", ZIGZAG], cwd=folder, capture_output=True, text=True, check=True
        )
    theirs_s = float(json.loads(done.stdout.splitlines()[-1]))
    times = before + [ours() for _ in range(20)]
    return {
        "theirs_s": theirs_s,
        "ours_cold_s": statistics.median(times),
        "ratio": theirs_s / statistics.median(times),
        "ratio_least": theirs_s / max(times),
    }


def run() -> dict[str, Any]:
    """Errors, speed and peers."""
    parts: dict[str, Callable[[], Any]] = {
        "error_percent": silicon,
        "speed": speed,
        "zigzag": zigzag,
    }
    return {name: part() for name, part in parts.items()}
