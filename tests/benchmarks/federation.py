"""A federation here against stock Flower on Ray with stock Opacus, on the same numerical work.

Opacus's MNIST net, sigma 1, clip 1, five rounds of a local epoch of Poisson batches; A: 100 clients
of 600 records, 10 a round, batch 60; B: 1,000 clients of 60 records, 100 a round, batch 12. Steady
seconds a round leave out evaluation and the first round (of `stock`: actors' imports); cold is the
wall time of the whole command, imports and evaluation after each round included. The kernels were
compiled by a run before. Beside them: our peak memory, and the machine's limit, the work's
floating-point operations over the measured peak of matrix products.

With one thread each, against pfl 0.6 (`peer_pfl.py`), which trains without DP and adds central
noise; its Python is $PFL_PYTHON, else ours. And the engine's share of a round: what is left of the
processor time of a round on one worker when that of the clients' `train` is taken away.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from clients.data.sets import cache_folder

HERE = Path(__file__).parent
STOCK = HERE / "stock"
ROUNDS, REPEATS = 5, 3
WORKLOADS = {"A": (100, 10, 60), "B": (1000, 100, 12)}
FLOP_A_RECORD = 2.13e6  # forward, weight gradients, and input gradients of all but the first layer
EXPERIMENT = """
[data]
name = "mnist"
[model]
name = "convnet"
[training]
sample_rate = {rate}
local_steps = {steps}
learning_rate = 0.25
[budget]
unit = "record"
noise_multiplier = 1.0
clip = 1.0
[federation]
clients = {clients}
cohort = {cohort}
rounds = {rounds}
"""


def write_experiment(file: Path, clients: int, cohort: int, batch: int, rounds: int) -> None:
    """A local epoch of Poisson batches a round."""
    rate = batch * clients / 60_000
    file.write_text(
        EXPERIMENT.format(
            clients=clients, cohort=cohort, rate=rate, steps=round(1 / rate), rounds=rounds
        )
    )


def ours(
    workload: tuple[int, int, int], evaluate_every: int, rounds: int = ROUNDS, workers: int = 0
) -> dict[str, Any]:
    """Of a workload: as `run_file`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.toml"
        write_experiment(file, *workload, rounds)
        return run_file(
            file, f"federation.evaluate_every={evaluate_every}", f"federation.workers={workers}"
        )


def run_file(file: Path, *settings: str) -> dict[str, Any]:
    """`privet run` in a process of its own: wall time, seconds of each round, peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "server", "run", str(file), "--runs", folder]
        for setting in settings:
            command += ["-s", setting]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        run = Path(process.stdout.read().decode().strip())
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        assert status == 0
        records = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
        return {
            "wall_s": wall_s,
            "rounds_s": [record["seconds"] for record in records],
            "peak_mb": usage.ru_maxrss / 1024,
            "accuracy": records[-1]["accuracy"],
        }


def engine_share(workload: tuple[int, int, int]) -> float:
    """Of the processor time of a round that neither begins nor ends a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.toml"
        write_experiment(file, *workload, ROUNDS)
        text = file.read_text().replace("rounds =", "evaluate_every = 5\nrounds =")
        file.write_text(text)
        command = [sys.executable, str(HERE / "engine_share.py"), str(file), folder]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        rounds = json.loads(printed.splitlines()[-1])[1:-1]
        return statistics.median(1 - training_s / round_s for round_s, training_s in rounds)


def pfl(workload: tuple[int, int, int]) -> list[float] | None:
    """Seconds of each round of pfl on one thread; None where it is not installed."""
    python = os.environ.get("PFL_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import pfl"], capture_output=True).returncode:
        return None
    command = [python, str(HERE / "peer_pfl.py"), str(cache_folder() / "mnist.npz")]
    command += [str(number) for number in (*workload, ROUNDS)]
    done = subprocess.run(command, check=True, capture_output=True)
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def stock(
    clients: int, cohort: int, batch: int, rounds: int = ROUNDS, job: str = "private"
) -> dict[str, Any]:
    """`flwr run` on Ray: the same of the plain app."""
    with tempfile.TemporaryDirectory() as folder:
        app, home, result = (Path(folder) / name for name in ("app", "home", "times.json"))
        shutil.copytree(STOCK, app)
        values = f'job="{job}" clients={clients} cohort={cohort} batch={batch} rounds={rounds}'
        environment = {
            **os.environ,
            "FLWR_HOME": str(home),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = ["flwr", "run", ".", "local", "--federation-config", f"num-supernodes={clients}"]
        values += f' result="{result}" data="{cache_folder() / "mnist.npz"}"'
        command += ["--run-config", values]
        began = time.time()
        try:
            subprocess.run(
                command, cwd=app, env=environment, check=True, capture_output=True, timeout=300
            )
            while not result.exists():
                time.sleep(0.05)
                assert time.time() - began < 600, "the peer did not end"
            times = json.loads(result.read_text())
        finally:
            _stop(f"FLWR_HOME={home}")
        pairs = pairwise(times)
        return {
            "wall_s": times[-1]["ended"] - began,
            "rounds_s": [b["began"] - a["ended"] for a, b in pairs],
            "accuracy": times[-1]["accuracy"],
        }


def _stop(mark: str) -> None:
    """End the SuperLink that `flwr run` leaves behind, and all it started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue


def limit_s() -> float:
    """Seconds that a round's products would take at the measured peak of all cores."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    a = [torch.rand(768, 768) for _ in range(cores)]

    def products(x: torch.Tensor) -> None:
        for _ in range(50):
            x @ x

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(products, a))
        start = time.perf_counter()
        list(pool.map(products, a))
        peak = cores * 50 * 2 * 768**3 / (time.perf_counter() - start)
    return 6000 * FLOP_A_RECORD / peak


def run() -> dict[str, Any]:
    """Least, median and greatest ratio of steady and of cold seconds, and what bounds them."""
    results: dict[str, Any] = {"limit_s": limit_s()}
    for name, workload in WORKLOADS.items():
        ours(workload, evaluate_every=ROUNDS)  # compiles
        raw = [
            {
                "steady": ours(workload, evaluate_every=ROUNDS),
                "cold": ours(workload, evaluate_every=1),
                "peer": stock(*workload),
                "one thread": ours(workload, evaluate_every=ROUNDS, workers=1),
                "pfl": pfl(workload),
            }
            for _ in range(REPEATS)
        ]
        steady_s = _steady_s("steady", raw)
        results[name] = {
            "steady_ratio": spread(_steady_s("peer", [r]) / _steady_s("steady", [r]) for r in raw),
            "cold_ratio": spread(r["peer"]["wall_s"] / r["cold"]["wall_s"] for r in raw),
            "pfl_ratio": spread(
                statistics.median(r["pfl"][1:]) / _steady_s("one thread", [r])
                for r in raw
                if r["pfl"]
            ),
            "ours_steady_s": steady_s,
            "ours_cold_s": statistics.median(r["cold"]["wall_s"] for r in raw),
            "ours_one_thread_s": _steady_s("one thread", raw),
            "peer_steady_s": _steady_s("peer", raw),
            "peer_cold_s": statistics.median(r["peer"]["wall_s"] for r in raw),
            "engine_share": engine_share(workload),
            "share_of_limit": results["limit_s"] / steady_s,
            "peak_mb": max(r["steady"]["peak_mb"] for r in raw),
            "raw": raw,
        }
    results["10,000 clients, 1,000 a round"] = ours((10_000, 1_000, 1), 2, rounds=2)
    return results


def spread(ratios: Iterable[float]) -> list[float]:
    """Least, median, greatest; nothing of nothing."""
    some = sorted(ratios)
    return [some[0], statistics.median(some), some[-1]] if some else []


def _steady_s(name: str, raw: list[dict[str, Any]]) -> float:
    """Seconds of a round that neither begins nor ends a run."""
    return float(statistics.median(np.ravel([r[name]["rounds_s"][1:-1] for r in raw])))
