"""Records do not meet: in no loss of a user's, and in no model that is let through."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_training import CLIP, EXPECTED, flat, make_private, records
from torch import Tensor, nn

from privacy.dp.compiled import Program
from privacy.dp.rules import Loss, losses_of, softmax_cross_entropy
from privacy.errors import ModelError

ALL = torch.arange(12)


def make_net(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), *middle, nn.Linear(6, 3)).double()


def learned(
    net: nn.Module, x: Tensor, targets: Tensor, loss: Loss, indices: Tensor = ALL, **others: str
) -> Tensor:
    """The clipped sum of one noiseless step on records of x and targets."""
    private = make_private(net, **others)
    before = flat(net)
    private._batch = indices
    private.classify(lambda i: (x[i], targets[i]), indices, loss)
    private.close()
    return (before - flat(net)) * EXPECTED


LOSSES: dict[str, tuple[Loss, Callable[[Tensor], Tensor]]] = {  # and targets from noise [B, 3]
    "binary": (
        lambda o, t: F.binary_cross_entropy_with_logits(o, t, reduction="none").mean(1),
        lambda noise: (noise > 0).double(),
    ),
    "huber": (lambda o, t: F.huber_loss(o, t, reduction="none").mean(1), lambda noise: noise),
    "squares": (lambda o, t: (o - t).square().sum(1), lambda noise: noise),
    "decides": (
        lambda o, t: (o - t).abs().sum(1) if bool((o > t).any()) else (o - t).square().sum(1),
        lambda noise: noise,
    ),
    "classes": (softmax_cross_entropy, lambda noise: noise.argmax(1)),
    "classes by hand": (
        lambda o, t: -o.log_softmax(1).gather(1, t[:, None])[:, 0],
        lambda noise: noise.argmax(1),
    ),
}


@pytest.mark.parametrize("per_sample", ["onepass", "hooks"])
@pytest.mark.parametrize("name", LOSSES)
def test_any_loss_of_a_record_trains(name: str, per_sample: str) -> None:
    """The sum is that of each record's clipped gradient of the loss."""
    loss, make = LOSSES[name]
    x, targets = records(), make(torch.randn(40, 3, dtype=torch.float64))
    net = make_net(nn.Tanh())
    expected = torch.zeros(sum(p.numel() for p in net.parameters()), dtype=torch.float64)
    for i in ALL:
        own = loss(net(x[i : i + 1]), targets[i : i + 1]).sum()
        row = torch.cat([g.flatten() for g in torch.autograd.grad(own, list(net.parameters()))])
        expected += row * min(1.0, CLIP / float(row.norm()))
    ours = learned(net, x, targets, loss, per_sample=per_sample)
    assert float((ours - expected).norm()) <= 1e-3 * CLIP  # the grid's share of the clip
    assert learned(net, x, targets, loss, ALL[:0], per_sample=per_sample).abs().max() < 1e-9


def test_a_loss_cannot_mix_records() -> None:
    """It is given one at a time: a mean over the batch is a mean over that one."""

    def centred(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - outputs.mean(0)).square().sum(1) + targets.sum(1)

    outputs, targets = torch.randn(5, 3), torch.randn(5, 3)
    assert not torch.allclose(centred(outputs, targets), targets.sum(1))
    assert torch.allclose(losses_of(centred, outputs, targets), targets.sum(1))


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (F.mse_loss, r"is \[\], not \[1\].*use reduction='none'"),
        (lambda o, t: (o - t).square(), r"is \[1, 3\], not \[1\]"),
        (lambda o, t: 0.0, "is float, not"),
        (lambda o, t: F.dropout(o - t).sum(1), "the loss draws at random"),
    ],
    ids=["mean", "table", "number", "dice"],
)
def test_other_than_one_loss_a_record_is_refused(loss: Loss, why: str) -> None:
    net = make_net()
    with pytest.raises(ModelError, match=why):
        learned(net, records(), torch.randn(40, 3, dtype=torch.float64), loss)


def test_step_asks_for_one_loss_a_record() -> None:
    net, x = make_net(), records()
    private = make_private(net)
    private._batch = ALL
    with pytest.raises(ModelError, match=r"the loss of 12 records is \[\], not \[12\]"):
        private.step(lambda i: net(x[i]).square().mean(), ALL)


def test_a_program_knows_the_losses_of_kernels_only() -> None:
    """Refused before the batch is taken: nothing was computed of it."""
    program = Program.of(make_net().float(), (4,))
    assert program is not None
    private = make_private(nn.ParameterList([program.flat]))  # any; its model is put in below
    private._model = program
    with pytest.raises(ValueError, match="no kernel for this loss"):
        private.classify(lambda i: (records()[i], i), ALL, LOSSES["squares"][0])


class Mixes(nn.Module):
    """A function of the whole batch [B, 6], without a weight."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Remembers(nn.Module):
    """A buffer that follows the records."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(6, dtype=torch.float64))
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.seen.add_(x.detach().mean(0))
        else:
            self.seen = self.seen + x.detach().mean(0)
        return x


MIXING: dict[str, tuple[nn.Module, str]] = {
    "mean": (Mixes(lambda x: x - x.mean(0)), "mixes records"),
    "largest": (Mixes(lambda x: x / x.abs().max()), "mixes records"),
    "norm": (Mixes(lambda x: F.batch_norm(x, None, None, training=True)), "mixes records"),
    "neighbours": (Mixes(lambda x: x.roll(1, 0)), "mixes records"),
    "order": (Mixes(lambda x: x.sort(0).values), "mixes records"),
    "attention": (Mixes(lambda x: F.softmax(x @ x.T, 1) @ x), "mixes records"),
    "memory in place": (Remembers(True), "1.seen: a pass changes this buffer"),
    "memory": (Remembers(False), "1.seen: a pass changes this buffer"),
    "thawed": (nn.BatchNorm1d(6).requires_grad_(False), "layer 1 .*: it mixes records"),
    "bare": (nn.BatchNorm1d(6, affine=False), "layer 1 .*: it mixes records"),
    "of the batch": (nn.BatchNorm1d(6, affine=False, track_running_stats=False), "layer 1 .*mixes"),
    "tracking": (nn.InstanceNorm1d(6, track_running_stats=True), "layer 1 .*has no noise"),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_records_is_refused(name: str) -> None:
    """Although each of its trained layers sees one row a record."""
    middle, why = MIXING[name]
    with pytest.raises(ModelError, match=why):
        learned(make_net(middle), records(), torch.arange(40) % 3, softmax_cross_entropy)


def test_a_frozen_norm_that_wakes_up_is_refused() -> None:
    """`privatize` saw it at rest; then the whole model is set to training."""
    net = make_net(nn.BatchNorm1d(6).requires_grad_(False).eval())
    private = make_private(net)
    net.train()
    private._batch = ALL
    with pytest.raises(ModelError, match="mixes records"):
        private.classify(lambda i: (records()[i], i % 3), ALL)


def test_looking_for_mixing_changes_nothing() -> None:
    """A model that draws is let through, and draws what it would have drawn: bit for bit."""
    x, sums = records(), []
    for looks in (True, False):
        net = make_net(nn.Dropout(0.5), nn.LayerNorm(6))
        private = make_private(net)
        private._seen_apart = not looks
        private._batch = ALL
        torch.manual_seed(3)
        private.classify(lambda i: (x[i], i % 3), ALL)
        assert private._seen_apart
        sums.append(flat(net))
    assert torch.equal(*sums)
