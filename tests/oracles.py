"""Slow, obvious definitions that the fast kernels are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad

Array = NDArray[Any]


def scattering(image: Array, scales: int = 2, orientations: int = 8) -> Array:
    """The two-layer Morlet scattering of one image [H, W]: [C, H / 2^J, W / 2^J].

    S0 = x * phi, S1 = |x * psi1| * phi, S2 = ||x * psi1| * psi2| * phi, each path on its own.
    """
    pad = 2**scales
    padded = np.pad(np.asarray(image, dtype=np.float64), pad, mode="reflect")
    wide = 0.8 * 2 ** (scales - 1)

    def bump(shape: tuple[int, ...], sigma: float, slant: float, angle: float, xi: float) -> Array:
        """A Gaussian of mass one times exp(i xi u), u along `angle`; wrapped around the grid."""
        total = np.zeros(shape, dtype=np.complex128)
        for down in range(-2, 3):
            for right in range(-2, 3):
                for a in range(shape[0]):
                    y, x = a + down * shape[0], np.arange(shape[1]) + right * shape[1]
                    u = np.cos(angle) * y + np.sin(angle) * x
                    v = -np.sin(angle) * y + np.cos(angle) * x
                    envelope = np.exp(-(u**2 + slant**2 * v**2) / (2 * sigma**2))
                    total[a] += envelope * np.exp(1j * xi * u)
        return total * slant / (2 * np.pi * sigma**2)

    def wavelet(j: int, t: int) -> Array:
        angle = (int(orientations / 2 - 1) - t) * np.pi / orientations
        slant, sigma, xi = 4 / orientations, 0.8 * 2**j, 0.75 * np.pi / 2**j
        wave = bump(padded.shape, sigma, slant, angle, xi)
        envelope = bump(padded.shape, sigma, slant, angle, 0.0)
        return wave - wave.sum() / envelope.sum() * envelope

    def convolve(signal: Array, kernel: Array, every: int) -> Array:
        return np.fft.ifft2(np.fft.fft2(signal) * np.fft.fft2(kernel))[::every, ::every]

    def average(signal: Array, j: int) -> Array:
        """Down to one sample in 2^J from one in 2^j, without the border that the padding made."""
        phi = bump(padded.shape, wide, 1.0, 0.0, 0.0)[:: 2**j, :: 2**j] * 4**j
        return convolve(signal, phi, 2 ** (scales - j)).real[1:-1, 1:-1]

    psi = {(j, t): wavelet(j, t) for j in range(scales) for t in range(orientations)}
    zeroth, first, second = [average(padded, 0)], [], []
    for j1 in range(scales):
        for t1 in range(orientations):
            u1 = np.abs(convolve(padded, psi[j1, t1], 2**j1))
            first.append(average(u1, j1))
            for j2 in range(j1 + 1, scales):
                for t2 in range(orientations):
                    psi2 = psi[j2, t2][:: 2**j1, :: 2**j1] * 4**j1
                    second.append(average(np.abs(convolve(u1, psi2, 2 ** (j2 - j1))), j2))
    return np.stack(zeroth + first + second)


def per_sample_gradients(
    model: nn.Module, x: Tensor, losses: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Of each parameter, [B, ...]: `torch.func.grad` of one record's loss after another.

    Each is seen beside itself: of one alone, the gradient of torch's instance norm is another's.

    Args:
        losses: maps outputs [B, ...] to the loss of each record, [B].
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], record: Tensor) -> Tensor:
        return losses(functional_call(model, weights, (torch.stack([record, record]),)))[0]

    each = [grad(loss)(parameters, record) for record in x]
    return {name: torch.stack([one[name] for one in each]) for name in parameters}


def clipped_sum(net: nn.Module, x: Tensor, labels: Array, clip: float) -> Array:
    """What a step of DP-SGD sums before noise, [parameters]: one record after another, by autograd.

    Args:
        x: [B, ...]; labels: [B], of a cross-entropy.
    """
    total = 0.0
    for one, label in zip(x, labels, strict=True):
        net.zero_grad()
        nn.functional.cross_entropy(net(one[None]), torch.tensor([int(label)])).backward()
        g = torch.cat([p.grad.flatten() for p in net.parameters()]).numpy()
        total = total + g * min(1.0, clip / float(np.linalg.norm(g)))
    return np.asarray(total)
