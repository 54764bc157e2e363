"""Many clients of one record each, of which 1,000 take part in a round: what each costs that does
not take part.

The start is the wall time of the whole command less its rounds: imports, records, who holds which,
and the end. Processor time is beside it, of all; peak memory has the imports in it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CLIENTS = (1_000, 100_000, 1_000_000)
SIDE, TESTS = 4, 100
EXPERIMENT = """
model.name = "linear"
training = {{ sample_rate = 1.0, local_steps = 1 }}
budget = {{ unit = "record", noise_multiplier = 1.0 }}
federation = {{ clients = {clients}, cohort = 1000, rounds = 3, evaluate_every = 3 }}
data = {{ name = "idx", path = "{folder}" }}
"""


def crowd(clients: int) -> dict[str, Any]:
    """`privet run` in a process of its own."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for part, num in (("train", clients), ("test", TESTS)):
            arrays[f"{part}_x"] = rng.integers(0, 256, (num, SIDE, SIDE), dtype=np.uint8)
            arrays[f"{part}_y"] = rng.integers(0, 2, num).astype(np.uint8)
        np.savez(Path(folder) / "data.npz", **arrays)
        file = Path(folder) / "crowd.toml"
        file.write_text(EXPERIMENT.format(clients=clients, folder=folder))
        started = time.perf_counter()
        command = [sys.executable, "-m", "server", "run", str(file), "--runs", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        run = Path(process.stdout.read().decode().strip())
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        assert status == 0
        lines = (run / "rounds.jsonl").read_text().splitlines()
        rounds_s = [json.loads(line)["seconds"] for line in lines]
        return {
            "start_s": wall_s - sum(rounds_s),
            "rounds_s": rounds_s,
            "processor_s": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / 1024,
        }


def run() -> dict[str, object]:
    """By the number of clients."""
    return {f"{clients:,} clients": crowd(clients) for clients in CLIENTS}
