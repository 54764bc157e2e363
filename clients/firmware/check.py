"""Is the C the simulation? Private steps in the emulator, bit by bit, and what they cost."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.budget import Part, cycles_of, must, parts_of, started
from clients.firmware.compiling import TARGETS, build
from clients.firmware.contract import FLAGS, Contract
from clients.firmware.counting import Tallies, together
from clients.firmware.emulator import KEY, Board, PowerCut
from clients.firmware.net import Dense, Records
from clients.firmware.numbers.device import device_of
from privacy.errors import PrivetError

STEPS = 100
CUTS = 50
MOST_PRODUCTS, LEAST_BATCH = 1e8, 2  # of the forward pass, in all steps together
ASKED = 1000
PRIVACY = ("clip", "noise_update", "noise_slow", "stream_block", "sample")
LEDGER = ("digest", "link", "append", "ledger_spend", "memcpy", "stream_begin")
ROUNDING = ("project", "round_record", "inputs_of", "kernel_of")  # to words, and from packed ones
LAYERS = (
    "dot", "convolved", "passed_back", "elements", "readers", "outputs_of", "convolve",
    "convolve_back", "normalise", "normalise_back", "pool", "pool_back", "add",
    "recur", "recur_back", "unit", "gates_back", "through",
    "forward_layer", "backward_layer", "accumulate_layer", "round_back",
)  # fmt: skip
VISITS = (
    "visit_convolution",
    "visit_norm",
    "visit_recurrent",
    "visited",
    "gradient",
)  # once to learn, once to clip
LEARNING = (*LAYERS, *VISITS, "forward", "products", "backward", *ROUNDING)
SPENT, NOT_OPEN = 1, 3  # as in ledger.h


@dataclass(frozen=True)
class Found:
    """On one target.

    Attributes:
        steps: with the same bits; `differs_at`: the first without, 0 if there is none.
        instructions: of one step, by phase. `batch`: records in it.
        cycles: of that step, least and most. `parts`: phase by phase and layer by layer.
        ram_bytes: static and the deepest stack. `flash_bytes`: code, tables and initial weights.
        answers: test records that board and simulation class alike, of `asked`; `own`: and the run
            itself.
        cuts: power cuts after which no step number came twice.
    """

    target: str
    steps: int
    differs_at: int
    batch: int
    instructions: dict[str, int]
    cycles: tuple[int, int]
    ram_bytes: int
    flash_bytes: int
    asked: int
    answers: int
    own: int
    cuts: int
    parts: tuple[Part, ...]
    flags: tuple[str, ...] = field(default=FLAGS)

    @property
    def privacy_share(self) -> float:
        """Of a step's instructions: clip, noise, sampling and ledger."""
        learning = sum(self.instructions.get(name, 0) for name in LEARNING)
        visits = sum(self.instructions.get(name, 0) for name in VISITS)
        return 1 - (learning - visits / 2) / sum(self.instructions.values())

    @property
    def passed(self) -> bool:
        """Did all agree?"""
        return not self.differs_at and self.answers == self.asked

    def as_dict(self) -> dict[str, Any]:
        """For budget.json."""
        return {**asdict(self), "privacy_share": self.privacy_share, "passed": self.passed}


class Truth(NamedTuple):
    """What a simulated board did: its records, all weights after each step, classes before."""

    records: Records
    raw: list[NDArray[np.uint32]]
    answers: NDArray[np.int64]


def check(
    sources: dict[str, str],
    contract: Contract,
    layers: tuple[Dense, ...],
    records: Records,
    asked: NDArray[np.int16],
    own: NDArray[np.int64],
    *,
    steps: int = STEPS,
    cuts: int = CUTS,
    targets: tuple[str, ...] = tuple(TARGETS),
    flags: tuple[str, ...] = FLAGS,
    truth: Truth | None = None,
) -> list[Found]:
    """Compile for each target and compare with the simulation.

    Args:
        sources: as `clients.firmware.sources` made them, or sabotaged.
        records: the board's own. `asked`: inputs [N, inputs] that it is to class; `own`: the
            classes that the run itself gives them.
        truth: of the same, where it was simulated before.
    """
    truth = truth or simulate(contract, layers, records, asked, steps)
    everyone, records, steps, answers = records, truth.records, len(truth.raw), truth.answers
    found = []
    for target in targets:
        with TemporaryDirectory(prefix="privet-firmware-") as scratch:
            folder = Path(scratch)
            for name, text in sources.items():
                (folder / name).write_text(text)
            program = build(folder, target, flags)

            board, differs = started(program, target, contract, records), 0
            for number in range(1, steps + 1):
                must(board.call("privet_step", len(records[1])), "privet_step")
                if not np.array_equal(board.raw, truth.raw[number - 1]):
                    differs = number
                    break
            fresh = started(program, target, contract, records)
            said = np.array([fresh.predict(x) for x in asked], np.int64)
            counted = started(program, target, contract, everyone, counted=True)
            counted.call("privet_step", len(everyone[1]))
            tallies = counted.counted()
            found.append(
                Found(
                    target=target,
                    steps=differs - 1 if differs else steps,
                    differs_at=differs,
                    batch=counted.reads,
                    instructions=_phases(tallies),
                    cycles=cycles_of(target, together(tallies.values())),
                    ram_bytes=board.static_bytes + board.stack_bytes,
                    flash_bytes=board.flash_bytes,
                    asked=len(asked),
                    answers=int((said == answers).sum()),
                    own=int((said == own).sum()),
                    cuts=survived(program, target, contract, records, cuts),
                    parts=parts_of(target, tallies),
                    flags=flags,
                )
            )
    return found


def simulate(
    contract: Contract,
    layers: tuple[Dense, ...],
    records: Records,
    asked: NDArray[np.int16],
    steps: int = STEPS,
) -> Truth:
    """The steps in numpy, on so many records that they can be emulated in a minute or two."""
    steps = min(steps, contract.most_steps)
    records = _few(contract, steps, records)
    device = device_of(contract, layers, KEY, records)
    answers, raw = device.predict(asked), []
    for _ in range(steps):
        device.step()
        raw.append(device.raw)
    return Truth(records, raw, answers)


def _few(contract: Contract, steps: int, records: Records) -> Records:
    """The first of the records, so many that all steps are emulated in a minute or two."""
    batch = MOST_PRODUCTS / (steps * contract.num_products)
    num = math.ceil(max(batch, LEAST_BATCH) / (contract.sample_rate / 2**32))
    return records[0][:num], records[1][:num]


def survived(program: Path, target: str, contract: Contract, records: Records, cuts: int) -> int:
    """Cut the power at random points, again and again, on one board's flash.

    Returns:
        The cuts that were survived: no number of a step was begun in two lives.

    Raises:
        PrivetError: one was, or the board would not start again.
    """
    dice, used = np.random.default_rng(0), set[int]()
    board = Board(program, target, contract, KEY, records)
    for cut in range(cuts):
        torn = int(dice.integers(0, 4)) if cut % 2 else None
        after = 0 if cut % 2 else round(10 ** dice.uniform(0, 5))
        status, where = 0, int(dice.integers(0, 2))
        try:
            for name in ("privet_open", "privet_begin", "privet_open", "privet_step"):
                if name == "privet_begin" and status != NOT_OPEN:
                    continue
                here = where or name == "privet_step"
                status = board.call(name, 0, after=here and after, torn=torn if here else None)
                if status not in (0, SPENT, NOT_OPEN):
                    raise PrivetError(f"{name} after {cut} power cuts: status {status}")
        except PowerCut:
            pass
        if twice := used & board.begun:
            raise PrivetError(f"step {min(twice)} was begun in two lives of a board")
        used |= board.begun
        board = Board(program, target, contract, KEY, records, flash=board.flash)
        if status == SPENT:
            return cut + 1
    return cuts


def _phases(tallies: Tallies) -> dict[str, int]:
    """Instructions by function, all of the ledger together."""
    counted: Counter[str] = Counter()
    for (name, _), tally in tallies.items():
        counted[name] += tally.instructions
    named = {name: counted[name] for name in (*LEARNING, *PRIVACY) if counted[name]}
    named["ledger"] = sum(counted[name] for name in LEDGER)
    named["rest"] = sum(counted.values()) - sum(named.values())
    return named
