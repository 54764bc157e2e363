"""Strokes and shapes: drawn and made even as a slow computation says, by no record."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from clients.models import Model, front_of, say_front, strokes
from clients.models.scattering import CHANNELS, scatter
from clients.models.strokes import (
    SHAPES,
    STROKES,
    draw,
    draw_shapes,
    even_out,
    logarithms,
    normalised,
)
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


def slowly_shaped(num, height, width):
    """Pixel by pixel."""
    rng = np.random.default_rng(29)
    side, full = min(height, width), 2 * math.pi
    for _ in range(num):
        half_y, half_x = rng.uniform(0.2, 0.5, 2) * (height, width) / side
        y, x = rng.uniform(-0.08, 0.08, 2) * (height, width) / side
        bumps = [0.25 * rng.normal() / math.sqrt(k + 1) for k in range(5)]
        phases, level, waves = rng.uniform(0, full, 5), rng.uniform(0.2, 0.9), []
        for _ in range(rng.integers(1, 4)):
            cycles = math.exp(rng.uniform(math.log(0.5), math.log(11)))
            angle = rng.uniform(0, full / 2)
            waves.append((cycles, angle, rng.uniform(), rng.uniform() < 0.5, rng.uniform(0, 0.35)))
        picture = np.zeros((height, width))
        for row in range(height):
            for column in range(width):
                down, right = (row - (height - 1) / 2) / side, (column - (width - 1) / 2) / side
                at_y, at_x = (down - y) / half_y, (right - x) / half_x
                turn, edge, grey = math.atan2(at_y, at_x), 1.0, level
                for k in range(5):
                    edge += bumps[k] * math.cos((k + 1) * turn + phases[k])
                for cycles, angle, start, striped, strength in waves:
                    along = down * math.sin(angle) + right * math.cos(angle)
                    wave = math.cos(full * (cycles * along + start))
                    grey += strength * (math.copysign(1, wave) if striped else wave)
                within = (edge - math.hypot(at_y, at_x)) * min(half_y, half_x) * side + 0.5
                picture[row, column] = min(1, max(0, grey)) * min(1, max(0, within))
        yield picture


@pytest.mark.parametrize(("height", "width"), [(16, 12), (12, 20)])
def test_shapes_are_drawn_as_they_are_defined(height, width):
    made = draw_shapes(6, height, width)
    assert made.shape == (6, height, width)
    for found, expected in zip(made.numpy(), slowly_shaped(6, height, width), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ((made > 0).float().mean((1, 2)) > 0.1).all()  # filled, where strokes are thin


def test_logarithms_are_normalised_within_each_record():
    x = torch.rand(3, 81, 2, 3) - 0.01  # products may leave a little less than nothing
    expected = np.log(np.maximum(x.numpy(), 0) + 0.002).reshape(3, -1)
    expected = (expected - expected.mean(1, keepdims=True)) / expected.std(1, keepdims=True)
    torch.testing.assert_close(
        logarithms(x).numpy(), expected.reshape(3, 81, 6), atol=1e-4, rtol=1e-4
    )


def test_a_front_of_shapes_is_the_logarithms_made_even_by_shapes():
    images = torch.rand(3, 8, 12)
    found = front_of(Model(name="linear", front="shapes", axes=60), Form((8, 12), 10))(images)
    by = even_out(logarithms(scatter(draw_shapes(strokes.DRAWN, 8, 12))), 60)
    expected = by(logarithms(scatter(images)))
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.002)


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


@pytest.mark.parametrize("kind", [STROKES, SHAPES], ids=["strokes", "shapes"])
def test_no_two_axes_vary_alike_on_the_pictures_that_are_drawn(kind):
    """Else another library might turn them about one another, and devices read other features."""
    x = kind.prepare(scatter(kind.draw(strokes.DRAWN, 28, 28))).double()
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
    for front in ("strokes", "stroke-halves", "shapes", "scatter"):
        with pytest.raises(ModelError, match=rf"front = '{front}': .* not 9 x 8; use front = 'no"):
            front_of(Model(front=front), Form((9, 8), 10))
    assert say_front(Model(front="shapes", axes=9), GREY) == "front = 'shapes', axes = 9"
    assert say_front(Model(name="scatter"), GREY) == "front = 'scatter'"
    assert say_front(Model(), GREY) == ""
