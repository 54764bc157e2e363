"""Timing two things in one run, so that their ratio holds on a machine whose speed drifts."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any


def compare(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, repeats: int = 7, warmup: int = 2
) -> dict[str, Any]:
    """Run the two in turn, A B A B ...; the ratio is the median of those of neighbours.

    Returns:
        Raw times in seconds of both, and `ratio`: theirs over ours, larger is better for us.
    """
    times: dict[str, list[float]] = {"ours_s": [], "theirs_s": []}
    for i in range(warmup + repeats):
        for name, call in (("ours_s", ours), ("theirs_s", theirs)):
            start = time.perf_counter()
            call()
            if i >= warmup:
                times[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(times["ours_s"], times["theirs_s"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_greatest": max(ratios),
        "warmup": warmup,
        **times,
    }


def peak_memory_mb(script: str, *arguments: str) -> float:
    """Peak resident memory, over that of the imports, of a benchmark in a process of its own.

    The script prints it: see `report_peak_memory`.
    """
    command = [sys.executable, str(Path(__file__).parent / script), *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report_peak_memory(work: Callable[[], Any]) -> None:
    """Print by how much `work` raises this process's peak resident memory, in MB."""

    def peak_kb() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    Path("/proc/self/clear_refs").write_text("5")  # or imports may have needed more than the work
    before = peak_kb()
    work()
    print((peak_kb() - before) / 1024)


def machine() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    packages = ("torch", "opacus", "flwr", "ray", "numpy", "numba")
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "products": {pool["filepath"]: pool["architecture"] for pool in _blas()},
        "load": os.getloadavg(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def _blas() -> list[dict[str, Any]]:
    """Each OpenBLAS, whose kernels may be older than the processor: see README.md."""
    import scipy.linalg  # noqa: F401  # brings its own
    from threadpoolctl import threadpool_info

    return [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    return text.split("model name")[1].split(":", 1)[1].split("\n")[0].strip()


def show(results: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(results, indent=1))
