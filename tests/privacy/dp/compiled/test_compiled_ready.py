"""The ready nets and every task train through the compiled step, as through per-sample hooks."""

import copy
import math
import re

import pytest
import torch
from torch import Tensor, nn

from clients.models import Model
from clients.protocol import Form
from clients.training.losses import LOSSES
from clients.training.net import Net, build
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.compiled import Program, lacking, program
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize
from privacy.errors import ModelError

NUM = 24
READY = {  # small: an image of bands and frames, a colour picture, windows, and what gives back
    "ds-cnn": (Model(name="ds-cnn", width=8, depth=2), Form((10, 25), 3)),
    "ds-cnn of a sound": (
        Model(name="ds-cnn", width=8, depth=2, front="none"),
        Form((40, 25), 3, "sound"),
    ),
    "resnet8": (Model(name="resnet8", width=4), Form((3, 10, 10), 3)),
    "mobilenet": (Model(name="mobilenet", width=2), Form((3, 32, 32), 3)),
    "cnn1d": (Model(name="cnn1d", width=8, kernel=5), Form((6, 24), 3, "window")),
    "cnn1d of a picture": (Model(name="cnn1d", width=8, kernel=3), Form((2, 4, 12), 3)),
    "convnet": (Model(name="convnet", norm="group"), Form((14, 14), 3)),
    "autoencoder": (Model(name="autoencoder", width=12, depth=2), Form((9,), 9, "table")),
}


def data(form: Form, task: str) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(NUM, *form.shape, generator=g)
    noise = torch.randn(NUM, form.outputs, generator=g)
    targets = {
        "classes": noise.argmax(1),
        "labels": (noise > 0).float(),
        "number": 3 * noise,  # near and far
        "itself": x.flatten(1)[:, : form.outputs],
    }
    return x, targets[task].contiguous()


def trained(model: nn.Module, form: Form, task: str, per_sample: str) -> Tensor:
    """The weights after some steps without noise."""
    model = copy.deepcopy(model)
    net = Net(model, form.shape, compiled=per_sample == "compiled")
    assert (net.program is not None) == (per_sample == "compiled")
    x, targets = data(form, task)
    private = privatize(
        net.program or model,
        torch.optim.SGD(net.parameters, lr=0.1),
        Ledger(),
        budget=Budget(noise_multiplier=0.0, clip=1.0),
        sample_rate=0.5,
        num_records=NUM,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
        per_sample="hooks" if per_sample == "hooks" else "onepass",
    )
    for batch in private.batches(3):
        private.classify(lambda i: (x[i], targets[i]), batch, LOSSES[task])
    private.close()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", READY)
def test_ready_nets_train_as_with_hooks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records one by one: then no sum is in float32, and the clip is no smaller for it."""
    monkeypatch.setattr(program, "WORKSPACE", 1)
    torch.manual_seed(0)
    settings, form = READY[name]
    model = build(settings, form)
    task = "itself" if name == "autoencoder" else "classes"
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    ours, hooks = (trained(model, form, task, way) for way in ("compiled", "hooks"))
    assert float((hooks - start).norm()) > 0.03
    assert float((ours - hooks).norm()) <= 1e-4 * float((hooks - start).norm())


@pytest.mark.parametrize("task", LOSSES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_losses_are_those_of_autograd(task: str, scale: float) -> None:
    """The sum of the losses, and of unclipped gradients; also where exponentials would overflow."""
    torch.manual_seed(0)
    form = Form((5,), 5 if task == "itself" else 3, "table")
    model = nn.Sequential(nn.Linear(5, form.outputs))
    x, targets = data(form, task)
    loss = LOSSES[task](model(scale * x), targets).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*model.parameters()])])
    net = Program.of(model, form.shape)
    assert net is not None
    total = torch.zeros(len(net.flat), dtype=torch.float64)
    found = net.add_clipped_sum(scale * x, targets, math.inf, total, LOSSES[task])
    assert found == pytest.approx(float(loss), rel=1e-5)
    assert torch.allclose(total.float(), expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("task", ["labels", "number", "itself"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_one_record_moves_a_sum_by_the_clip_at_most(task: str, value: float) -> None:
    """Whatever it is asked to be; what has no finite gradient adds nothing."""
    torch.manual_seed(0)
    form = Form((5,), 5 if task == "itself" else 3, "table")
    net = Program.of(nn.Sequential(nn.Linear(5, form.outputs)), form.shape)
    assert net is not None
    x, targets = data(form, task)
    targets[2] = value
    rest = torch.arange(NUM) != 2
    sums = torch.zeros(2, len(net.flat), dtype=torch.float64)
    net.add_clipped_sum(x, targets, 0.5, sums[0], LOSSES[task])
    net.add_clipped_sum(x[rest], targets[rest], 0.5, sums[1], LOSSES[task])
    moved = float((sums[0] - sums[1]).norm())
    assert moved <= (1e-5 if math.isnan(value) else 0.5 * (1 + 1e-5))


@pytest.mark.parametrize("task", LOSSES)
def test_targets_of_another_shape_are_refused(task: str) -> None:
    """The kernels would read what is beside them."""
    net = Program.of(nn.Sequential(nn.Linear(5, 3)), (5,))
    assert net is not None
    total, x = torch.zeros(len(net.flat), dtype=torch.float64), torch.zeros(4, 5)
    wrong = [torch.zeros(4, 2), torch.zeros(3, 3), torch.zeros(4, 3, dtype=torch.float64)]
    if task == "classes":
        wrong = [torch.zeros(4, 1).long(), torch.zeros(3).long(), torch.tensor([0, 1, 2, 3])]
        wrong += [torch.tensor([0, 1, 2, -1]), torch.zeros(4)]
    for targets in wrong:
        with pytest.raises(ModelError, match=r"targets|label"):
            net.add_clipped_sum(x, targets, 1.0, total, LOSSES[task])
    assert not total.any()


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Sequential(nn.GRU(5, 3)), r"GRU\(5, 3\) has no kernel for records of \[4, 5\]"),
        (nn.Sequential(nn.Linear(20, 3)), "Linear.* has no kernel for records of"),
        (nn.Linear(5, 3), "Linear is no chain of layers"),
        (nn.Sequential(nn.Flatten()), "nothing is trained"),
        (nn.Sequential(nn.Conv1d(4, 3, 2)), r"outputs of \[3, 4\] have no kernel for a loss"),
        (nn.Sequential(nn.Flatten(), nn.Linear(20, 3)).double(), "other weights than float32"),
        (nn.Sequential(nn.Flatten(), *[nn.Linear(20, 20)] * 2), "a layer is used twice"),
    ],
)
def test_why_there_is_no_program_is_said(model: nn.Module, why: str) -> None:
    assert Program.of(model, (4, 5)) is None
    assert re.search(why, lacking(model, (4, 5)))


def test_a_net_with_a_program_lacks_nothing() -> None:
    assert lacking(nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), (4, 5)) == ""
