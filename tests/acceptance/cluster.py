"""`privet sweep --on ray://...` on a Ray of its own: are runs those of one machine?

run as: python tests/acceptance/cluster.py

A head with one CPU is started, two cells are trained on it, and the first worker that is seen at a
cell is killed. Prints JSON; exit status 1 if a run differs from that of a sweep on this machine, or
if the lost worker cost more than its cell.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from accuracy import ROOT

SWEEP = ["sweep", "tiny", "-s", "federation.rounds=2", "-s", "federation.clients=2"]
SWEEP += ["--over", "model.hidden=[8],[16]", "--cost", "eyeriss", "--name", "grid"]
RAY = Path(sys.executable).with_name("ray")
PATIENCE_S = 900.0


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def own_address() -> str:
    """Of this machine, at which Ray listens: no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))
        return str(asked.getsockname()[0])


def head(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A Ray with one CPU, and where its clients are served."""
    port, host = free_port(), own_address()
    command = [
        str(RAY), "start", "--head", "--block", "--num-cpus=1", f"--port={free_port()}",
        f"--ray-client-server-port={port}", "--include-dashboard=false",
        "--object-store-memory=100000000", f"--temp-dir={folder}", "--disable-usage-stats",
        f"--node-ip-address={host}",
    ]  # fmt: skip
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        with suppress(OSError), socket.create_connection((host, port), 1):
            return started, f"ray://{host}:{port}"
        time.sleep(0.5)
    raise TimeoutError("no Ray answers")


def swept(runs: Path, *more: str) -> subprocess.Popen[str]:
    """A sweep, begun."""
    command = [sys.executable, "-m", "server", *SWEEP, *more, "--runs", str(runs)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=quiet, stderr=subprocess.PIPE)


def descends(pid: int, head: int) -> bool:
    """Was a process begun by the head, or by one that it began?"""
    while pid not in (0, head):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == head


def lose_a_worker(head: int, sweep: subprocess.Popen[str]) -> bool:
    """Kill the first worker of our Ray that is at a cell."""
    while sweep.poll() is None:
        for about in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                at_a_cell = b"ray::done_there" in (about / "cmdline").read_bytes()
                if at_a_cell and descends(int(about.name), head):
                    os.kill(int(about.name), signal.SIGKILL)
                    return True
        time.sleep(0.05)
    return False


def told(runs: Path) -> dict[str, list[bytes]]:
    """What each run found: its settings, weights and price."""
    names = ("experiment.toml", "cost.json", *(f"rounds/00{i}.safetensors" for i in range(3)))
    found = [path for path in runs.iterdir() if re.fullmatch(r"tiny-[0-9a-f]{12}", path.name)]
    return {path.name: [(path / name).read_bytes() for name in names] for path in found}


def main() -> int:
    if not RAY.is_file():
        print(json.dumps({"skipped": "no ray beside this Python"}))
        return 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # Ray's sockets want a short path
        folder = Path(name)
        started, address = head(folder / "ray")
        try:
            sweep = swept(folder / "there", "--on", address)
            lost = lose_a_worker(started.pid, sweep)
            _, said = sweep.communicate(timeout=PATIENCE_S)
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)
        swept(folder / "here").communicate(timeout=PATIENCE_S)
        here, there = told(folder / "here"), told(folder / "there")
    figures = {"runs": len(here), "same": here == there, "lost": lost, "status": sweep.returncode}
    print(json.dumps(figures))
    if figures != {"runs": 2, "same": True, "lost": True, "status": 0}:
        print(said, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
