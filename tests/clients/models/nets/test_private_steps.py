"""A private step of each ready net is its gradient: record by record, clipped, and nothing else."""

import pytest
import torch
import torch.nn.functional as F

from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import build
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger

WINDOW = Form((3, 24), 4, "window")
IMAGE = Form((2, 12, 12), 4)
FORMS = {
    "linear": WINDOW,
    "cnn1d": WINDOW,
    "gru": WINDOW,
    "lstm": WINDOW,
    "attention": WINDOW,
    "tabular": Form((9,), 4, "table", (1, 5, 2, 1)),
    "ds-cnn": Form((12, 14), 4),
    "resnet8": IMAGE,
    "mobilenet": IMAGE,
}
NUM, CLIP = 6, 64.0


def job_of(model, arithmetic="float", clip=CLIP, **training):
    return Job.model_validate(
        {
            "model": model,
            "arithmetic": {"name": arithmetic},
            "data": {"nominal_records": NUM},
            "training": {"sample_rate": 1.0, "local_steps": 1, "learning_rate": 1.0, **training},
            "budget": {"unit": "record", "clip": clip, "noise_multiplier": 0.0},
        }
    )


def stepped(job, form):
    """What one step takes off the weights, by name; and records, and the model before it."""
    generator = torch.Generator().manual_seed(5)
    torch.manual_seed(7)
    module = build(job.model, form, job.arithmetic)
    x = torch.rand(NUM, *form.shape, generator=generator)
    records = Records(x, torch.arange(NUM) % form.outputs)
    net = net_of(module, records, job)
    before = {n: p.detach().clone() for n, p in net.state().items()}
    train(net, records, torch.arange(NUM), job, Round(1, 0, 1.0), Ledger())
    torch.manual_seed(7)
    moved = {n: before[n] - p for n, p in net.state().items()}
    return moved, records, build(job.model, form, job.arithmetic)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("adapt", ["all", "head", "bias", "lora:2"])
def test_a_step_is_the_mean_gradient(name, adapt):
    moved, records, twin = stepped(job_of({"name": name, "width": 8, "adapt": adapt}), FORMS[name])
    F.cross_entropy(twin(records.x), records.y).backward()
    for key, parameter in twin.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(moved[key], parameter.grad, rtol=1e-3, atol=1e-4), key
        else:
            assert not moved[key].any(), key


@pytest.mark.parametrize("name", FORMS)
def test_no_step_is_longer_than_the_clip(name):
    moved, *_ = stepped(job_of({"name": name, "width": 8}, clip=1e-3), FORMS[name])
    length = torch.cat([m.ravel() for m in moved.values()]).norm()
    assert 0 < length <= 1e-3 * (1 + 1e-4)


@pytest.mark.parametrize("name", ["cnn1d", "ds-cnn", "resnet8"])
@pytest.mark.parametrize("arithmetic", ["fixed", "binary"])
def test_words_are_clipped_as_reals_are(name, arithmetic):
    job = job_of({"name": name, "width": 8}, arithmetic, clip=1e-3)
    moved, *_ = stepped(job, FORMS[name])
    length = torch.cat([m.ravel() for m in moved.values()]).norm()
    assert 0 < length <= 1e-3 * (1 + 1e-4)
