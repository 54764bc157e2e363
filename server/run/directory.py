"""Run: the directory. The only place that knows file names.

experiment.toml           every setting, resolved; the first file. environment.json: the machine
manifest.safetensors      owner of each training record, and whether it was held out
rounds.jsonl              one RoundRecord a line; a round is done when its line is there
rounds/NNN.safetensors    global weights after round NNN; 000: initial ones
rounds/NNN.strategy.safetensors   what the strategy remembers, if it does
rounds/NNN.noise.safetensors      with bands, until the run is done (federation.noises)
rounds/NNN/CCCC.safetensors       with [record] updates: what client CCCC released
draws.jsonl               whose secure noise was drawn, noted before it is (server.run.draws)
ledgers.json, test.json   what each client's data have spent; what is reached (server.run.merit)
cost.json, inference.json what a round costs on chips; encrypted inference, scheme by scheme
leakage.json              what the attacks found; attack/ keeps their stages and pictures
audit.json, stopped.json  does the mechanism do what it claims? In which round training diverged
origin.txt, log.txt       the mark of who made it (server.run.origin); Flower's log and ours
model.py, extracted.json  the user's own model; whole.toml, too: of a net that was cut out
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from clients.data.dataset import Partition
from privacy.documents import from_json, to_json
from privacy.dp.ledger import Ledger
from privacy.errors import RunError
from privacy.files import MOST_NAME_BYTES, held, is_file, open_own, write_atomically
from server.experiment.experiment import Experiment
from server.experiment.lessons import settings_of_run
from server.run import origin
from server.run.environment import describe
from server.run.names import age, names_of, settle
from server.run.names import runs_folder as runs_folder
from server.run.rounds import RoundRecord, ledgers_after

Weights = dict[str, NDArray]


class Run:
    """A run directory, open for reading, or (through `append`) for the next round."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # ---- making and finding
    @classmethod
    def create(cls, experiment: Experiment, weights: Weights, runs: Path, name: str = "") -> "Run":
        """Make a run directory, whole or not at all.

        Args:
            experiment: resolved.
            weights: initial global weights.
            runs: the folder of runs.
            name: of the directory; by default the title and the time.

        Raises:
            RunError: it exists, is no name for a folder, or `runs` cannot be written to.
        """
        next(names_of(experiment.title, name))
        if name and (runs / name).exists():
            raise RunError(f"{runs / name}: exists; resume it, or choose another --name")
        part = runs / f".{secrets.token_hex(8)}.part"
        try:
            (part / "rounds").mkdir(parents=True)
            draft = cls(part)
            draft._write("experiment.toml", settings := experiment.to_toml().encode())
            draft._write(origin.NAME, origin.mark(settings))
            origin.keep_model(part, experiment.model)
            draft._write("environment.json", to_json(describe(experiment), indent=1).encode())
            draft._write_manifest(experiment)
            draft._write("rounds/000.safetensors", save(weights))
            (part / "rounds.jsonl").touch()
            return cls(settle(part, runs, experiment.title, name))
        except OSError as error:
            raise RunError(f"{runs}: cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open an existing run.

        Raises:
            RunError: not a run directory, or one with a link in it.
        """
        run = cls(Path(path))
        if not is_file(run.path / "experiment.toml"):
            raise RunError(f"{str(path)[:MOST_NAME_BYTES]}: not a run directory; see: privet list")
        origin.refuse_links(run.path)
        return run

    def _write_manifest(self, experiment: Experiment) -> None:
        from clients.data.partitions import partition
        from clients.data.sets import load, told_of_labels

        dataset = load(experiment.data)
        manifest = partition(experiment.data, experiment.federation.clients, experiment.seed)
        about = {"dataset": dataset.name, "sha256": dataset.sha256}
        about["test_records"] = str(len(dataset.test_y))
        about["most_of_a_person"] = str(manifest.most_of(dataset.train_person))
        about["labels"] = told_of_labels(experiment.data, dataset)
        arrays: Weights = {"owner": manifest.owner, "held_out": manifest.held_out.astype(np.uint8)}
        self._write("manifest.safetensors", save(arrays, metadata=about))

    # ---- reading
    @cached_property
    def experiment(self) -> Experiment:
        """Every setting of the run."""
        path = self.path / "experiment.toml"
        experiment = settings_of_run(path)
        origin.expect_model(self.path, experiment.model)
        return experiment

    @property
    def environment(self) -> dict[str, Any]:
        """Machine, versions and command."""
        return self.kept("environment.json")

    @cached_property
    def identity(self) -> str:
        """What devices know the run by: no other has it, not even under the same name."""
        parts = (self.path / "experiment.toml", self.path / "environment.json")
        content = "\0".join([self.path.name, *map(origin.read_document, parts)])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> Partition:
        """Members and non-members: which client owned each training record."""
        arrays = self._load("manifest.safetensors")
        return Partition(arrays["owner"], arrays["held_out"].astype(bool))

    @property
    def data_told(self) -> dict[str, str]:
        """What the manifest says: dataset, sha256, test_records, ...; raises RunError."""
        path = self.path / "manifest.safetensors"
        try:
            with origin.opened(path), safe_open(path, framework="numpy") as manifest:
                return dict(manifest.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from None

    def require_same_data(self) -> None:
        """Refuse to go on with other data than the run began with.

        Raises:
            RunError: the data set has changed since, or the manifest is damaged.
        """
        from clients.data.sets import load

        path, began_with = self.path / "manifest.safetensors", self.data_told.get("sha256", "")
        dataset = load(self.experiment.data)
        if dataset.sha256 != began_with:
            raise RunError(
                f"{path}: {dataset.name} has SHA-256 {dataset.sha256[:12]}..., the run began with "
                f"{began_with[:12]}...; bring those data back, or start a new run"
            )

    @property
    def rounds(self) -> list[RoundRecord]:
        """The rounds that are done.

        Raises:
            RunError: a line is not a whole record, or out of order.
        """
        path = self.path / "rounds.jsonl"
        try:
            text = origin.read_document(path)
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from None
        records = []
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            remedy = f"remove line {number} and those after it, and resume: they are computed again"
            try:
                record = RoundRecord.from_json(line)
            except (TypeError, ValueError, KeyError, AttributeError):
                raise RunError(f"{path}: line {number} is not a whole record; {remedy}") from None
            if record.round != number or not line.endswith("\n"):
                raise RunError(f"{path}: line {number} is cut short or out of order; {remedy}")
            records.append(record)
        return records

    def weights(self, round_number: int) -> Weights:
        """Global weights after a round; 0 is the start; raises RunError."""
        return self._load(f"rounds/{round_number:03d}.safetensors")

    def strategy_state(self, round_number: int) -> Weights:
        """What the strategy remembers after a round; empty if it has no memory."""
        name = f"rounds/{round_number:03d}.strategy.safetensors"
        return self._load(name) if (self.path / name).exists() else {}

    def update(self, round_number: int, client: int) -> Weights:
        """What a client released in a round, if `[record] updates` kept it."""
        return self._load(f"rounds/{round_number:03d}/{client:04d}.safetensors")

    @property
    def ledgers(self) -> dict[int, Ledger]:
        """What each client's data have spent: the last word of rounds.jsonl."""
        return ledgers_after(self.rounds)

    @property
    def leakage(self) -> dict[str, Any]:
        """What `privet attack` found; empty before."""
        return self.kept("leakage.json")

    @property
    def audit(self) -> dict[str, Any]:
        """What `privet audit` found; empty before."""
        return self.kept("audit.json")

    @property
    def inference(self) -> dict[str, Any]:
        """What `privet infer` measured last, by scheme; empty before."""
        return self.kept("inference.json")

    def kept(self, name: str) -> dict[str, Any]:
        """A JSON document of the run; empty if it is not there, or not whole."""
        try:
            return dict(from_json(origin.read_document(self.path / name)))
        except (OSError, ValueError, TypeError):
            return {}

    def _load(self, name: str) -> Weights:
        path = self.path / name
        try:
            return origin.read_arrays(path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = "not there" if isinstance(error, FileNotFoundError) else "damaged or cut short"
            raise RunError(
                f"{path}: {reason}; remove its line and those after it from rounds.jsonl, and "
                "resume: they are computed again"
            ) from None

    # ---- writing
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; clean up what a killed process left half-written.

        Raises:
            RunError: another process holds it, or it cannot be written to.
        """
        with held(self.path, "run"):
            for part in [*self.path.glob(".*.part"), *self.path.glob("rounds/**/.*.part")]:
                part.unlink(missing_ok=True)
            yield

    def save_update(self, round_number: int, client: int, arrays: Weights) -> None:
        """Keep what a client released."""
        self._write(f"rounds/{round_number:03d}/{client:04d}.safetensors", save(arrays))

    def append(self, record: RoundRecord, weights: Weights, strategy_state: Weights) -> None:
        """Write a round. Its line in rounds.jsonl comes last: with it the round is done."""
        stem = f"rounds/{record.round:03d}"
        self._write(f"{stem}.safetensors", save(weights))
        if strategy_state:
            self._write(f"{stem}.strategy.safetensors", save(strategy_state))
        path = self.path / "rounds.jsonl"
        length = path.stat().st_size
        try:
            with os.fdopen(open_own(path, os.O_APPEND), "ab") as file:
                file.write((record.to_json() + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, length)  # a line cut short would stop the run from being read
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None

    def save_ledgers(self, ledgers: dict[int, Ledger]) -> None:
        """Write the view of all ledgers."""
        entries = {str(client): from_json(x.to_json()) for client, x in sorted(ledgers.items())}
        self._write("ledgers.json", to_json(entries).encode())

    def save_costs(self, reports: list[dict[str, Any]]) -> None:
        """Keep what the run costs on some chips."""
        self._write("cost.json", to_json(reports, indent=1).encode())

    @property
    def costs(self) -> list[dict[str, Any]]:
        """What `privet cost` found last: a report a chip."""
        try:
            return list(from_json(origin.read_document(self.path / "cost.json")))
        except (OSError, ValueError, TypeError):
            return []

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Write a JSON document into the run."""
        self._write(name, to_json(found, indent=1).encode())

    def keep_bytes(self, name: str, content: bytes) -> None:
        """Write a picture into the run."""
        self._write(name, content)

    @property
    def log_path(self) -> Path:
        """Where Flower's log and ours go."""
        return self.path / "log.txt"

    def _write(self, name: str, content: bytes) -> None:
        with write_atomically(self.path / name) as file:
            file.write(content)


def list_runs(runs: Path) -> list[Run]:
    """All runs in a folder, oldest first, by the instant at which they were made."""
    found = [Run(path.parent) for path in runs.glob("[!.]*/experiment.toml")]
    return sorted(found, key=lambda run: age(run.environment, run.path.name))


def find_run(name: str, runs: Path) -> Run:
    """A run by its path, its name in the folder of runs, or `latest`.

    Raises:
        RunError: there is none.
    """
    if name == "latest":
        if not (found := list_runs(runs)):
            raise RunError(f"{runs}: no runs yet; start one with: privet run tiny")
        return Run.open(found[-1].path)
    return Run.open(runs / name if is_file(runs / name / "experiment.toml") else name)
