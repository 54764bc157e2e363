"""What one pass cannot clip is refused; hooks come and go without a trace."""

import copy
from typing import Any

import pytest
import torch
from test_bookkeeping import agree, losses, one_pass, randn, small_model, sums_one_pass
from torch import Tensor, nn

from privacy.errors import ModelError


class Twice(nn.Module):
    """One layer, used twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


@pytest.mark.parametrize("layer", [nn.Embedding(5, 3), nn.BatchNorm1d(3), nn.BatchNorm2d(3)])
def test_unknown_layers_are_refused(layer: nn.Module) -> None:
    """The layer is named, and so is what to use instead; the model stays as it was."""
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(ModelError) as caught:
        one_pass(model)
    text = str(caught.value)
    assert text.startswith(f"layer 1 ({type(layer).__name__}): no per-sample gradient rule")
    assert "use one of Linear, Conv2d, GroupNorm, LayerNorm" in text
    assert all(p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_subclass_is_not_its_parent() -> None:
    """A subclass may compute something else: refused until it registers a rule."""

    class Twisted(nn.Linear):
        pass

    with pytest.raises(ModelError, match=r"\(Twisted\): no per-sample gradient rule"):
        one_pass(Twisted(2, 2))


def test_frozen_layers() -> None:
    """A frozen layer needs no rule and is left alone; one frozen in part is refused."""
    model = nn.Sequential(nn.BatchNorm1d(3).requires_grad_(False).eval(), nn.Linear(3, 2))
    optimizer = one_pass(model)
    assert [id(p) for p in optimizer.params] == [id(p) for p in model[1].parameters()]
    half = nn.Linear(3, 2)
    half.bias.requires_grad_(False)
    with pytest.raises(ModelError, match="frozen in part; freeze all"):
        one_pass(half)


@pytest.mark.parametrize("other", [{"padding": "same"}, {"padding_mode": "circular"}], ids=str)
def test_padding_without_rule(other: dict[str, Any]) -> None:
    """Padding by word or by reflection is refused, with the remedy."""
    model = nn.Conv2d(1, 1, 3, **other)
    optimizer = one_pass(model)
    model(torch.randn(2, 1, 5, 5)).sum().backward()
    with pytest.raises(ModelError, match="give the padding in numbers and pad with zeros"):
        optimizer.accumulate()


def test_a_layer_used_twice_is_refused() -> None:
    """Its two gradients would be clipped apart: refused, not summed."""
    model = Twice()
    optimizer = one_pass(model)
    model(torch.randn(2, 3)).sum().backward()
    with pytest.raises(ModelError, match="used twice in one pass"):
        optimizer.accumulate()


def test_tied_weights_are_refused() -> None:
    """Two layers that share a parameter would have its gradients clipped apart."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    with pytest.raises(ModelError):
        one_pass(model)


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
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert sum(len(m._forward_hooks) for m in model.modules()) == 4
    optimizer.zero_grad()
    optimizer.detach()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    losses(model, x).sum().backward()
    for p, q in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)  # type: ignore[arg-type]
    assert not optimizer._records


def test_no_grad_is_not_tapped() -> None:
    """An ordinary evaluation leaves no records and gives the ordinary output."""
    model, x = small_model(), randn(4, 1, 6, 6)
    expected = model(x).detach()
    optimizer = one_pass(model)
    with torch.no_grad():
        out = model(x)
    assert torch.equal(out, expected)
    assert not out.requires_grad
    assert not optimizer._records
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
