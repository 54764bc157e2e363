"""A net of ReLUs as a spiking one: the same answers over many steps; refusals by name."""

import pytest
import torch

from clients.arithmetic import Arithmetic
from clients.arithmetic.spiking.chain import watch
from clients.arithmetic.spiking.conversion import converted
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError, SettingsError

FORM = Form((20, 20), 3)


def both(model, **others):
    torch.manual_seed(2)
    settings = Arithmetic(name="spiking", decay=1.0, threshold=0.3, **others)
    relu, x = build(model, FORM).eval(), torch.rand(8, 20, 20)
    spiking = build(model, FORM, settings)
    spiking.load_state_dict(converted(relu, spiking, x, settings))
    with torch.no_grad():
        return relu(x), watch(spiking, x).outputs


@pytest.mark.parametrize(
    ("model", "others"),
    [
        (Model(hidden=(12, 9)), {"coding": "current"}),
        (Model(hidden=(12, 9)), {"coding": "rate", "rate": 0.5}),
        (Model(name="convnet", width=2, pooling="mean"), {"coding": "current"}),
    ],
    ids=["currents", "rates", "convnet"],
)
def test_more_steps_come_nearer(model, others):
    """Apart by an order of 1 / T; currents all but exactly, rates by the luck of their spikes."""
    answers, early = both(model, time_steps=1000, **others)
    off = (early - answers).abs().mean((1, 2)) / answers.std()
    assert off[-1] < (0.02 if others["coding"] == "current" else 0.2)
    assert off[-1] < off[30] / 3 < off[0] / 3


@pytest.mark.parametrize(
    ("model", "others", "error", "said"),
    [
        (Model(hidden=(4,)), {"decay": 0.9}, SettingsError, "add -s arithmetic.decay=1"),
        (Model(hidden=(4,)), {"reset": "zero"}, SettingsError, "must not leak"),
        (
            Model(hidden=(4,), activation="tanh"),
            {},
            ModelError,
            "a trained Tanh becomes no neurons",
        ),
        (Model(name="convnet", norm="group"), {}, ModelError, "GroupNorm becomes no neurons"),
    ],
)
def test_what_becomes_no_neurons_is_refused_by_name(model, others, error, said):
    settings = Arithmetic(name="spiking", **({"decay": 1.0} | others))
    with pytest.raises(error, match=said):
        converted(build(model, FORM), build(model, FORM, settings), torch.rand(2, 20, 20), settings)
