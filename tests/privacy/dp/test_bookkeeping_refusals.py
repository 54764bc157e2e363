"""What one pass cannot clip is refused; hooks come and go without a trace."""

import copy

import pytest
import torch
from test_bookkeeping import agree, losses, one_pass, randn, small_model, sums_one_pass
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from privacy.dp.rules import RULES, Share
from privacy.errors import ModelError


class Twice(nn.Module):
    """One layer, used twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


MIXING = {
    "mixes records": nn.BatchNorm1d(3),
    "use GroupNorm": nn.BatchNorm2d(3),
    "has no noise": nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
    "changes weights by a batch's records": nn.Embedding(5, 3, max_norm=1.0),
    "depends on the others": nn.Embedding(5, 3, scale_grad_by_freq=True),
    "use nn.Dropout between": nn.GRU(3, 3, 2, dropout=0.5),
    "use nn.Dropout after": nn.MultiheadAttention(4, 2, dropout=0.5),
}


@pytest.mark.parametrize("why", MIXING)
def test_layers_in_which_records_do_not_stand_apart_are_refused(why: str) -> None:
    """The layer is named, and so is what to do; the model stays as it was."""
    model = nn.Sequential(nn.Linear(3, 3), layer := MIXING[why])
    with pytest.raises(ModelError, match=why) as caught:
        one_pass(model)
    assert str(caught.value).startswith(f"layer 1 ({type(layer).__name__}): ")
    assert all(p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_layers() -> None:
    """A frozen layer needs no rule and is left alone; one frozen in part is refused."""
    model = nn.Sequential(nn.BatchNorm1d(3).requires_grad_(False).eval(), nn.Linear(3, 2))
    optimizer = one_pass(model)
    assert [id(p) for p in optimizer.params] == [id(p) for p in model[1].parameters()]
    half = nn.Linear(3, 2)
    half.bias.requires_grad_(False)
    with pytest.raises(ModelError, match="frozen in part; freeze all"):
        one_pass(half)


def without_gradients(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    return RULES[nn.Linear](layer, x, g)._replace(gradients=None)


def test_a_rule_that_cannot_add_up_is_not_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two gradients would be clipped apart: refused, not summed."""

    class Closed(nn.Linear):
        pass

    monkeypatch.setitem(RULES, Closed, without_gradients)
    model = Twice()
    model.layer = Closed(3, 3)
    optimizer = one_pass(model)
    model(torch.randn(2, 3)).sum().backward()
    with pytest.raises(ModelError, match="Closed is used twice in one pass"):
        optimizer.accumulate()


class Outside(nn.Module):
    """A weight that is used once in its layer, and once without it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ self.layer.weight


def test_a_weight_used_outside_of_its_layer_is_refused() -> None:
    """No tap sees that part of its gradient: said at once, and nothing of it stays."""
    model = Outside()
    optimizer = one_pass(model)
    with pytest.raises(ModelError, match=r"layer\.weight: used outside of its own layer"):
        model(torch.randn(2, 3)).sum().backward()
    assert model.layer.weight.grad is None
    optimizer.detach()
    model(torch.randn(2, 3)).sum().backward()
    assert model.layer.weight.grad is not None


def test_packed_sequences_are_refused() -> None:
    """Their rows are steps of many records."""
    model = nn.GRU(3, 4, batch_first=True)
    one_pass(model)
    packed = pack_padded_sequence(torch.randn(2, 5, 3), torch.tensor([5, 3]), batch_first=True)
    with pytest.raises(ModelError, match="GRU: a PackedSequence goes in or out"):
        model(packed)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.GRU(3, 4), (6, 5, 3)),
        (nn.MultiheadAttention(4, 2), (6, 5, 4)),
        (nn.Bilinear(3, 3, 2), (6, 3)),
        (nn.Conv1d(2, 3, 2), (2, 6)),
        (nn.InstanceNorm1d(6, affine=True), (6, 7)),
        (nn.Linear(3, 2), (3,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_that_are_not_records_are_refused(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """A batch that stands in another axis, or none: no sum over rows that are not records."""
    optimizer = one_pass(layer)
    x = torch.randn(shape)
    several = isinstance(layer, nn.MultiheadAttention), isinstance(layer, nn.Bilinear)
    out = layer(*[x] * (1 + several[1] + 2 * several[0]))
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    with pytest.raises(ModelError, match="keep the batch first and whole"):
        optimizer.accumulate(3)


class Draws(nn.Module):
    """A weight of its own, and chance."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x * self.scale)


def test_layers_that_draw_are_refused() -> None:
    model = Draws()
    optimizer = one_pass(model)
    model(torch.randn(4, 3)).sum().backward()
    with pytest.raises(ModelError, match="Draws: it draws at random"):
        optimizer.accumulate()


class ChangesItsInput(nn.Module):
    """A layer whose input is changed in place after the layer has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = self.layer(x)
        return y + x.relu_()


def test_inputs_changed_in_place_are_noticed() -> None:
    """As in ordinary backward: an error, or else the right gradient; never silently another."""
    torch.manual_seed(0)
    model, x = ChangesItsInput().double(), randn(4, 3)
    try:
        ours = sums_one_pass(model, x, 1e6)
    except (ModelError, RuntimeError):
        return
    y = model.layer(x) + x.relu()
    target = torch.linspace(-1, 2, 3, dtype=x.dtype)
    grads = torch.autograd.grad((y - target).square().sum(), list(model.parameters()))
    assert torch.allclose(ours, torch.cat([g.flatten() for g in grads]))


def test_activations_in_place() -> None:
    """ReLU(inplace=True) after a layer works, or is refused with a remedy."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    assert agree(model, randn(4, 3), 1.0)


def test_detach_gives_the_model_back() -> None:
    """Gradients wanted again, no hooks left, ordinary backward as if nothing had been."""
    torch.manual_seed(0)
    model, x = small_model(), randn(4, 1, 6, 6)
    untouched = copy.deepcopy(model)
    losses(untouched, x).sum().backward()
    optimizer = one_pass(model)
    losses(model, x).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert sum(len(m._forward_hooks) for m in model.modules()) == 4
    optimizer.zero_grad()
    optimizer.detach()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    losses(model, x).sum().backward()
    for p, q in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)  # type: ignore[arg-type]
    assert not optimizer._taps.records


def test_no_grad_is_not_tapped() -> None:
    """An ordinary evaluation leaves no records and gives the ordinary output."""
    model, x = small_model(), randn(4, 1, 6, 6)
    expected = model(x).detach()
    optimizer = one_pass(model)
    with torch.no_grad():
        out = model(x)
    assert torch.equal(out, expected)
    assert not out.requires_grad
    assert not optimizer._taps.records
    assert torch.equal(model(x), expected)  # tapped, and still the same


def test_zero_grad_forgets() -> None:
    """Records and sums of an abandoned pass do not reach the next step."""
    model, x = small_model(), randn(4, 1, 6, 6)
    optimizer = one_pass(model)
    losses(model, x).sum().backward()
    optimizer.accumulate()
    losses(model, x).sum().backward()
    optimizer.zero_grad()
    optimizer.clip_and_accumulate()
    assert all(float(p.summed_grad.abs().max()) == 0.0 for p in optimizer._parameters)
