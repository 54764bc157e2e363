"""The C against its definition, on the host and in the emulator; and what must not pass."""

import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from oracles import clipped_sum

from clients.firmware.check import KEY, check, survived
from clients.firmware.compiling import build, missing
from clients.firmware.contract import FLAGS, agree
from clients.firmware.emulator import Board, PowerCut
from clients.firmware.fitting import Room, require_fit
from clients.firmware.net import Dense, Words
from clients.firmware.numbers.floats import Device, observed_sensitivity, summed
from clients.firmware.sources import COMPILED, SERIAL, sources
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import ModelError, PrivetError

needs_tools = pytest.mark.skipif(
    bool(missing()), reason="not verified on the target: pip install 'privet[firmware]'"
)
SIZES = (22, 7, 5, 4)  # no multiple of four lanes
NUM = 300
DICE = np.random.default_rng(3)
LAYERS = tuple(
    Dense(
        DICE.normal(0, (2 / i) ** 0.5, (o, i)).astype(np.float32),
        DICE.normal(0, 0.1, o).astype(np.float32),
    )
    for i, o in pairwise(SIZES)
)
RECORDS = (
    DICE.integers(0, 256, (NUM, SIZES[0])).astype(np.int16),
    DICE.integers(0, SIZES[-1], NUM).astype(np.uint8),
)


def contract(layers=LAYERS, **changed):
    plan = {"noise_multiplier": 0.9, "clip": 0.7, "learning_rate": 0.8, "sample_rate": 0.1}
    plan |= {"num_records": NUM, "steps": 100, "epsilon": None, "delta": 1e-5, "scale": 255}
    return agree(layers, **(plan | changed))


CONTRACT = contract()
OWN = np.zeros(50, np.int64)  # answers of a run that there is none of


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    for name, text in sources(CONTRACT, LAYERS).items():
        (folder / name).write_text(text)
    return build(folder, "m4")


def board(program, flash=None, **asked):
    return Board(program, "m4", CONTRACT, KEY, RECORDS, flash, **asked)


# ---- without tools


def test_one_record_moves_a_sum_by_no_more_than_s():
    """Twins: with and without each record, over random weights and inputs; and nearly by S."""
    far = tuple(Dense(20 * w, b) for w, b in LAYERS)
    longest = 0.0
    for layers in (LAYERS, far):
        device = Device(CONTRACT, layers, KEY, RECORDS)
        everyone = np.arange(NUM)
        whole = device.gradients(everyone)
        longest = max(longest, observed_sensitivity(CONTRACT, whole))
        total = summed(CONTRACT, whole)
        for i in range(0, NUM, 7):
            apart = total - summed(CONTRACT, device.gradients(np.delete(everyone, i)))
            assert sum(int(v) ** 2 for v in apart.tolist()) <= CONTRACT.sensitivity**2
    assert 0.99 < longest <= 1


def test_a_step_is_dp_sgd():
    """Clipped gradients, in real numbers and by another way: torch's own, record by record."""
    import torch

    device = Device(CONTRACT, LAYERS, KEY, RECORDS)
    parts = [(torch.nn.Linear(i, o), torch.nn.ReLU()) for i, o in pairwise(SIZES)]
    net = torch.nn.Sequential(*[one for pair in parts for one in pair][:-1])
    flat = [torch.from_numpy(part.copy()) for layer in LAYERS for part in layer]
    for p, values in zip(net.parameters(), flat, strict=True):
        p.data = values
    x = torch.from_numpy(RECORDS[0].astype(np.float32) / 255)
    total = clipped_sum(net, x, RECORDS[1], CONTRACT.clip)
    ours = summed(CONTRACT, device.gradients(np.arange(NUM))) * CONTRACT.clip / CONTRACT.sensitivity
    assert np.linalg.norm(ours - total) < 0.01 * np.linalg.norm(total)


def test_the_limit_is_what_the_owner_allows():
    told = contract(epsilon=6.0, steps=1000)
    spent = Ledger([Spent(0.9, 0.1, told.most_steps)]).epsilon(1e-5)
    more = Ledger([Spent(0.9, 0.1, told.most_steps + 1)]).epsilon(1e-5)
    assert spent <= told.epsilon <= 6.0 < more
    assert 0 < told.distance < 1e-9
    assert told.id != CONTRACT.id


def test_too_large_a_net_is_refused_with_one_that_fits():
    wide = (Dense(np.zeros((600, 784), np.float32), np.zeros(600, np.float32)),)
    wide += (Dense(np.zeros((10, 600), np.float32), np.zeros(10, np.float32)),)
    with pytest.raises(ModelError, match=r"layer 1, 784 to 600: .* 524,288 are there; .*\[81\]"):
        require_fit(wide, 100, "stm32h743", Room(1 << 19, 1 << 21))


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
@pytest.mark.parametrize(
    "numbers", [None, Words("fixed", 8, 8, 8, True), Words("binary", 1, 8, 32, True)]
)
def test_gcc_has_nothing_to_say(tmp_path, numbers):
    """Nor of a rate of few bits, of which nothing is left to compare with."""
    for name, text in sources(contract(numbers=numbers, sample_rate=0.5), LAYERS).items():
        (tmp_path / name).write_text(text)
    said = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", *FLAGS]
    files = [*COMPILED, SERIAL, "main.c", "main_serial.c", "port_board.c"]
    done = subprocess.run(
        ["gcc", *said, "-fsyntax-only", *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# ---- in the emulator


@needs_tools
def test_a_hundred_private_steps_give_the_same_bits():
    made = sources(CONTRACT, LAYERS)
    for found in check(made, CONTRACT, LAYERS, RECORDS, RECORDS[0][:50], OWN, cuts=0):
        assert found.passed, found
        assert (found.steps, found.answers) == (100, 50)
        assert found.batch > 0
        assert found.instructions["noise_slow"] >= 0
        assert found.ram_bytes < 6000


FUSED = (*(f for f in FLAGS if "contract" not in f), "-ffp-contract=fast")
TWICE = sources(CONTRACT, LAYERS)
TWICE["step.c"] = TWICE["step.c"].replace("key, step, STREAM_NOISE", "key, 1u, STREAM_NOISE")
SABOTAGE = {
    "another S": (sources(replace(CONTRACT, sensitivity=CONTRACT.sensitivity - 1), LAYERS), FLAGS),
    "a number used twice": (TWICE, FLAGS),
}


@needs_tools
@pytest.mark.parametrize("fault", SABOTAGE)
def test_a_sabotaged_board_is_found_out(fault):
    made, flags = SABOTAGE[fault]
    one = RECORDS[0][:1]
    limits = {"steps": 5, "cuts": 0, "targets": ("m7",), "flags": flags}
    (found,) = check(made, CONTRACT, LAYERS, RECORDS, one, OWN[:1], **limits)
    assert not found.passed
    assert 1 <= found.differs_at <= 5


@needs_tools
def test_a_board_of_other_floats_does_not_open(tmp_path, program):
    """Products fused or sums reordered by the compiler; small numbers flushed by the chip."""
    for name, text in sources(CONTRACT, LAYERS).items():
        (tmp_path / name).write_text(text)
    fused, free = (
        Board(build(tmp_path, "m7", flags), "m7", CONTRACT, KEY, RECORDS)
        for flags in (FUSED, (*FLAGS, "-fassociative-math", "-fno-signed-zeros"))
    )
    flushed = board(program, flush=True)
    for one in (fused, free, flushed):
        assert one.call("privet_begin") == 0
        assert one.call("privet_open", 0) == 5
    assert board(program).call("privet_open", 0) == 3  # never begun, and floats as agreed


@needs_tools
def test_no_power_cut_gives_a_number_twice(program):
    assert survived(program, "m4", CONTRACT, RECORDS, 60) > 50


@needs_tools
def test_a_ledger_that_is_written_after_the_noise_is_found_out(tmp_path):
    made = sources(CONTRACT, LAYERS)
    spend = "    append(0, mark);\n    append(1, mark);\n"
    assert spend in made["ledger.c"]
    made["ledger.c"] = made["ledger.c"].replace(spend, "")
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(PrivetError, match="begun in two lives"):
        survived(build(tmp_path, "m4"), "m4", CONTRACT, RECORDS, 30)


@needs_tools
def test_the_ledger_refuses(program):
    """Beyond the limit, before it is begun, when it is begun again, cut short, or overwritten."""
    new = board(program)
    assert new.call("privet_open", 0) == 3
    assert new.call("privet_begin") == 0
    assert new.call("privet_open", 0) == 0
    for _ in range(5):
        assert new.call("privet_step", 0) == 0
    kept = [bytes(area) for area in new.flash]

    def opened(areas, at_least=0):
        return board(program, [bytearray(a) for a in areas]).call("privet_open", at_least)

    assert opened(kept) == 0
    assert opened(kept, 5) == 0
    assert opened(kept, 6) == 2  # the owner knows of more
    assert board(program, [bytearray(a) for a in kept]).call("privet_begin") == 4
    erased = b"\xff" * 64
    short = kept[0][:128] + erased + kept[0][192:]
    assert opened([short, kept[1]]) == 2  # one area cut short by two records
    assert opened([kept[0][:160] + erased[:32] + kept[0][192:], kept[1]]) == 0  # by one: a cut
    assert opened([short, short], 5) == 2  # both, and a receipt knows
    hole = kept[0][:96] + erased[:32] + kept[0][128:]
    assert opened([hole, hole]) == 2
    for _ in range(CONTRACT.most_steps - 5):
        assert new.call("privet_step", 0) == 0
    assert new.call("privet_step", 0) == 1
    assert opened([bytes(a) for a in new.flash]) == 0


@needs_tools
def test_a_new_key_and_a_new_number_give_new_noise(program):
    """Two boards of the same records and weights, and two steps of one."""
    moved = []
    for key in (KEY, KEY + np.uint32(1)):
        one = Board(program, "m4", CONTRACT, key, RECORDS)
        one.call("privet_begin")
        one.call("privet_open", 0)
        for _ in range(2):
            before = one.weights
            one.call("privet_step", 0)
            moved.append(one.weights - before)
    for i in range(4):
        for j in range(i):
            assert abs(np.corrcoef(moved[i], moved[j])[0, 1]) < 0.4
    with pytest.raises(PowerCut):
        one.call("privet_step", 0, after=50)
    assert replace(CONTRACT, most_steps=7).id != CONTRACT.id
