"""`privet export --to c`: from a run to a folder, and what is refused before it is written."""

import hashlib
import json

import numpy as np
import pytest

from clients.firmware.compiling import missing
from clients.firmware.simulation import Device, unflatten
from server.export.firmware import VECTOR_STEPS, VECTORS, board_of
from server.run.directory import Run

SHORT = ("-s", "federation.rounds=1", "-s", "federation.clients=2", "-s", "model.hidden=[6]")


def test_a_run_becomes_a_folder_of_c(privet, tmp_path):
    """Its weights are the run's; vectors.bin tells a stranger whether the port is right."""
    status, out, _ = privet("run", "tiny", *SHORT)
    run, folder = Run(tmp_path / "runs" / out.strip().split("/")[-1]), tmp_path / "board"
    asked = ("--check",) if not missing() else ()
    status, out, err = privet("export", "latest", "--to", "c", "-o", str(folder), *asked)
    assert (status, out) == (0, f"{folder}\n")
    told = json.loads((folder / "contract.json").read_text())
    budget = json.loads((folder / "budget.json").read_text())
    if asked:
        assert all(one["passed"] and one["steps"] == 100 for one in budget["measured"])
        assert "power cuts" in err
    else:
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
        assert hashlib.sha256(device.flat.astype("<f4").tobytes()).hexdigest() == expected
    assert len(told["vectors"]["weights_sha256"]) == min(4, VECTOR_STEPS)
    last = np.frombuffer(vectors[32 + VECTORS * size :], "<f4").astype(np.float32)
    assert np.array_equal(last, device.flat)
    assert unflatten(board.contract, last)[0].weights.shape == (6, 64)

    status, _, err = privet("export", "latest", "--to", "c", "-o", str(folder))
    assert (status, "exists" in err) == (2, True)


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
    small = [*SHORT[:4], "-s", "training.local_steps=1", "-s", "model.hidden=[3]"]
    privet("run", "tiny", *small, *[word for one in settings for word in ("-s", one)])
    folder = tmp_path / "board"
    status, out, err = privet("export", "latest", "--to", "c", "--chip", chip, "-o", str(folder))
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not folder.exists()
