"""compose.yml's services as processes of this machine: the same commands, other paths and ports."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import yaml
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "compose" / "compose.yml"
PATIENCE_S = 240.0  # of a machine that does much else


def heartbeat(address, authority, key, node, change=lambda headers: None):
    """A node's sign of life, its headers changed on the way: the SuperLink's HTTP status."""

    class Changed:
        def intercept(self, context, call_next):
            change(context.request.headers)
            return call_next(context)

    signer = NodeAuthHttpInterceptor(key, key.public_key())
    version = RuntimeVersionHttpInterceptor(component_name="flwr-supernode")
    client = FleetHttpClient.from_server_address(
        address, False, authority.read_bytes(), interceptors=[version, signer, Changed()]
    )
    with client:
        try:
            client.SendNodeHeartbeat(
                SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=30)
            )
        except httpx.HTTPStatusError as error:
            return error.response.status_code
    return 200


def services():
    """The services of compose.yml, PRIVET_HOME etc. not yet filled in."""
    return yaml.safe_load(COMPOSE.read_text())["services"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, condition, patience_s=PATIENCE_S):
    """Poll until `condition` is true."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience_s:.0f} s for {what}")


class Federation:
    """Processes, each in a session of its own; all are gone when it is closed."""

    def __init__(self, home):
        self.home, self.port, self.control_port = home, free_port(), free_port()
        self.running = {}
        (home / "tmp").mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(home / "tmp"),
            "PRIVET_RUNS": str(home / "runs"),
            "OMP_NUM_THREADS": "1",
        }

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for name in list(self.running):
            self.kill(name)
        mark = f"TMPDIR={self.home / 'tmp'}".encode()  # Flower detaches some of its processes
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def command(self, service, **changes):
        """The command of a service here; `changes` are to its options."""
        about = services()[service]
        words = list(about["command"])
        for option, value in changes.items():
            words[words.index("--" + option.replace("_", "-")) + 1] = str(value)
        for volume in about["volumes"]:
            outside, inside, *_ = volume.replace("${PRIVET_HOME:-.}", str(self.home)).split(":")
            words = [re.sub(rf"^{inside}(?=/|$)", outside, word) for word in words]
        here = {"0.0.0.0": "127.0.0.1", "9093": str(self.port), "9092": str(self.control_port)}
        here |= {"superlink:9093": self.address, "9094": str(free_port())}
        return [here.get(word, word) for word in words]

    @property
    def address(self):
        """For nodes."""
        return f"127.0.0.1:{self.port}"

    @property
    def control(self):
        """For runs."""
        return f"127.0.0.1:{self.control_port}"

    def start(self, name, service="", **changes):
        """Start a service, under a name of its own."""
        self.spawn(name, *self.command(service or name, **changes))

    def spawn(self, name, *words):
        """Start `privet` with these words."""
        with self.log_path(name).open("ab") as out:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "server", *words],
                env=self.environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def run(self, *words):
        """`privet` with these words, to its end; (exit status, all it said)."""
        done = subprocess.run(
            [sys.executable, "-m", "server", *words],
            env=self.environment, capture_output=True, text=True, check=False,
            timeout=2 * PATIENCE_S, cwd=self.home,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def ended(self, name):
        """The exit status of what was spawned, when it has ended."""
        return self.running[name].wait(2 * PATIENCE_S)

    def kill(self, name):
        """kill -9 of a process and of all in its session."""
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log_path(self, name):
        return self.home / f"{name}.log"

    def log(self, name):
        path = self.log_path(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, name, text, count=1):
        wait_for(f"{text!r} in {name}.log", lambda: self.log(name).count(text) >= count)
