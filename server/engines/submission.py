"""A run handed to a Flower SuperLink: submitted, followed, stopped, with Flower's own command line.

What is submitted is a bundle of a few lines that names the apps: the code which runs, on the
SuperLink's machine and on the devices, is the privet installed there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomli_w

from privacy.documents import to_json
from privacy.errors import FederationFailed, RunError
from server.console import observer
from server.experiment.experiment import Federation
from server.run.directory import Run

CONNECTION = "privet"
POLL_S = 0.2
SUBMIT_S = 120.0  # for `flwr` itself: it imports much
END_S = 60.0  # for a finished run's last record to be on disk

BUNDLE: dict[str, Any] = {
    "project": {
        "name": "privet",
        "version": "0.1.0",
        "description": "privet, as it is installed",
        "license": "MIT",
    },
    "tool": {
        "flwr": {
            "app": {
                "publisher": "privet",
                "components": {"serverapp": "bundle:server", "clientapp": "bundle:client"},
                "config": {"run": "", "runs": "", "experiment": "", "set": ""},
            }
        }
    },
}
APPS = (
    "import clients.node.app\nimport server.engines.app\n\n"
    "client = clients.node.app.app\nserver = server.engines.app.app\n"
)


def bundle_files() -> dict[str, bytes]:
    """What a bundle is made of, by name."""
    return {"pyproject.toml": tomli_w.dumps(BUNDLE).encode(), "bundle.py": APPS.encode()}


class Submission:
    """A run on a SuperLink.

    Args:
        run: its directory must be seen by the SuperLink's machine under the same path.
        home: a private Flower home, which tells Flower's command line of the SuperLink.
    """

    def __init__(self, run: Run, home: Path, federation: Federation) -> None:
        self.run, self.home, self.federation = run, home, federation
        self.environment = flower_environment(home)
        self.run_id = ""

    def submit(self, *options: str) -> None:
        """Hand the run over.

        Raises:
            FederationFailed: the SuperLink cannot be reached, or does not take it.
        """
        link: dict[str, Any] = {"address": self.federation.address}
        if self.federation.root_certificates:
            link["root-certificates"] = str(Path(self.federation.root_certificates).resolve())
        else:
            link["insecure"] = True
        config = {"superlink": {"default": CONNECTION, CONNECTION: link}}
        (self.home / "config.toml").write_text(tomli_w.dumps(config))
        bundle = self.home / "bundle"
        bundle.mkdir(exist_ok=True)
        for name, content in bundle_files().items():
            (bundle / name).write_bytes(content)
        named = f"run={to_json(str(self.run.path.resolve()))}"
        command = ["run", str(bundle), CONNECTION, "--run-config", named, *options]
        answer = self._ask(command)
        if not answer.get("run-id"):
            reason = str(answer.get("error-message") or answer.get("error") or "no answer").strip()
            reason = reason.splitlines()[-1].strip(" .")
            address = self.federation.address
            raise FederationFailed(
                f"the SuperLink at {address} does not take the run: {reason}; "
                f"when it does: privet resume {self.run.path.name}"
            )
        self.run_id = str(answer["run-id"])

    def follow(self) -> None:
        """Show the rounds as they come, until the run's end.

        Raises:
            FederationFailed: it ended before its last round; says why, as far as it is known.
        """
        last = self.run.experiment.federation.rounds
        shown, size = len(self.run.rounds), -1
        with self._log() as log, observer(self.run) as observe:
            while True:
                ended = log.poll() is not None  # looked at before the file, which may yet grow
                now = (self.run.path / "rounds.jsonl").stat().st_size
                if now != size:
                    size = now
                    with suppress(RunError):  # a line that is being written
                        for record in self.run.rounds[shown:]:
                            observe(record)
                            shown = record.round
                if shown == last:
                    break
                if ended:
                    raise FederationFailed(self._why())
                time.sleep(POLL_S)
            with suppress(subprocess.TimeoutExpired):
                log.wait(END_S)

    def stop(self) -> None:
        """Ask the SuperLink to stop the run."""
        if self.run_id:
            self._ask(["stop", self.run_id, CONNECTION])

    @contextmanager
    def _log(self) -> Iterator[subprocess.Popen[bytes]]:
        """Flower's stream of the run's log: it ends with the run."""
        process = subprocess.Popen(
            [_program("flwr"), "log", self.run_id, CONNECTION, "--stream"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _why(self) -> str:
        """What the run's own log, or else the SuperLink, says of a run that ended too soon."""
        resume = f"go on with: privet resume {self.run.path.name}"
        answer = self._ask(["list", "--run-id", self.run_id, CONNECTION])
        runs = answer.get("runs") or [{}]
        status = str(runs[0].get("status", ""))
        if not status:
            return f"the SuperLink at {self.federation.address} is gone; {resume}"
        lines = [""]
        with suppress(OSError):
            lines += self.run.log_path.read_text(encoding="utf-8").splitlines()
        if " stopped: " in lines[-1]:
            return f"{lines[-1].partition(' stopped: ')[2]}; {resume}"
        return (
            f"the run ended ({status}) and left no word in {self.run.log_path}: the SuperLink's "
            f"machine must see the folder of runs under the same path, and have privet; {resume}"
        )

    def _ask(self, command: list[str]) -> dict[str, Any]:
        """One call of `flwr`: its JSON; empty if there is none."""
        try:
            done = subprocess.run(
                [_program("flwr"), *command, "--format", "json"],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=SUBMIT_S,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"`flwr {command[0]}` did not end in {SUBMIT_S:.0f} s"}
        try:
            return dict(json.loads(done.stdout[done.stdout.index("{") :]))
        except ValueError:
            text = (done.stderr or done.stdout).strip().splitlines()
            return {"error": text[-1] if text else ""}


@contextmanager
def private_home() -> Iterator[Path]:
    """A Flower home for one submission; what was started from it is ended with it."""
    home = Path(tempfile.mkdtemp(prefix="privet-flower-"))
    try:
        yield home
    finally:
        _end_marked(f"FLWR_HOME={home}")
        shutil.rmtree(home, ignore_errors=True)


def flower_environment(home: Path | None = None) -> dict[str, str]:
    """Flower's programs installs nothing, tells nobody, and find each other and privet."""
    environment = {
        **os.environ,
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
    }
    return environment | ({"FLWR_HOME": str(home)} if home else {})


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _end_marked(mark: str) -> None:
    """End the processes that have `mark` in their environment: Ray and Flower detach theirs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (process / "environ").read_bytes().split(b"\0")
            if marked and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
