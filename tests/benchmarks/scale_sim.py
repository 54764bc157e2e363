"""Compute cycles of systolic arrays against SCALE-Sim 3, on random layers in 3 dataflows."""

import contextlib
import csv
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clients.chip.dataflows.systolic import count_cycles

DATAFLOWS = {"ws": "weights", "os": "outputs", "is": "inputs"}
CONFIGURATION = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 512
FilterSramSzkB: 512
OfmapSramSzkB: 256
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
Bandwidth: 10
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def compare(folder: Path, layers: int, arrays: int, seed: int) -> dict[str, int]:
    """Random layers on random arrays, each in all dataflows.

    Args:
        layers: in all; spread over `arrays` random array sizes a dataflow.

    Returns:
        How many cycle counts were compared, and how many differ.
    """
    rng = random.Random(seed)
    compared = mismatches = 0
    for share in range(arrays):
        count = layers // arrays + (share < layers % arrays)
        shapes = [_layer(rng) for _ in range(count)]
        for dataflow, stationary in DATAFLOWS.items():
            rows, columns = rng.randint(2, 16), rng.randint(2, 16)
            counted = _scale_sim(folder, shapes, rows, columns, dataflow)
            assert len(counted) == count
            for (height, _, kernel, _, channels, filters, stride), cycles in zip(
                shapes, counted, strict=True
            ):
                positions = ((height - kernel) // stride + 1) ** 2
                reduction = kernel * kernel * channels
                ours = count_cycles(positions, filters, reduction, rows, columns, stationary)
                compared += 1
                mismatches += ours != cycles + 1  # it tells the last cycle, counted from 0
    return {"compared": compared, "mismatches": mismatches}


def _layer(rng: random.Random) -> tuple[int, ...]:
    kernel = rng.choice([1, 1, 3, 3, 5])
    stride = rng.choice([1, 2]) if kernel > 1 else 1
    side = kernel + stride * rng.randint(0, 5)
    return side, side, kernel, kernel, rng.randint(1, 16), rng.randint(1, 24), stride


def _scale_sim(
    folder: Path, shapes: list[tuple[int, ...]], rows: int, columns: int, dataflow: str
) -> list[int]:
    from scalesim.scale_sim import scalesim

    header = "Layer name, " + ", ".join("abcdefg") + ",\n"
    lines = [f"l{i}, {', '.join(map(str, shape))},\n" for i, shape in enumerate(shapes)]
    (folder / "topology.csv").write_text(header + "".join(lines))
    layouts = [f"l{i}, {', '.join(['1'] * 24)},\n" for i in range(len(shapes))]
    (folder / "layout.csv").write_text("Layer name, x,\n" + "".join(layouts))
    configuration = CONFIGURATION.format(rows=rows, columns=columns, dataflow=dataflow)
    (folder / "array.cfg").write_text(configuration)
    with _silence():
        tool = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(folder / "array.cfg"),
            topology=str(folder / "topology.csv"),
            layout=str(folder / "layout.csv"),
        )
        tool.run_scale(top_path=str(folder / "out"))
    with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as file:
        report = list(csv.reader(file))
    column = [name.strip() for name in report[0]].index("Total Cycles")
    return [int(float(line[column])) for line in report[1:]]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def run() -> dict[str, Any]:
    """1,000 layers x 3 dataflows; a word instead where SCALE-Sim is not installed."""
    try:
        import scalesim  # noqa: F401
    except ImportError:
        return {"skipped": "SCALE-Sim is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), layers=1000, arrays=25, seed=1)


if __name__ == "__main__":
    print(run(), file=sys.stdout)
