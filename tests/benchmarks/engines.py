"""The engines on the same experiment and seeds: the same weights, near the same accuracy?

`tiny` with three clients, five seeds, on each engine: `cohort`, `ray`, and `superlink` with three
nodes on this machine (TLS, node keys, each with its own records) once with seeded noise, once with
noise that cannot be repeated. Seconds are of the whole command, imports included.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from deployed import Federation  # noqa: E402

from server.run.directory import Run  # noqa: E402

SEEDS = range(5)
TINY = ["-s", "federation.clients=3"]


def ours(home: Path, seed: int, name: str, *settings: str) -> tuple[Run, float]:
    """One run in a process of its own, and its seconds."""
    words = ["run", "tiny", *TINY, "-s", f"seed={seed}", "--name", f"{name}-{seed}"]
    words += [word for setting in settings for word in ("-s", setting)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "server", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PRIVET_RUNS": str(home / "runs")},
        check=True,
        capture_output=True,
    )
    return Run(home / "runs" / f"{name}-{seed}"), time.perf_counter() - start


def same(a: Run, b: Run) -> bool:
    """Are all rounds' weights equal, bit for bit?"""
    return all(
        (a.path / "rounds" / name).read_bytes() == (b.path / "rounds" / name).read_bytes()
        for name in (f"{number:03d}.safetensors" for number in range(len(b.rounds) + 1))
    )


def run() -> dict[str, Any]:
    """Final accuracy by engine and seed; equality with the cohort engine; seconds."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        runs = {"cohort": [ours(home, seed, "cohort") for seed in SEEDS]}
        runs["ray"] = [ours(home, seed, "ray", "federation.engine=ray") for seed in SEEDS]
        for seed in SEEDS:  # each seed has another partition, so nodes with other records
            deployed(home, seed, runs)
        return {"accuracy": summary(runs), "equal": equality(runs), "seconds": seconds(runs)}


def deployed(home: Path, seed: int, runs: dict[str, list[tuple[Run, float]]]) -> None:
    """The two runs of a seed on three nodes."""
    place = home / f"nodes-{seed}"
    place.mkdir()
    with Federation(place) as here:
        for words in (
            ["keys", "new", "keys"],
            ["data", "split", "tiny", "nodes", *TINY, "-s", f"seed={seed}"],
        ):
            status, said = here.run(*words)
            assert status == 0, said
        here.start("superlink")
        here.wait_for_log("superlink", "3 nodes admitted")
        for name in ("node-0", "node-1", "node-2"):
            here.spawn(name, *here.command(name, epsilon_limit=100), "--allow-seeded")
        for name in ("node-0", "node-1", "node-2"):
            here.wait_for_log(name, "SuperNode ID")
        trusted = place / "keys" / "server" / "authority.pem"
        join = ["federation.engine=superlink", f"federation.address={here.control}"]
        join += [f"federation.root_certificates={trusted}"]
        for noise in ("seeded", "secure"):
            name = f"superlink, {noise}"
            found = ours(home, seed, name, *join, f"training.noise={noise}")
            runs.setdefault(name, []).append(found)


def summary(runs: dict[str, list[tuple[Run, float]]]) -> dict[str, Any]:
    """Mean, least and greatest final accuracy of the seeds."""
    found = {}
    for name, some in runs.items():
        values = [one.rounds[-1].accuracy or 0.0 for one, _ in some]
        found[name] = {
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values),
            "by_seed": values,
        }
    return found


def equality(runs: dict[str, list[tuple[Run, float]]]) -> dict[str, int]:
    """In how many seeds were all rounds' weights those of the cohort engine?"""
    return {
        name: sum(same(a, b) for (a, _), (b, _) in zip(some, runs["cohort"], strict=True))
        for name, some in runs.items()
    }


def seconds(runs: dict[str, list[tuple[Run, float]]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(s for _, s in some) for name, some in runs.items()}
