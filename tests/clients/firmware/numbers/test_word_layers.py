"""Convolutions of words on a board: against privet's own layers, twins, and in the emulator."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from oracles import clipped_sum

from clients.arithmetic import Arithmetic
from clients.boards.nets import net_of, words_of
from clients.firmware.check import KEY, check
from clients.firmware.compiling import missing
from clients.firmware.contract import FLAGS, agree
from clients.firmware.numbers.floats import observed_sensitivity
from clients.firmware.numbers.word_layers import WordLayersDevice
from clients.firmware.sources import sources
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build

NUM, CLASSES = 20, 6
NETS = {"cnn1d": (Form((6, 32), CLASSES, "window")), "ds-cnn": (Form((1, 25, 10), CLASSES))}
FIXED = {"name": "fixed", "bits": 8, "gradient_bits": 32}
HELD = "(value <= bound) && (value >= -bound)"


def made(which, **about):
    return drawn(Model(name=which, width=4, depth=2), NETS[which], Arithmetic(**about))


def drawn(model, form, arithmetic):
    """A net, records that nobody has, and what is agreed."""
    torch.manual_seed(1)
    net = build(model, form, arithmetic)
    dice = np.random.default_rng(0)
    inputs = dice.integers(-500, 500, (NUM, int(np.prod(form.shape)))).astype(np.int16)
    records = (inputs, dice.integers(0, CLASSES, NUM).astype(np.uint8))
    plan, layers = net_of(net, arithmetic, form.shape)
    contract = agree(
        layers, scale=255, noise_multiplier=1.5, clip=0.7, learning_rate=0.1, sample_rate=0.2,
        num_records=NUM, steps=100, epsilon=None, delta=1e-5, plan=plan,
        numbers=words_of(arithmetic),
    )  # fmt: skip
    x = torch.from_numpy(inputs.astype(np.float32) / 255).reshape(NUM, *form.shape)
    return net, x, records, layers, contract


@pytest.mark.parametrize("name", NETS)
def test_a_step_is_dp_sgd_of_privets_own_layers(name):
    """Clipped gradients by torch, record by record, with gradients left in float; answers too."""
    net, x, records, layers, c = made(name, **FIXED)
    device, everyone = WordLayersDevice(c, layers, KEY, records), np.arange(NUM)
    total = clipped_sum(net, x, records[1], c.clip)
    whole = device.gradients(everyone)
    ours = device._summed(whole) * c.clip / c.sensitivity
    assert np.linalg.norm(ours - total) < 0.02 * np.linalg.norm(total)
    assert np.array_equal(device.predict(records[0]), net(x).argmax(1).numpy())
    assert 0.99 < observed_sensitivity(c, whole) <= 1
    for i in everyone[::6]:
        apart = device._summed(whole) - device._summed(device.gradients(np.delete(everyone, i)))
        assert sum(int(v) ** 2 for v in apart.tolist()) <= c.sensitivity**2


@pytest.mark.skipif(bool(missing()), reason="not verified on the target: privet[firmware]")
@pytest.mark.parametrize(
    ("name", "about", "fault"),
    [
        ("ds-cnn", {"name": "fixed", "bits": 4, "activation_bits": 4, "gradient_bits": 4}, ""),
        ("cnn1d", {"name": "ternary", "activation_bits": 8, "scaling": "tensor"}, ""),
        ("cnn1d", {"name": "binary", "activation_bits": 4}, "what was cut off learns"),
    ],
)
def test_the_board_is_the_simulation(name, about, fault):
    _, _, records, layers, c = made(name, **about)
    text = sources(c, layers)
    assert HELD in text["back.h"]
    text["back.h"] = (
        text["back.h"].replace(HELD, HELD.replace("&&", "||")) if fault else text["back.h"]
    )
    own = np.zeros(5, np.int64)
    limits = {"steps": 3, "cuts": 0, "targets": ("m4",)}
    (found,) = check(text, c, layers, records, records[0][:5], own, **limits)
    assert found.passed == (not fault)


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
@pytest.mark.parametrize("about", [FIXED, {"name": "ternary"}, {"name": "binary"}, None])
def test_gcc_has_nothing_to_say(tmp_path, about):
    _, _, _, layers, c = made("ds-cnn", **(about or {"name": "float"}))
    for name, text in sources(c, layers).items():
        (tmp_path / name).write_text(text)
    said = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", *FLAGS]
    asked = ["gcc", *said, "-fsyntax-only", "net.c"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
