"""Drawn images: public, the same each time, and of the kind that cameras and pens make."""

import numpy as np
import pytest

from clients.data.sets import load
from clients.data.settings import Data
from server.inference.synthetic import synthetic_images


@pytest.mark.parametrize("shape", [(8, 8), (22, 22), (20, 31)])
def test_images_are_the_same_each_time_and_differ_from_one_another(shape):
    images = synthetic_images(shape, 300)
    assert images.shape == (300, *shape)
    assert images.min() == 0
    assert images.max() == 1
    assert np.array_equal(images, synthetic_images(shape, 300))
    assert len(np.unique(images.reshape(300, -1), axis=0)) > 290
    assert not np.array_equal(images, synthetic_images(shape, 300, seed=1))
    assert 0.1 < images.mean() < 0.5


def test_what_units_meet_on_real_images_they_meet_on_drawn_ones():
    """Ranges of random smooth units: what is planned for drawn images holds for digits."""
    dataset = load(Data())
    real = dataset.test_x / dataset.scale
    drawn = synthetic_images(real.shape[1:], 2000)
    units = synthetic_images(real.shape[1:], 50, seed=2) - synthetic_images(real.shape[1:], 50, 3)
    peaks = [np.abs(np.einsum("bhw,uhw->bu", x, units)).max(0) for x in (real, drawn)]
    assert (peaks[1] * 2 > peaks[0]).all()  # two is the headroom that a plan keeps
    assert (peaks[1] < 4 * peaks[0]).all()
