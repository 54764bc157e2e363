"""Strokes: drawn and made even as a slow computation says, by no record."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from clients.models import Model, front_of, say_front, strokes
from clients.models.scattering import CHANNELS, scatter
from clients.models.strokes import draw, even_out, normalised
from clients.protocol import Form
from privacy.errors import ModelError

GREY = Form((16, 12), 10)


def slowly_drawn(num, height, width):
    """Curve by curve, and of each pixel the nearest of a curve's points."""
    rng = np.random.default_rng(28)
    side = min(height, width)
    for _ in range(num):
        picture = np.zeros((height, width))
        half = rng.uniform(0.8, 1.8) * side / 28
        for _ in range(rng.integers(1, 4)):
            low, high = side / 7, np.array([height - 1, width - 1]) - side / 7
            p = low + rng.random((4, 2)) * (high - low)
            points = []
            for t in np.linspace(0, 1, 40):  # De Casteljau's way
                now = list(p)
                while len(now) > 1:
                    now = [(1 - t) * a + t * b for a, b in pairwise(now)]
                points.append(now[0])
            for row in range(height):
                for column in range(width):
                    near = min(math.dist((row, column), point) for point in points)
                    ink = min(1.0, max(0.0, half + 0.5 - near))
                    picture[row, column] = max(picture[row, column], ink)
        yield picture


def test_pictures_are_drawn_as_they_are_defined():
    made = draw(4, 16, 12)
    assert made.shape == (4, 16, 12)
    for found, expected in zip(made.numpy(), slowly_drawn(4, 16, 12), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (made.amax((1, 2)) > 0.9).all()


def test_a_product_of_covariances_is_made_even():
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(5, 5)), rng.normal(size=(4, 4))
    x = torch.from_numpy(left @ rng.normal(size=(20_000, 5, 4)) @ right + rng.normal(size=(5, 4)))
    made = even_out(x, 20)
    y = made(x.float()).double()
    assert y.mean(0).abs().max() < 1e-3
    covariance, ideal = torch.cov(y.T).numpy(), []
    for a in np.linalg.eigvalsh(left @ left.T):
        ideal += [a * b for b in np.linalg.eigvalsh(right.T @ right)]
    ideal = np.array(ideal)
    ideal = ideal / (ideal + 1e-3 * ideal.max()) ** (2 * 0.3)
    ideal *= covariance.trace() / ideal.sum()
    np.testing.assert_allclose(np.sort(np.diag(covariance)), np.sort(ideal), rtol=0.06)
    scale = np.sqrt(np.diag(covariance))
    assert np.abs(covariance / np.outer(scale, scale) - np.eye(20)).max() < 0.05
    assert abs(y.norm(dim=1).mean() - 50) < 0.01


def test_fewer_axes_are_those_along_which_strokes_vary_most():
    x = normalised(scatter(draw(50, 16, 12)))
    whole, few = even_out(x, CHANNELS * 12), even_out(x, 30)
    assert few.kept.tolist() == sorted(whole.scale.argsort()[:30].tolist())  # the least scaled up
    ratio = few(x) / whole(x)[:, few.kept]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=1e-3)


def test_no_two_axes_vary_alike_on_the_pictures_that_are_drawn():
    """Else another library might turn them about one another, and devices read other features."""
    x = normalised(scatter(draw(strokes.DRAWN, 28, 28))).double()
    x = x - x.mean(0)
    for form in ("nap,nbp->ab", "nap,naq->pq"):
        values = torch.linalg.eigvalsh(torch.einsum(form, x, x))
        assert (values[1:] / values[:-1]).min() > 1.003


@pytest.mark.parametrize(("axes", "kept"), [(0, 81 * 12), (50, 50), (800, 800), (5000, 81 * 12)])
def test_as_many_are_kept_as_are_asked_and_there_are(axes, kept):
    front = front_of(Model(name="linear", front="strokes", axes=axes), GREY)
    assert front.shape == (kept,)
    assert front(torch.rand(3, 16, 12)).shape == (3, kept)


def test_each_colour_is_made_even_by_itself():
    model = Model(name="linear", front="strokes", axes=50)
    images = torch.rand(2, 3, 16, 12)
    red, green, blue = images.unbind(1)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    made = front_of(model, Form((3, 16, 12), 10))(images)
    one = front_of(model, GREY)
    expected = torch.cat(
        [one(bright), one((blue - bright) / 1.772), one((red - bright) / 1.402)], 1
    )
    torch.testing.assert_close(made.float(), expected.float(), atol=0.05, rtol=0.01)


def test_what_is_no_such_picture_is_refused_by_the_key_that_asked_for_it():
    """And a front is said as it is set, not as its features are kept."""
    for front in ("strokes", "stroke-halves", "scatter"):
        with pytest.raises(ModelError, match=rf"front = '{front}': .* not 9 x 8; use front = 'no"):
            front_of(Model(front=front), Form((9, 8), 10))
    assert say_front(Model(front="strokes", axes=9), GREY) == "front = 'strokes', axes = 9"
    assert say_front(Model(name="scatter"), GREY) == "front = 'scatter'"
    assert say_front(Model(), GREY) == ""
