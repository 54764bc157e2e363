"""Records that are no grey pictures: how alike they are, drawn from gradients, and altered."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from attacks import evasion
from attacks.reconstruction import inversion, likeness
from attacks.reconstruction.generator import Spy
from attacks.reconstruction.gradients import Gradients
from attacks.reconstruction.pictures import png
from attacks.tape import Column, Nature, cross_entropy

TABLE = Nature(
    "table", (6,), -1.0,
    columns=(Column("age", 0, 1), Column("dose", 1, 2, flags=(-1.0,)), Column("ward", 3, 3, 3)),
)  # fmt: skip
ROW = torch.tensor([[0.5, -1.0, 1.0, 0.0, 1.0, 0.0]])
BENT = Nature(
    "table", (8,), -1.0,
    columns=(Column("dose", 0, 5, flags=(0.0,), knots=3), Column("ward", 5, 3, 3)),
)  # fmt: skip


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
    spy = Spy(images, target=0, seed=0)
    spy.see(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 2)))
    assert spy.images(5, steps=1).shape == (5, 3, 12, 12)


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
    gradients = Gradients(model, cross_entropy, x, y)
    found = inversion.invert(gradients, gradients(x, y).detach(), y, nature, [0])
    assert found.shape == (1, *nature.shape)
    assert found.abs().max() <= 1
    if kind == "window":
        assert likeness.correlation(found, x).item() > 0.8


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


def test_of_a_bent_number_the_number_itself_counts():
    row = BENT.settled(torch.tensor([[0.5, 0, 0, 0, 0, 0, 1.0, 0]]))
    assert row[0].tolist() == [0.5, 0, 0, 0.5, 0.5, 0, 1, 0]
    noisy = row.clone()
    noisy[0, 2:5] = torch.tensor([0.9, 0.1, 0.7])
    assert likeness.alike(noisy, row, BENT).item() == 1
    noisy[0, 0] = 0.3
    assert likeness.alike(noisy, row, BENT).item() == 0.5


def test_a_number_is_altered_with_its_knots():
    """The model reads knots alone: who moves the number only would turn no answer."""
    torch.manual_seed(0)
    rows = torch.zeros(40, 8)
    rows[:, 0] = torch.linspace(-0.9, 0.9, 40)
    rows[::5, :2], rows[:, 5] = torch.tensor([0.0, 1.0]), 1.0
    rows = BENT.settled(rows)
    model = nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 2], model.weight[1, 4] = 1.0, 1.0
    y = (rows[:, 0] > 0).long()
    for attack in (evasion.fgsm, evasion.pgd):
        altered = attack(model, rows, y, 0.1, BENT)
        assert torch.allclose(BENT.settled(altered), altered)
        assert torch.equal(altered[::5], rows[::5])  # missing, and so it stays
        assert (altered[:, 0] - rows[:, 0]).abs().max() <= 0.2 + 1e-6
        assert torch.equal(altered[:, 5:], rows[:, 5:])
        near = (rows[:, 0].abs() < 0.19) & (rows[:, 1] == 0)
        assert (model(altered).argmax(1) != y)[near].all()


def test_a_bent_row_is_drawn_from_a_gradient():
    """What is sought has the knots that its numbers say."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 2))
    row = BENT.settled(torch.tensor([[-0.4, 0, 0, 0, 0, 0, 1.0, 0]]))
    y = torch.tensor([1])
    gradients = Gradients(model, cross_entropy, row, y)
    drawn = inversion.invert(gradients, gradients(row, y).detach(), y, BENT, [0])
    assert likeness.alike(drawn, row, BENT).item() == 1
