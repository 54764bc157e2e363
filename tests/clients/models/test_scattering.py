"""The fast scattering transform against its definition, and the properties it is used for."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clients.models.scattering import _bank, scatter, scattering_steps


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


# ---- what it costs


class Products(TorchDispatchMode):
    """Counts every matrix product that torch carries out, by its operands."""

    def __init__(self):
        super().__init__()
        self.macs: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            (*batch, m, k), (*_, n) = args[0].shape, args[1].shape
            self.macs.append(int(np.prod(batch)) * m * k * n)
        else:
            assert "mm" not in str(function), function  # nor by another name
            assert "conv" not in str(function), function
            assert "fft" not in str(function), function
        return out


@pytest.mark.parametrize(
    ("size", "scales", "orientations"),
    [((28, 28), 2, 8), ((12, 20), 2, 8), ((24, 16), 3, 2), ((24, 16), 1, 4)],
)
def test_its_steps_are_the_products_that_torch_carries_out(size, scales, orientations) -> None:
    scatter(random_images(1, *size), scales=scales, orientations=orientations)  # makes the bank
    steps = scattering_steps(*size, scales=scales, orientations=orientations)
    told = [p.groups * p.positions * p.depth * p.outputs for step in steps if (p := step.product)]
    for count in (1, 3):
        with Products() as done:
            scatter(random_images(count, *size), scales=scales, orientations=orientations)
        assert sorted(done.macs) == sorted(count * macs for macs in told)
    found = scatter(random_images(1, *size), scales=scales, orientations=orientations)
    assert steps[-1].size == found.numel()
    for step in steps:
        size_of_inputs = sum(steps[at].size for at in step.reads if at >= 0)
        if step.product is None:
            assert step.size in (size_of_inputs, size_of_inputs / 2)  # a modulus of two parts


def test_its_weights_are_those_of_the_bank() -> None:
    bank = _bank(28, 28, 2, 8)
    matrices = [*bank.average_image, *(m for pair in bank.average for m in pair)]
    for wavelets in bank.wavelets.values():
        matrices += [wavelets.analyse, wavelets.filter, wavelets.synthesise]
    products = [step.product for step in scattering_steps(28, 28) if step.product]
    told = sum(p.groups * p.depth * p.outputs for p in products if not p.repeated)
    assert told == sum(matrix.numel() for matrix in matrices) == 2_503_868


def test_the_products_of_one_digit() -> None:
    """28 x 28, padded to 36 x 36, and 18 x 18 at the second scale; 8 orientations, 7 x 7 out."""
    first = 28 * 28 * 72 + 2 * 36 * 56 * 288 + 72 * 288 * 72  # of the image: 36 x 2 parts
    second = 28 * 28 * 72 + 2 * 18 * 112 * 144 + 36 * 144 * 36  # at twice the scale
    deeper = 288 * 36 * 72 + 2 * 18 * 8 * 144 * 144 + 36 * 1152 * 36  # of 8 maps of the first
    averages = (7 * 28 * 28 + 7 * 28 * 7) + (7 * 36 * 288 + 56 * 36 * 7)
    averages += (7 * 18 * 1152 + 448 * 18 * 7) + (7 * 18 * 144 + 56 * 18 * 7)
    products = [step.product for step in scattering_steps(28, 28) if step.product]
    told = sum(p.groups * p.positions * p.depth * p.outputs for p in products)
    assert told == first + second + deeper + averages == 12_066_140
