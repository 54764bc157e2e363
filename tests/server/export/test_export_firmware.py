"""`privet export --to c`: from a run to a folder, and what is refused before it is written."""

import hashlib
import json

import numpy as np
import pytest

from clients.firmware.compiling import missing
from clients.firmware.contract import agree
from clients.firmware.net import Dense
from clients.firmware.numbers.floats import Device, unflatten
from clients.firmware.sources import sources
from server.export.firmware import VECTOR_STEPS, VECTORS, board_of
from server.export.heard import heard
from server.run.directory import Run

DICE = np.random.default_rng(5)
LAYERS = (
    Dense(DICE.normal(0, 0.3, (8, 12)).astype(np.float32), np.zeros(8, np.float32)),
    Dense(DICE.normal(0, 0.5, (3, 8)).astype(np.float32), np.zeros(3, np.float32)),
)
RECORDS = (DICE.integers(0, 256, (200, 12)).astype(np.int16), DICE.integers(0, 3, 200, np.uint8))
CONTRACT = agree(
    LAYERS,
    scale=255,
    noise_multiplier=1.0,
    clip=0.5,
    learning_rate=0.5,
    sample_rate=0.4,
    num_records=200,
    steps=100,
    epsilon=None,
    delta=1e-5,
)
SHORT = ("-s", "federation.rounds=1", "-s", "federation.clients=2", "-s", "model.hidden=[6]")


def test_a_run_becomes_a_folder_of_c(privet, tmp_path):
    """Its weights are the run's; vectors.bin tells a stranger whether the port is right."""
    status, out, _ = privet("run", "tiny", *SHORT)
    run, folder = Run(tmp_path / "runs" / out.strip().split("/")[-1]), tmp_path / "board"
    status, out, err = privet("export", "latest", "--to", "c", "-o", str(folder))
    assert (status, out) == (0, f"{folder}\n")
    told = json.loads((folder / "contract.json").read_text())
    budget = json.loads((folder / "budget.json").read_text())
    assert "not verified on the target" in err + budget["verified"]
    board = board_of(run, "stm32h743")
    assert told["id"] == board.contract.id.hex()
    assert np.array_equal(board.layers[0].weights.ravel(), run.weights(1)["1.weight"].ravel())
    assert board.contract.most_steps == 4
    assert board.contract.epsilon <= 8

    vectors, size = (folder / "vectors.bin").read_bytes(), 2 * 64 + 1
    rows = np.frombuffer(vectors[32 : 32 + VECTORS * size], np.uint8).reshape(VECTORS, size)
    inputs = np.ascontiguousarray(rows[:, :-1]).view("<i2")
    key = np.frombuffer(vectors[:32], "<u4")
    device = Device(board.contract, board.layers, key, (inputs, rows[:, -1]))
    for expected in told["vectors"]["weights_sha256"]:
        device.step()
        assert hashlib.sha256(device.raw.astype("<u4").tobytes()).hexdigest() == expected
    assert len(told["vectors"]["weights_sha256"]) == min(4, VECTOR_STEPS)
    last = np.frombuffer(vectors[32 + VECTORS * size :], "<f4").astype(np.float32)
    assert np.array_equal(last, device.flat)
    assert unflatten(board.contract, last)[0].weights.shape == (6, 64)

    status, _, err = privet("export", "latest", "--to", "c", "-o", str(folder))
    assert (status, "exists" in err) == (2, True)

    alone = tmp_path / "alone"
    status, *_ = privet("export", "latest", "--to", "c", "--answers", "-o", str(alone))
    assert status == 0
    there = {one.name for one in alone.iterdir()}
    assert there > {"answer.c", "net.c", "weights.h", "vectors.bin", "README.md", "answers.json"}
    assert not there & {"step.c", "noise.c", "ledger.c", "learning.h", "contract.json"}
    assert not there & {"step.h", "noise.h", "ledger.h", "tables.h"}
    size = 2 * 64 + 1
    rows = np.frombuffer((alone / "vectors.bin").read_bytes(), np.uint8).reshape(-1, size)
    inputs = np.ascontiguousarray(rows[:, :-1]).view("<i2")
    nobody = (inputs[:0], rows[:0, -1])
    answers = Device(board.contract, board.layers, key, nobody).predict(inputs)
    assert np.array_equal(answers, rows[:, -1])


def test_a_front_is_written_beside_what_reads_it(privet, tmp_path):
    """Its vectors are as long as they are told to be, and the net reads as many features."""
    privet("run", "tiny", *SHORT[:4], "-s", "training.local_steps=1", "-s", "model.name=scatter")
    for kind, told in (("--answers", "answers.json"), ("", "budget.json")):
        folder = tmp_path / told
        status, *_ = privet("export", "latest", "--to", "c", *kind.split(), "-o", str(folder))
        assert status == 0
        about = json.loads((folder / told).read_text())["front"]
        assert (about["name"], about["RAW"], about["FEATURES"]) == ("scatter", 64, 81 * 4)
        assert len((folder / "front_vectors.bin").read_bytes()) == 2 * (64 + 2 * 81 * 4)
        assert "front.c" in (folder / "Makefile").read_text()
        assert f"PRIVET_INPUTS {81 * 4}u" in (folder / "contract.h").read_text()


@pytest.mark.parametrize(
    ("settings", "chip", "said"),
    [
        (("training.momentum=0.9",), "stm32h743", "[training] momentum = 0.9"),
        (("model.activation=tanh",), "stm32h743", "layer 2, Tanh: has no C yet"),
        (("budget.unit=none",), "stm32h743", "[budget] unit = 'none'"),
        ((), "eyeriss", "no microcontroller"),
    ],
)
def test_what_cannot_be_exported_is_refused(privet, tmp_path, settings, chip, said):
    small = [*SHORT[:4], "-s", "training.local_steps=2", "-s", "model.hidden=[3]"]
    privet("run", "tiny", *small, *[word for one in settings for word in ("-s", one)])
    folder = tmp_path / "board"
    status, out, err = privet("export", "latest", "--to", "c", "--chip", chip, "-o", str(folder))
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not folder.exists()


@pytest.mark.skipif(bool(missing()), reason="not verified on the target: privet[firmware]")
def test_the_auditor_finds_two_boards_that_do_not_keep_their_contract():
    made = sources(CONTRACT, LAYERS)
    noise, half = "noise_draw(stream, slow)", "(uint32_t)((int32_t)noise_draw(stream, slow) / 2)"
    assert noise in made["sums.h"]
    weak = {**made, "sums.h": made["sums.h"].replace(noise, half)}
    loud = {**made, "learning.h": made["learning.h"].replace("squared > PRIVET_CLIP_SQUARED", "0")}
    loud["learning.h"] = loud["learning.h"].replace(
        "if (s > left) { return 0; }", "if (s > left) { s = 0; }"
    )
    failed = [{c.name for c in heard(m, CONTRACT, RECORDS) if not c.passed} for m in (weak, loud)]
    assert failed == [{"noise law"}, {"sensitivity"}]
