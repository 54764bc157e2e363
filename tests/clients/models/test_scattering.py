"""The fast scattering transform against its definition, and the properties it is used for."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch

from clients.models.scattering import scatter


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (28, 28)])
def test_equals_the_definition(size: tuple[int, int]) -> None:
    images = random_images(2, *size)
    fast = scatter(images)
    assert fast.shape == (2, 81, size[0] // 4, size[1] // 4)
    assert fast.dtype == torch.float32
    for image, result in zip(images, fast, strict=True):
        slow = oracles.scattering(image.numpy())
        np.testing.assert_allclose(result.numpy(), slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("scales", "orientations"), [(1, 4), (2, 3), (3, 2)])
def test_other_banks_equal_the_definition(scales: int, orientations: int) -> None:
    images = random_images(1, 24, 16)
    fast = scatter(images, scales=scales, orientations=orientations)
    slow = oracles.scattering(images[0].numpy(), scales, orientations)
    np.testing.assert_allclose(fast[0].numpy(), slow, rtol=1e-4, atol=1e-6)


def test_the_block_size_does_not_alter_the_result() -> None:
    images = random_images(7, 12, 12)
    whole = scatter(images)
    for block in (1, 3, 100):
        torch.testing.assert_close(scatter(images, block=block), whole, rtol=1e-4, atol=1e-6)


def test_no_images() -> None:
    assert scatter(torch.zeros(0, 28, 28)).shape == (0, 81, 7, 7)


def test_a_constant_image_has_no_wavelet_coefficients() -> None:
    result = scatter(torch.full((1, 28, 28), 0.7))
    torch.testing.assert_close(result[:, 0], torch.full((1, 7, 7), 0.7), rtol=1e-3, atol=0)
    assert result[:, 1:].abs().max() < 1e-5


def test_coefficients_are_homogeneous_and_nonnegative() -> None:
    images = random_images(2, 28, 28)
    result = scatter(images)
    assert result.min() >= 0
    torch.testing.assert_close(scatter(images / 2), result / 2, rtol=1e-4, atol=1e-6)


def test_the_energy_does_not_grow() -> None:
    images = random_images(4, 28, 28)
    padded = torch.nn.functional.pad(images[:, None], (4, 4, 4, 4), mode="reflect")
    energy = 4**2 * scatter(images).square().sum((1, 2, 3))
    assert (energy <= padded.square().sum((1, 2, 3))).all()
    assert (energy > 0.1 * images.square().sum((1, 2))).all()


def test_a_small_shift_moves_the_coefficients_less_than_the_pixels() -> None:
    row = torch.arange(28.0)
    strokes = [torch.exp(-((row - c) ** 2) / 2)[:, None].expand(28, 28) for c in (13.0, 14.0)]
    images = torch.stack(strokes)
    features = scatter(images)

    def change(x: torch.Tensor) -> float:
        return float((x[0] - x[1]).norm() / x[0].norm())

    assert change(features) < 0.7 * change(images)


def test_a_quarter_turn_turns_the_orientations() -> None:
    image = random_images(1, 28, 28)
    here, there = scatter(image), scatter(image.transpose(1, 2))
    # Orientation t has the angle (3 - t) pi / 8; transposing maps a to pi / 2 - a: t to 2 - t.
    for t in range(8):
        expected = here[:, 1 + (2 - t) % 8].transpose(1, 2)
        torch.testing.assert_close(there[:, 1 + t], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 8), (10, 12), (28, 30), (0, 8)])
def test_refuses_sizes_it_cannot_pad_or_subsample(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        scatter(torch.zeros(1, *size))


def test_refuses_what_is_no_stack_of_images() -> None:
    with pytest.raises(ValueError, match=r"\[N, H, W\]"):
        scatter(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="block >= 1"):
        scatter(torch.zeros(1, 8, 8), block=0)
