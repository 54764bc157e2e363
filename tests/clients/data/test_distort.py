import numpy as np
import pytest
import torch

from clients.data.distort import distort


def test_colours_are_distorted_alike():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((5, 3, 12, 9), np.float32))
    seeds = rng.integers(0, 1 << 63, 5).astype(np.uint64)
    whole = distort(images, 0.7, seeds)
    assert not torch.equal(whole, images)
    for channel in range(3):
        assert torch.equal(whole[:, channel], distort(images[:, channel], 0.7, seeds))


@pytest.mark.parametrize("shape", [(0, 8, 8), (0, 3, 8, 8)])
def test_nobody_is_distorted(shape):
    assert distort(torch.zeros(shape), 1.0, np.zeros(0, np.uint64)).shape == shape
