"""Images out of gradients and models, how alike images are, and answers that are turned."""

import struct
import zlib

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from attacks import evasion
from attacks.reconstruction import inversion, likeness
from attacks.reconstruction.generator import Spy
from attacks.reconstruction.gradients import Gradients
from attacks.reconstruction.pictures import png
from attacks.tape import Nature, cross_entropy

GREY = Nature("picture", (16, 16))


def images(num=6, side=16, seed=0):
    return torch.rand(num, side, side, generator=torch.Generator().manual_seed(seed))


def test_psnr():
    a = torch.zeros(1, 4, 4)
    assert likeness.psnr(a, a + 0.1).item() == pytest.approx(20, abs=1e-4)
    assert likeness.psnr(a, a).item() == np.inf
    assert likeness.mean_finite(likeness.psnr(a, a)) == 100


def test_ssim_window_by_window():
    """Against loops over positions and pixels, from the paper's definition."""
    a, b = images(1)[0].double(), images(1, seed=1)[0].double()
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    w = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(6):
        for j in range(6):
            p, q = a[i : i + 11, j : j + 11].numpy(), b[i : i + 11, j : j + 11].numpy()
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum()
            c = (w * (p - mp) * (q - mq)).sum()
            top = (2 * mp * mq + 1e-4) * (2 * c + 9e-4)
            values.append(top / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert likeness.ssim(a[None], b[None]).item() == pytest.approx(np.mean(values), abs=1e-9)
    assert likeness.ssim(a[None], a[None]).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 11"):
        likeness.ssim(images(1, 8), images(1, 8))


def test_frechet_of_normals():
    """Between N(0, 1) and N(m, s^2) in each axis it is m^2 + (s - 1)^2."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40_000, 2))
    b = rng.normal(size=(40_000, 2)) * [2.0, 1.0] + [0.0, 3.0]
    assert likeness.frechet(a, b) == pytest.approx(1 + 9, rel=0.02)
    assert likeness.frechet(a, a) == pytest.approx(0, abs=1e-4)


def test_nearest():
    a, b = images(3), images(5, seed=1)
    distances, which = likeness.nearest(a, b)
    slow = torch.stack([torch.stack([(x - y).norm() for y in b]) for x in a])
    assert torch.allclose(distances, slow.min(1).values, atol=1e-4)
    assert which.tolist() == slow.argmin(1).tolist()


def test_permutation_test():
    assert likeness.sign_flip_p(np.array([1.0, 2.0, 3.0])) == 1 / 8
    assert likeness.sign_flip_p(np.array([-1.0, -2.0, -3.0])) == 1
    rng = np.random.default_rng(0)
    found = [likeness.sign_flip_p(rng.normal(size=12)) < 0.1 for _ in range(200)]
    assert binomtest(sum(found), 200, 0.1).pvalue > 1e-3


def test_png_is_whole():
    content = png([images(3, 4), images(2, 4)], enlarge=2)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (2 * 3 * 6, 2 * 2 * 6)
    size = struct.unpack(">I", content[33:37])[0]
    raw = zlib.decompress(content[41 : 41 + size])
    assert len(raw) == height * (width + 1)
    assert struct.unpack(">I", content[41 + size : 45 + size])[0] == zlib.crc32(
        content[37 : 41 + size]
    )


def test_a_dense_layer_gives_the_image_away():
    """Exactly, and whatever the gradient was clipped to; noise takes it back."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 20), nn.ReLU(), nn.Linear(20, 4))
    x = images(1)
    name, layer = inversion.first_dense(model)
    assert (name, layer) == ("1", model[1])
    loss = nn.functional.cross_entropy(model(x), torch.tensor([2]))
    weight, bias, *_ = torch.autograd.grad(loss, list(model.parameters()))
    for scale in (1.0, 1e-3):
        found = inversion.invert_dense(scale * weight, scale * bias, GREY)
        assert likeness.psnr(found[None], x).item() > 80
    noisy = inversion.invert_dense(
        weight + 0.1 * torch.randn(weight.shape), bias + 0.1 * torch.randn(bias.shape), GREY
    )
    assert likeness.psnr(noisy[None], x).item() < 20
    assert inversion.first_dense(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2))) is None


def test_a_convnet_gives_some_of_it_away(monkeypatch):
    """A smooth image, from its gradient: nearer than what the search started from."""
    monkeypatch.setattr(inversion, "STEPS", 150)
    monkeypatch.setattr(inversion, "RESTARTS", 1)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 16)), nn.Conv2d(1, 8, 5, 2), nn.Tanh(), nn.Flatten(), nn.Linear(288, 4)
    )
    line = torch.linspace(0, 1, 16)
    x = (torch.outer(line, 1 - line) * 2).clamp(0, 1)[None]
    y = torch.tensor([1])
    gradients = Gradients(model, cross_entropy, x, y)
    found = inversion.invert(gradients, gradients(x, y).detach(), y, GREY, [0])
    assert likeness.psnr(found, x).item() > 15
    assert likeness.psnr(images(1, seed=0), x).item() < 9


def test_a_spy_learns_what_a_model_looks_for():
    """A fixed model that wants light on the left: so are the images, and the model is as it was."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    with torch.no_grad():
        side = torch.ones(12, 12)
        side[:, 6:] = -1
        model[1].weight.copy_(torch.stack([side.flatten(), -side.flatten()]) / 8)
    before, own = model[1].weight.clone(), images(60, seed=2, side=12)
    spy = Spy(own, target=0, seed=0)
    spy.see(model)
    made = spy.images(20)
    assert (made[:, :, :6].mean((1, 2)) > made[:, :, 6:].mean((1, 2)) + 0.1).all()
    assert torch.equal(model[1].weight, before)
    assert model[1].weight.grad is None
    assert likeness.pairwise_ssim(made) < likeness.pairwise_ssim(made[:1].repeat(20, 1, 1))


def test_a_model_that_says_nothing_leaves_the_prior():
    """Without a word from a model the images are the adversary's own records, and more than those
    are drawn again."""
    own = images(12, seed=3)
    spy = Spy(own, target=0, seed=0)
    mute = nn.Sequential(nn.Flatten(), nn.Linear(own[0].numel(), 2))
    nn.init.zeros_(mute[1].weight)
    spy.see(mute)
    assert torch.allclose(spy.images(15), own[spy.origins(15)], atol=0.02)


def linear_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def test_fgsm_on_a_linear_model():
    """The worst change of all there is: each pixel by epsilon, by the sign of its weight."""
    model, x, y = linear_model(), images(4, 8) * 0.5 + 0.25, torch.tensor([0, 1, 0, 1])
    w = model[1].weight
    push = torch.stack([(w[1 - int(k)] - w[int(k)]).sign().view(8, 8) for k in y])
    assert torch.allclose(evasion.fgsm(model, x, y, 0.1), x + 0.1 * push, atol=1e-6)


def test_pgd_stays_near_and_is_no_weaker():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = images(60, 8), torch.arange(60) % 4
    near = evasion.pgd(model, x, y, 0.1)
    assert (near - x).abs().max() <= 0.1 + 1e-6
    assert near.min() >= 0
    assert near.max() <= 1
    found = evasion.robust_accuracy(model, x, y)
    for epsilon in evasion.EPSILONS:
        pgd, fgsm = found[f"pgd {epsilon:g}"], found[f"fgsm {epsilon:g}"]
        assert pgd["value"] <= fgsm["value"] <= found["clean"]["value"]
        assert pgd["low"] <= pgd["value"] <= pgd["high"]


def test_rounding():
    model = evasion.rounded(linear_model(), 4)
    assert len(model[1].weight.unique()) <= 15
    assert len(evasion.rounded(linear_model(), 2)[1].weight.unique()) <= 3
    assert torch.equal(model[1].bias, linear_model()[1].bias)
