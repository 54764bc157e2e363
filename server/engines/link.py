"""Flower's SuperLink with TLS, admitting only the nodes whose public keys lie beside its own."""

import ctypes
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType

import tomli_w

from privacy.errors import FederationFailed, KeysError
from server.engines.choice import wait_for_link
from server.engines.submission import CONNECTION, flower_environment


def serve_link(keys: Path, host: str, port: int, database: Path | None) -> int:
    """Run until a signal ends it; returns the exit status.

    Args:
        keys: has `authority.pem`, `server.pem`, `server.key` and each node's `.pub`.
        database: what the SuperLink knows survives it there; None keeps it in memory.

    Raises:
        KeysError: a file is missing.
        FederationFailed: it does not start, or does not admit a node.
    """
    keys = keys.resolve()
    names = ("server.pem", "server.key", "authority.pem")
    for name in names:
        if not (keys / name).is_file():
            raise KeysError(f"{keys / name}: not there; make a folder of keys: privet keys new DIR")
    command = ["flower-superlink", "--host", host, "--port", str(port), "--enable-supernode-auth"]
    flags = ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile")
    for flag, name in zip(flags, names, strict=True):
        command += [flag, str(keys / name)]
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
        command += ["--database", str(database)]
    with tempfile.TemporaryDirectory(prefix="privet-link-") as home:
        environment = flower_environment(Path(home))
        process = subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)

        def end(number: int, frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                process.terminate()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        try:
            wait_for_link(f"127.0.0.1:{port}", process)
            _admit_nodes(keys, port, Path(home), environment)
            return process.wait()
        finally:
            process.terminate()
            process.wait()


def _end_with_parent() -> None:
    """Even `kill -9` of privet leaves no SuperLink behind that holds the port (on Linux)."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _admit_nodes(keys: Path, port: int, home: Path, environment: dict[str, str]) -> None:
    """Tell the SuperLink the nodes' public keys; those that it knows already are no error."""
    link = {"address": f"127.0.0.1:{port}", "root-certificates": str(keys / "authority.pem")}
    (home / "config.toml").write_text(
        tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: link}})
    )
    known = sorted(keys.glob("*.pub"))
    for key in known:
        command = ["flwr", "supernode", "register", str(key), CONNECTION]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode and "already" not in done.stdout + done.stderr:
            raise FederationFailed(f"{key}: not admitted: {(done.stderr or done.stdout).strip()}")
    print(f"privet: {len(known)} nodes admitted", file=sys.stderr)
