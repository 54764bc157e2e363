"""C for a microcontroller: a run's perceptron, and its private step under the run's budget."""

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from attacks.audit.claim import Check
from clients.boards.fronts import front_in_c, read_of
from clients.boards.jobs import require_c, scale_of, whole
from clients.boards.nets import net_of, own_answers, words_of
from clients.chip import load_chip
from clients.chip.hardware import Chip
from clients.data.sets import load
from clients.firmware.answers import Answered, check_answers
from clients.firmware.budget import Part, count, drawn_from
from clients.firmware.check import STEPS, Found, check, simulate
from clients.firmware.compiling import missing, require_library
from clients.firmware.contract import FLAGS, Contract, agree
from clients.firmware.fitting import (
    Room,
    needed_by,
    require_answers_fit,
    require_fit,
    require_plan_fit,
)
from clients.firmware.front.check import Turned, check_front
from clients.firmware.front.made import Front, front_vectors, require_front_fits, told_of
from clients.firmware.net import Dense, Records
from clients.firmware.numbers.device import device_of
from clients.firmware.qemu import Seen, not_installed, see
from clients.firmware.sources import C, sources
from clients.models import form_behind
from clients.training.net import build, fill
from clients.training.records import records as records_of
from clients.training.smaller.compact import compact
from privacy.documents import to_json
from privacy.errors import ModelError, RunError, SettingsError
from server.experiment.experiment import Experiment
from server.export.answers import calm
from server.export.heard import heard
from server.export.narrower import narrower
from server.run.directory import Run

VECTORS, VECTOR_STEPS = 64, 20
ASKED, TURNED = 1000, 8  # records that a check reads, and that its front turns


@dataclass(frozen=True)
class Board:
    """A run, as a board is to have it.

    Attributes:
        library: CMSIS-NN's folder, where its kernels compute answers.
        records: of the run's first device: whole inputs and labels. `asked`: test inputs, and
            `own`, what the run itself says of them.
        front: what stands before the net. `raw`: test records before it, and `read`, what the run
            itself reads of them.
    """

    contract: Contract
    layers: tuple[Dense, ...]
    records: Records
    asked: NDArray[np.int16]
    own: NDArray[np.int64]
    chip: str
    there: Room
    library: Path | None = None
    front: Front | None = None
    raw: NDArray[Any] | None = None
    read: NDArray[np.float16] | None = None

    def sources(self, answers: bool = False) -> dict[str, str]:
        """The C; or of answers alone."""
        about = (self.contract, self.layers)
        return sources(*about, answers=answers, library=self.library, front=self.front)

    def check_front(self) -> list[Turned]:
        """Compile it, and compare it with its definition and with what the run read."""
        if self.front is None or self.raw is None or self.read is None:
            return []
        made = self.sources(answers=True)
        return check_front(made, self.contract, self.front, self.raw, self.read)

    def check_answers(self) -> list[Answered]:
        """Compile answers alone, and compare them."""
        made = self.sources(answers=True)
        about = (self.contract, self.layers, self.asked, self.own)
        return check_answers(made, *about, library=self.library)

    def audit(self) -> list[Check]:
        """Compile and run it before the auditor."""
        longer = replace(self.contract, most_steps=max(self.contract.most_steps, STEPS))
        return heard(sources(longer, self.layers), longer, self.records)

    def count(self, core: str) -> tuple[int, tuple[Part, ...]]:
        """A step of some records on an emulated core: their number, and what each part took.

        They are drawn from few; of a board's own step, they are from all.
        """
        records, parts = count(self.sources(), self.contract, self.records, core)
        of_all = len(self.records[1]) / drawn_from(self.contract, self.records)
        return records, tuple(part.times(of_all if part.phase == "sample" else 1) for part in parts)

    def check(self) -> tuple[list[Found], list[Seen]]:
        """Compile, run and compare, on the run's own records; a shorter limit is lifted for it.

        Returns:
            Of the cores that are counted, and of that which QEMU has, where it is installed.
        """
        longer = replace(self.contract, most_steps=max(self.contract.most_steps, STEPS))
        made = sources(longer, self.layers)
        truth = simulate(longer, self.layers, self.records, self.asked)
        about = (made, longer, self.layers, self.records, self.asked, self.own)
        found = check(*about, truth=truth)
        return found, [] if not_installed() else [see(made, longer, truth, self.asked)]


def board_of(run: Run, chip_name: str, answers: bool = False, library: Path | None = None) -> Board:
    """What is exported of a run, refused before anything is written.

    Args:
        answers: alone, without a private step. `library`: whose kernels compute them.

    Raises:
        ModelError: a layer has no C, or it does not fit into the chip.
        SettingsError: the chip is no microcontroller, or the run has no promise to keep on one.
        RunError: no round is done.
    """
    chip, experiment = load_chip(chip_name), run.experiment
    there = _room(chip, chip_name)
    budget, training = experiment.budget, experiment.training
    dataset = load(experiment.data)
    form = dataset.form
    require_c(experiment, str(run.path))
    front = front_in_c(experiment.model, dataset)
    shape = form_behind(experiment.model, form).shape
    assert budget.noise_multiplier
    small = experiment.pruning.structured == "filters"  # and what was pruned is not there
    if experiment.pruning.final and not small and not answers:
        raise ModelError(
            f"{run.path}: [pruning] {experiment.pruning.told}: a step in C would train zeros "
            "again; export --answers alone, or use structured = 'filters', for a smaller net"
        )
    if not (last := len(run.rounds)):
        raise RunError(f"{run.path}: no round is done; go on with: privet resume {run.path.name}")
    run.require_same_data()
    train, test = records_of(experiment.data, experiment.model)
    model = build(experiment.model, form, calm(experiment).arithmetic, experiment.pruning)
    numbers = words_of(experiment.arithmetic)
    net_of(model, experiment.arithmetic, shape)
    fill(model, run.weights(last))
    smaller = compact(model)
    if not answers:
        _require_no_zeros(experiment, smaller, str(run.path))
    plan, layers = net_of(smaller, experiment.arithmetic, shape)
    steps = experiment.federation.rounds * training.local_steps
    less = partial(narrower, experiment, form)
    if answers:
        if library is not None:
            require_library(plan is not None, numbers)
        by_library = library is not None
        require_answers_fit(layers, plan, numbers, chip_name, there, less, by_library)
    elif plan is None:
        require_fit(layers, steps, chip_name, there, numbers)
    else:
        require_plan_fit(plan, steps, chip_name, there, less, numbers)
    if front is not None:
        need = needed_by(layers, plan, steps, numbers, answers)
        require_front_fits(front, need, chip_name, there)
    scale = scale_of(train, plan is not None)
    mine = run.manifest.members(0)
    contract = agree(
        layers,
        scale=scale,
        noise_multiplier=budget.noise_multiplier,
        clip=budget.clip,
        learning_rate=training.learning_rate,
        sample_rate=training.sample_rate,
        num_records=experiment.data.nominal_records or len(mine),
        steps=steps,
        epsilon=budget.epsilon,
        delta=budget.delta,
        numbers=numbers,
        plan=plan,
    )
    inputs, labels = whole(train, mine, scale), train.y.numpy()[mine].astype(np.uint8)
    num = min(ASKED, len(test))
    asked = whole(test, np.arange(num), scale)
    own = own_answers(model, test, num) if num else np.zeros(0, np.int64)
    about = Board(contract, layers, (inputs, labels), asked, own, chip_name, there, library)
    if front is None:
        return about
    raw = np.asarray(dataset.test_x[:TURNED])
    read = read_of(experiment.model, dataset, raw) if len(raw) else None
    return replace(about, front=front, raw=raw, read=read)


def _require_no_zeros(experiment: Experiment, smaller: nn.Module, name: str) -> None:
    """Refuse what has pruned weights still when it is as small as it can be.

    Raises:
        ModelError: it has.
    """
    weights = {key: tensor.numpy() for key, tensor in smaller.state_dict().items()}
    kept = experiment.pruning.masks(weights)
    if left := [key for key, mask in kept.items() if not mask.all()]:
        raise ModelError(
            f"{name}: [pruning] {experiment.pruning.told}: {left[0]} keeps its shape beside a "
            "shortcut, before a norm or in words, and a step in C would train its zeros again; "
            "export --answers alone, or use a perceptron or convnet of floats"
        )


def write(
    board: Board,
    folder: Path,
    found: Sequence[Found],
    checks: Sequence[Check],
    seen: Sequence[Seen] = (),
    turned: Sequence[Turned] = (),
) -> None:
    """Write the export: whole, or not at all.

    Args:
        found, seen, checks, turned: by `board.check`, `audit` and `check_front`; empty if they
            were not made.

    Raises:
        RunError: the folder exists, or cannot be written.
    """
    key, records = public_records(board.contract)
    vectors, hashes = _vectors(board, key, records)
    contract = {
        **board.contract.as_dict(),
        "id": board.contract.id.hex(),
        "flags": list(FLAGS),
        "vectors": {"steps": VECTOR_STEPS, "records": VECTORS, "weights_sha256": hashes},
    }
    texts = board.sources() | {
        "README.md": (C / "README.md").read_text(),
        "contract.json": to_json(contract, indent=1) + "\n",
        "budget.json": to_json(_budget(board, found, checks, seen, turned), indent=1) + "\n",
    }
    files = {**{k: v.encode() for k, v in texts.items()}, "vectors.bin": vectors}
    write_folder(files | front_vectors(board.front, board.contract.scale), folder)


def write_folder(files: dict[str, bytes], folder: Path) -> None:
    """Files by name: all of them, or none."""
    if folder.exists():
        raise RunError(f"{folder}: exists; name a new folder with -o")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
        part.rename(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_tools() -> None:
    """Raises SettingsError: the extra `firmware` is not installed."""
    if lacking := missing():
        raise SettingsError(
            f"the emulator: needs {' and '.join(lacking)}; pip install 'privet[firmware]', or "
            "leave it out"
        )


def _budget(
    board: Board,
    found: Sequence[Found],
    checks: Sequence[Check],
    seen: Sequence[Seen],
    turned: Sequence[Turned],
) -> dict[str, Any]:
    contract, steps = board.contract, board.contract.most_steps
    need = needed_by(board.layers, contract.plan, steps, contract.numbers)
    return {
        "chip": board.chip,
        "there": board.there._asdict(),
        "planned": need._asdict(),
        "verified": "on emulated targets" if found else "not verified on the target",
        "measured": [one.as_dict() for one in found],
        "seen": [one.as_dict() for one in seen],
        "audit": [asdict(one) for one in checks],
        **told_of(board.front, [one.as_dict() for one in turned]),
    }


def _room(chip: Chip, name: str) -> Room:
    if chip.microcontroller is None:
        raise SettingsError(
            f"--chip {name}: no microcontroller; take stm32h743, stm32l4r5, or a file of yours "
            "with dataflow = 'microcontroller'"
        )
    return Room(chip.memory.buffer_bytes, chip.memory.dram_bytes)


def public_records(contract: Contract) -> tuple[NDArray[np.uint32], Records]:
    """A key and records for vectors.bin that are nobody's."""
    dice = np.random.default_rng(int.from_bytes(contract.id[:8], "big"))
    inputs = dice.integers(0, contract.scale + 1, (VECTORS, contract.sizes[0])).astype(np.int16)
    labels = dice.integers(0, contract.sizes[-1], VECTORS).astype(np.uint8)
    return dice.integers(0, 1 << 32, 8).astype(np.uint32), (inputs, labels)


def _vectors(board: Board, key: NDArray[np.uint32], records: Records) -> tuple[bytes, list[str]]:
    """Key, each record's inputs and label, weights after the last step; hashes after each."""
    device, hashes = device_of(board.contract, board.layers, key, records), []
    parts = [key.astype("<u4").tobytes()]
    parts += [x.astype("<i2").tobytes() + bytes([y]) for x, y in zip(*records, strict=True)]
    for _ in range(min(VECTOR_STEPS, board.contract.most_steps)):
        device.step()
        parts.append(device.raw.astype("<u4").tobytes())
        hashes.append(hashlib.sha256(parts[-1]).hexdigest())
    return b"".join([*parts[: 1 + VECTORS], parts[-1]]), hashes
