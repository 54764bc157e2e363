"""Convolutions, norms, pools and sums on a board: against torch, twins, and in the emulator."""

import numpy as np
import pytest
import torch
from oracles import clipped_sum
from torch import nn

from clients.firmware.check import KEY, check
from clients.firmware.compiling import build, missing
from clients.firmware.contract import agree
from clients.firmware.emulator import Board
from clients.firmware.fitting import Room, needed_plan, require_plan_fit
from clients.firmware.numbers.floats import observed_sensitivity
from clients.firmware.numbers.layers import LayersDevice
from clients.firmware.numbers.recurrent import hyperbolic_tangent, sigmoid
from clients.firmware.plan import plan_of
from clients.firmware.sources import sources
from clients.layers import AddChannel, MaxPool2d, Recurrent, Residual
from privacy.errors import ModelError

NUM = 20


def sequences():
    """`cnn1d`, small."""
    first = (nn.Conv1d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool1d(2))
    second = (nn.Conv1d(4, 6, 3, stride=2), nn.GroupNorm(3, 6), nn.ReLU(), nn.AvgPool1d(3))
    return (3, 16), nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(6, 3))


def pictures():
    """Of all kinds: strided, padded, depthwise, a sum with layers on both sides, pools."""
    body = nn.Sequential(nn.Conv2d(4, 6, 1), nn.GroupNorm(1, 6), nn.ReLU())
    layers = (AddChannel(), nn.Conv2d(1, 4, (3, 2), stride=2, padding=1), nn.GroupNorm(4, 4))
    layers += (nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU())
    layers += (Residual(body, nn.Sequential(nn.Conv2d(4, 6, 1))), nn.ReLU(), MaxPool2d(2, 1))
    layers += (Residual(nn.Sequential(nn.Conv2d(6, 6, 1)), nn.Identity()),)
    return (8, 6), nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def recurrent():
    """Two layers over time, behind a convolution, whose gradient they give."""
    torch.manual_seed(1)
    cells = nn.GRU(5, 4, 2, batch_first=True)
    layers = (nn.Conv1d(3, 5, 3), Recurrent(cells), nn.ReLU(), nn.Linear(4, 3))
    return (3, 9), nn.Sequential(*layers)


def made(build):
    torch.manual_seed(1)
    shape, net = build()
    dice = np.random.default_rng(0)
    inputs = dice.integers(-500, 500, (NUM, int(np.prod(shape)))).astype(np.int16)
    records = (inputs, dice.integers(0, 3, NUM).astype(np.uint8))
    plan, layers = plan_of(net, shape)
    contract = agree(
        layers, scale=255, noise_multiplier=1.5, clip=0.7, learning_rate=0.1, sample_rate=0.2,
        num_records=NUM, steps=100, epsilon=None, delta=1e-5, plan=plan,
    )  # fmt: skip
    x = torch.from_numpy(inputs.astype(np.float32) / 255).reshape(NUM, *shape)
    return net, x, records, layers, contract


@pytest.mark.parametrize("build", [sequences, pictures, recurrent])
def test_a_step_is_dp_sgd(build):
    """Clipped gradients, by torch's own, record by record; answers too."""
    net, x, records, layers, c = made(build)
    device, total = LayersDevice(c, layers, KEY, records), clipped_sum(net, x, records[1], c.clip)
    everyone = np.arange(NUM)
    whole = device.gradients(everyone)
    ours = device._summed(whole) * c.clip / c.sensitivity
    assert np.linalg.norm(ours - total) < 0.01 * np.linalg.norm(total)
    assert np.array_equal(device.predict(records[0]), net(x).argmax(1).numpy())
    assert 0.99 < observed_sensitivity(c, whole) <= 1
    for i in everyone[::6]:
        apart = device._summed(whole) - device._summed(device.gradients(np.delete(everyone, i)))
        assert sum(int(v) ** 2 for v in apart.tolist()) <= c.sensitivity**2


needs_tools = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")


@needs_tools
@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        ("recurrent.h", "", ""),
        ("recurrent.h", "FAR 80.0f", "FAR 0.5f"),
        ("recurrent_back.h", "one.proposed * one.proposed", "one.proposed"),
    ],
)
def test_a_recurrent_board_is_the_simulation(file, good, bad):
    _, _, records, layers, c = made(recurrent)
    text = sources(c, layers)
    assert good in text[file]
    text[file] = text[file].replace(good, bad)
    own = np.zeros(5, np.int64)
    limits = {"steps": 8, "cuts": 0, "targets": ("m4",)}
    (found,) = check(text, c, layers, records, records[0][:5], own, **limits)
    assert found.passed == (not good)
    need = needed_plan(c.plan, c.most_steps)
    assert found.ram_bytes <= need.ram < found.ram_bytes + 2048
    assert found.flash_bytes <= need.flash


def test_gates_are_torchs():
    x = np.concatenate([np.linspace(-100, 100, 4001), [0.0, 1e-6, np.inf, -np.inf]])
    x = x.astype(np.float32)
    for ours, theirs in ((sigmoid, torch.sigmoid), (hyperbolic_tangent, torch.tanh)):
        np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).numpy(), atol=3e-6)
    assert not np.isnan(sigmoid(np.array([np.nan], np.float32)))


@needs_tools
@pytest.mark.parametrize("fault", ["", "no clip"])
def test_the_board_is_the_simulation(fault):
    _, _, records, layers, c = made(pictures)
    text = sources(c, layers)
    clip = "c = PRIVET_CLIP / root(visit.squared);"
    assert clip in text["learning.h"]
    text["learning.h"] = (
        text["learning.h"].replace(clip, "c = 1.0f;") if fault else text["learning.h"]
    )
    own = np.zeros(5, np.int64)
    limits = {"steps": 8, "cuts": 0, "targets": ("m4",)}
    (found,) = check(text, c, layers, records, records[0][:5], own, **limits)
    assert found.passed == (not fault)


@needs_tools
def test_what_is_taken_back_leaves_nothing(tmp_path):
    """A board that takes back each record is one that has read none."""
    _, _, records, layers, c = made(pictures)
    text = sources(c, layers)
    guard = "visit.norm > ((uint64_t)PRIVET_SENSITIVITY * PRIVET_SENSITIVITY)"
    assert guard in text["learning.h"]
    text["learning.h"] = text["learning.h"].replace(guard, "visit.norm > 0u")
    for name, content in text.items():
        (tmp_path / name).write_text(content)
    program, after = build(tmp_path, "m4"), []
    for num in (NUM, 0):
        board = Board(program, "m4", c, KEY, records)
        board.call("privet_begin")
        board.call("privet_open", 0)
        board.call("privet_step", num)
        after.append(board.raw)
    assert np.array_equal(*after)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Conv1d(3, 4, 3, dilation=2), "dilated"),
        (nn.Conv1d(3, 4, 3, bias=False), "without biases"),
        (nn.Tanh(), "layer 1, Tanh: has no C yet"),
        (nn.GRU(3, 4), "layer 1, GRU: has no C yet"),
        (Recurrent(nn.LSTM(3, 4, batch_first=True)), "layer 1, Recurrent: has no C yet"),
        (Recurrent(nn.GRU(3, 4, bias=False, batch_first=True)), "without biases, has no C"),
        (nn.ReLU(), "a ReLU on a record"),
        (nn.Conv1d(3, 4, 3), "gives no classes"),
        (nn.MaxPool1d(2, padding=1), "MaxPool1d with padding"),
    ],
)
def test_what_has_no_c_is_named(layer, said):
    with pytest.raises(ModelError, match=said):
        plan_of(nn.Sequential(layer), (3, 16))


def test_too_large_a_net_is_refused_with_one_that_fits():
    plan = made(sequences)[-1].plan
    with pytest.raises(ModelError, match=r"layer 1, conv 3x1x16: .* 4,000 are there; width = 2"):
        require_plan_fit(plan, 10, "mine", Room(4000, 1 << 20), lambda _: "width = 2")
