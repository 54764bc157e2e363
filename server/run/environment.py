"""What a run was made with: machine, versions and command."""

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

RECORDED_VERSIONS = ("flwr", "opacus", "torch", "numpy", "tenseal", "concrete-python", "privet")


def describe() -> dict[str, Any]:
    """As JSON takes it."""
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
        "versions": versions,
    }
