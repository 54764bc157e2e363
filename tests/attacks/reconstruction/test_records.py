"""Records that are no grey pictures: how alike they are, drawn from gradients, and altered."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from attacks import evasion
from attacks.reconstruction import inversion, likeness
from attacks.reconstruction.gan import Spy
from attacks.reconstruction.pictures import png
from attacks.tape import Column, Nature

TABLE = Nature(
    "table", (6,), -1.0,
    columns=(Column("age", 0, 1), Column("dose", 1, 2, flags=(-1.0,)), Column("ward", 3, 3, 3)),
)  # fmt: skip
ROW = torch.tensor([[0.5, -1.0, 1.0, 0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({}, 1.0),
        ({0: 0.59}, 1.0),  # within 5 % of the range of 2
        ({0: 0.61}, 2 / 3),
        ({2: 0.0}, 2 / 3),  # the flag
        ({3: 0.4}, 1.0),  # the greatest place is still the same
        ({3: 1.1}, 2 / 3),
        ({0: -1.0, 1: 1.0, 5: 2.0}, 0.0),
    ],
)
def test_share_of_columns_recovered(changed, share):
    other = ROW.clone()
    for place, value in changed.items():
        other[0, place] = value
    assert likeness.alike(other, ROW, TABLE).item() == pytest.approx(share)


def test_correlation_asks_for_the_form():
    rng = np.random.default_rng(0)
    a, b = (torch.tensor(rng.normal(size=(3, 2, 50))) for _ in range(2))
    expected = [
        np.mean([np.corrcoef(x[c], y[c])[0, 1] for c in (0, 1)]) for x, y in zip(a, b, strict=True)
    ]
    assert np.allclose(likeness.correlation(a, b), expected)
    assert np.allclose(likeness.correlation(a, 0.1 * a + 0.3), 1)
    assert np.allclose(likeness.correlation(a[:, 0], -a[:, 0]), -1)
    assert likeness.correlation(a, torch.zeros_like(a)).tolist() == [0, 0, 0]


def test_what_is_typical_of_a_table_is_its_commonest_row():
    rows = ROW.repeat(5, 1)
    rows[0, 0], rows[0, 3:] = -1.0, torch.tensor([1.0, 0.0, 0.0])
    assert likeness.alike(likeness.typical(rows, TABLE)[None], ROW, TABLE).item() == 1


def test_colour():
    """PSNR, SSIM and PNG of three channels; a generator makes them."""
    images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert likeness.ssim(images, images).tolist() == pytest.approx([1] * 4)
    each = torch.stack([likeness.ssim(images[:, c], images[:, c].flip(0)) for c in range(3)])
    assert torch.allclose(likeness.ssim(images, images.flip(0)), each.mean(0), atol=1e-5)
    assert likeness.image_features(images).shape == (4, 3 * 49)
    content = png([images])
    assert struct.unpack(">IIBB", content[16:26])[2:] == (8, 2)  # 8 bits, colours
    assert Spy((3, 8, 8), target=0, seed=0).images(5).shape == (5, 3, 8, 8)


@pytest.mark.parametrize("kind", ["window", "table"])
def test_a_record_is_sought_whose_gradient_is_alike(kind, monkeypatch):
    """Also where the first layer is not dense over the whole record."""
    monkeypatch.setattr(inversion, "STEPS", 120)
    monkeypatch.setattr(inversion, "RESTARTS", 1)
    torch.manual_seed(0)
    nature = Nature("window", (2, 12), -1.0) if kind == "window" else TABLE
    first = nn.Conv1d(2, 6, 3) if kind == "window" else nn.LayerNorm(6)
    width = 60 if kind == "window" else 6
    model = nn.Sequential(
        first, nn.Tanh(), nn.Flatten(), nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 3)
    )
    x = torch.linspace(-0.8, 0.9, 12).repeat(1, 2, 1) if kind == "window" else ROW
    y = torch.tensor([1])
    error = nn.functional.cross_entropy(model(x), y)
    target = torch.autograd.grad(error, list(model.parameters()))
    found = inversion.invert(model, target, y, nature, seed=0)
    assert found.shape == nature.shape
    assert found.abs().max() <= 1
    if kind == "window":
        assert likeness.correlation(found[None], x).item() > 0.8


def test_of_a_table_only_numbers_move_and_not_what_is_flagged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    rows = torch.cat([ROW, torch.tensor([[0.95, 0.2, 0.0, 0.0, 0.0, 1.0]])])
    assert evasion.may_move(rows, TABLE).tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    for attack in (evasion.fgsm, evasion.pgd):
        moved = (attack(model, rows, torch.tensor([0, 1]), 0.1, TABLE) - rows).abs()
        assert moved.max() <= 0.2 + 1e-6  # a tenth of a range of 2
        assert moved[:, 2:].max() == 0
        assert moved[0, 1] == 0
    assert evasion.pgd(model, rows, torch.tensor([0, 1]), 0.1, TABLE).abs().max() <= 1
