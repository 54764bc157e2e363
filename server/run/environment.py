"""What a run was made with: machine, versions and command."""

import hashlib
import os
import platform
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from privacy.memo import code_in
from server.experiment.experiment import Experiment

RECORDED_VERSIONS = ("flwr", "opacus", "torch", "numpy", "tenseal", "concrete-python", "privet")


ROOMS = ("privacy", "clients", "attacks", "server")


@cache
def code_digest() -> str:
    """Of all of privet's own code: runs of other code are not repeats of one another."""
    house, total = Path(__file__).parent.parent.parent, hashlib.sha256()
    for room in ROOMS:
        for path in code_in(house / room):
            with open(path, "rb") as file:
                total.update(f"{os.path.relpath(path, house)}\0".encode() + file.read() + b"\0")
    return total.hexdigest()[:12]


def describe(experiment: Experiment) -> dict[str, Any]:
    """As JSON takes it; the GPU too, if a simulation's steps are computed on it."""
    gpu: dict[str, str] = {}
    if experiment.training.device == "cuda" and experiment.federation.engine != "superlink":
        from clients.training.gpu import described

        gpu = described()
    versions = {}
    for package in RECORDED_VERSIONS:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "created_ns": time.time_ns(),  # the same, to tell apart what began in one second
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **gpu,
        "versions": versions,
        "code": code_digest(),
    }
