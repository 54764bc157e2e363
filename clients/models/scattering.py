"""A fixed two-layer Morlet scattering transform, computed with matrix products only.

Bruna & Mallat, "Invariant Scattering Convolution Networks", IEEE PAMI 35(8), 2013: for an image x
the output is S0 = x * phi_J, S1[j, t] = |x * psi_jt| * phi_J and, for j1 < j2,
S2[j1, t1, j2, t2] = ||x * psi_j1t1| * psi_j2t2| * phi_J (section 2; paths of length <= 2).
psi_jt is a Morlet wavelet of width 0.8 2^j, centre frequency (3/4) pi / 2^j and slant 4 / L; phi_J
is a Gaussian of width 0.8 2^(J-1). The image is reflect-padded by 2^J, every convolution is
circular on the padded grid, a modulus of scale j is sampled every 2^j pixels and the output every
2^J, and the one padded sample on each side of the output is dropped. Nothing is learned from data.

How it is made fast: a convolution by psi is a DFT along one axis (`analyse`), then for each
frequency a dense matrix along the other axis, all orientations at once (`filter`), then an inverse
DFT (`synthesise`). Padding and subsampling are folded into these matrices exactly, and each product
leaves its result as the next one reads it: maps are stored as [rows, maps, columns], and leave a
layer as [columns, maps, rows].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from clients.models.transform import Product, Step

BLOCK = 32  # images worked on at a time
CHANNELS, GROUPS = 81, 27  # of two scales and eight orientations


def scatter(
    images: Tensor, *, scales: int = 2, orientations: int = 8, block: int = BLOCK
) -> Tensor:
    """Scattering coefficients of float32 `images` [N, H, W] in [0, 1].

    Returns float32 [N, C, H / 2^J, W / 2^J] with J = `scales`, L = `orientations` and
    C = 1 + J L + L^2 J (J - 1) / 2 (81 by default): S0, then S1 by (j, t), then S2 by
    (j1, t1, j2, t2). `block` images are worked on at a time: it bounds the memory and does not
    alter the result.
    """
    step = 2**scales
    if images.ndim != 3 or min(scales, orientations, block) < 1:
        raise ValueError("scatter needs images [N, H, W], and scales, orientations and block >= 1")
    count, height, width = images.shape
    if height % step or width % step or min(height, width) <= step:
        raise ValueError(
            f"scatter needs a height and a width that are multiples of {step} and, to be "
            f"reflect-padded, larger than {step}: not {height} x {width}"
        )
    channels = 1 + scales * orientations + orientations**2 * scales * (scales - 1) // 2
    out = torch.empty(count, channels, height // step, width // step)
    bank = _bank(height, width, scales, orientations)
    for start in range(0, count, block):
        maps = images[start : start + block].float().transpose(0, 1).contiguous()
        _scatter_block(maps, bank, scales, orientations, out[start : start + block])
    return out


def _scatter_block(maps: Tensor, bank: _Bank, scales: int, orientations: int, out: Tensor) -> None:
    """Fill `out` [n, C, h, w] from `maps` [H, n, W]."""
    n, _, h, w = out.shape
    out[:, 0] = _low_pass(maps, *bank.average_image).transpose(0, 1)
    at = 1 + scales * orientations
    for j1 in range(scales):
        u1 = bank.wavelets[j1, None](maps)  # [W / 2^j1, n L, H / 2^j1] of the padded grid
        s1 = _low_pass(u1, *reversed(bank.average[j1])).view(w, n, -1, h)
        out[:, 1 + j1 * orientations : 1 + (j1 + 1) * orientations] = s1.permute(1, 2, 3, 0)
        paths = (orientations, scales - 1 - j1, orientations)  # t1, j2, t2
        s2 = out[:, at : at + math.prod(paths)].view(n, *paths, h, w)
        at += math.prod(paths)
        for j2 in range(j1 + 1, scales):
            u2 = bank.wavelets[j2, j1](u1)  # [H / 2^j2, n L L, W / 2^j2]
            averaged = _low_pass(u2, *bank.average[j2]).view(h, n, orientations, orientations, w)
            s2[:, :, j2 - j1 - 1] = averaged.permute(1, 2, 3, 0, 4)


def _low_pass(maps: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """maps [P, n, Q], left [P', P], right [Q', Q] -> [P', n, Q']."""
    return (left @ maps.flatten(1)).view(-1, *maps.shape[1:]) @ right.T


@dataclass(frozen=True)
class _Wavelets:
    """|maps * psi_t| for every orientation t, subsampled by s: [P, n, Q] -> [Q', n L, P']."""

    analyse: Tensor  # [Q, s Q' 2]: pad and DFT the second axis
    filter: Tensor  # [Q', 2, P s 2, L P']: pad and filter the first axis, for each frequency mod Q'
    synthesise: Tensor  # [2 Q', Q' 2]: inverse DFT of the second axis
    samples: int  # P'

    def __call__(self, maps: Tensor) -> Tensor:
        p, n, _ = maps.shape
        q = len(self.filter)
        waves = (maps @ self.analyse).view(p, n, -1, q, 2).permute(3, 1, 0, 2, 4)
        waves = waves.reshape(q, n, -1)
        # (a broadcast `waves @ filter` would copy the waves)
        filtered = torch.stack([torch.bmm(waves, self.filter[:, part]) for part in range(2)], 1)
        real, imag = (self.synthesise @ filtered.view(2 * q, -1)).chunk(2)
        return real.square().add_(imag.square()).sqrt_().view(q, -1, self.samples)


@dataclass(frozen=True)
class _Bank:
    average_image: tuple[Tensor, Tensor]  # phi_J along rows and columns, image -> output
    average: list[tuple[Tensor, Tensor]]  # the same, padded grid sampled every 2^j -> output
    wavelets: dict[tuple[int, int | None], _Wavelets]  # (j, None) on images, (j2, j1) on U1[j1]


# ---- what it costs


def scattering_steps(
    height: int, width: int, *, scales: int = 2, orientations: int = 8
) -> list[Step]:
    """The products of `scatter` and what stands between them, for one image, in its order.

    The last step gathers the coefficients, C x H / 2^J x W / 2^J of them. Copies between
    products are not among the steps, as views are not.
    """
    bank = _bank(height, width, scales, orientations)
    plan = _Plan()
    gathered = [plan.low_pass("S0", -1, (height, 1, width), *bank.average_image)]
    repeated: set[int] = set()  # scales whose average is in memory already

    def average(name: str, source: int, sides: tuple[int, int, int], j: int, turned: bool) -> int:
        matrices = bank.average[j][::-1] if turned else bank.average[j]
        at = plan.low_pass(name, source, sides, *matrices, repeated=j in repeated)
        repeated.add(j)
        return at

    for j1 in range(scales):
        u1, sides = plan.wavelets(f"U1.{j1}", -1, (height, 1, width), bank.wavelets[j1, None])
        gathered.append(average(f"S1.{j1}", u1, sides, j1, True))
        for j2 in range(j1 + 1, scales):
            u2, deeper = plan.wavelets(f"U2.{j1}{j2}", u1, sides, bank.wavelets[j2, j1])
            gathered.append(average(f"S2.{j1}{j2}", u2, deeper, j2, False))
    plan.add("gather", tuple(gathered), sum(plan.steps[at].size for at in gathered))
    return plan.steps


class _Plan:
    """Steps being written down; maps are [P, n, Q], and each method gives the index of its last."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(
        self, name: str, reads: tuple[int, ...], size: int, product: Product | None = None
    ) -> int:
        self.steps.append(Step(name, reads, size, product))
        return len(self.steps) - 1

    def multiply(self, name: str, source: int, product: Product) -> int:
        size = product.groups * product.positions * product.outputs
        return self.add(name, (source,), size, product)

    def low_pass(
        self,
        name: str,
        source: int,
        sides: tuple[int, int, int],
        left: Tensor,
        right: Tensor,
        repeated: bool = False,
    ) -> int:
        """As `_low_pass`."""
        (p, n, q), (rows, columns) = sides, (len(left), len(right))
        down = self.multiply(f"{name} rows", source, Product(1, n * q, p, rows, repeated))
        across = Product(1, rows * n, q, columns, repeated)
        return self.multiply(f"{name} columns", down, across)

    def wavelets(
        self, name: str, source: int, sides: tuple[int, int, int], bank: _Wavelets
    ) -> tuple[int, tuple[int, int, int]]:
        """As `_Wavelets`; also the sides of its maps."""
        (p, n, q), (out, parts, depth, width) = sides, bank.filter.shape
        spectrum = Product(1, p * n, q, bank.analyse.shape[1])
        waves = self.multiply(f"{name} analyse", source, spectrum)
        filtered = [
            self.multiply(f"{name} filter, {part}", waves, Product(out, n, depth, width))
            for part in ("real", "imaginary")
        ]
        maps = n * width
        inverse = Product(1, maps, parts * out, 2 * out)
        whole = self.add(f"{name} synthesise", tuple(filtered), maps * 2 * out, inverse)
        modulus = self.add(f"{name} modulus", (whole,), maps * out)
        return modulus, (out, maps // bank.samples, bank.samples)


# ---- the matrices


@lru_cache(maxsize=8)
def _bank(height: int, width: int, scales: int, orientations: int) -> _Bank:
    pads = [_reflect(size, 2**scales) for size in (height, width)]
    shape = (len(pads[0]), len(pads[1]))
    average = [[_gaussian_matrix(size, scales, j) for size in shape] for j in range(scales)]
    wavelets: dict[tuple[int, int | None], _Wavelets] = {}
    for j in range(scales):
        psi = torch.stack([_morlet(shape, j, t, orientations) for t in range(orientations)])
        wavelets[j, None] = _wavelets(psi, pads[0], pads[1], 2**j)
        for j1 in range(j):  # U1[j1] is sampled every 2^j1 and has its axes exchanged
            coarse = 4**j1 * psi[:, :: 2**j1, :: 2**j1].transpose(1, 2)
            rows, columns = (torch.eye(size, dtype=torch.float64) for size in coarse.shape[1:])
            wavelets[j, j1] = _wavelets(coarse, rows, columns, 2 ** (j - j1))
    return _Bank(
        ((average[0][0] @ pads[0]).float(), (average[0][1] @ pads[1]).float()),
        [(rows.float(), columns.float()) for rows, columns in average],
        wavelets,
    )


class Parts(NamedTuple):
    """Of what a transform of two scales and eight orientations is made.

    Attributes:
        averages: of every pixel of the padded grid, and of every second: along rows, along columns.
        reflected: which pixel each of the padded grid is, along rows and along columns.
        spectra: of the wavelets, which are real, over P Q: [2, 8, P, Q].
    """

    averages: list[tuple[Tensor, Tensor]]
    reflected: tuple[Tensor, Tensor]
    spectra: Tensor


def parts_of(height: int, width: int) -> Parts:
    """Float32, for who computes the transform otherwise than by these products."""
    scales, orientations = 2, 8
    pads = [_reflect(size, 2**scales) for size in (height, width)]
    p, q = len(pads[0]), len(pads[1])
    psi = torch.stack([
        torch.stack([_morlet((p, q), j, t, orientations) for t in range(orientations)])
        for j in range(scales)
    ])  # fmt: skip
    averages = _bank(height, width, scales, orientations).average
    spectra = torch.fft.fft2(psi).real / (p * q)
    return Parts(averages, (pads[0].argmax(1), pads[1].argmax(1)), spectra.float())


def _wavelets(psi: Tensor, pad_p: Tensor, pad_q: Tensor, step: int) -> _Wavelets:
    """The matrices for wavelets psi [L, P, Q] on maps which pad_p and pad_q bring to [P, Q]."""
    p, q = psi.shape[1:]
    dft_p, dft_q = _dft(p), _dft(q)
    analyse = torch.view_as_real((dft_q @ pad_q.to(dft_q)).T.contiguous()).flatten(1)
    rows = torch.einsum(  # r: sample, f: frequency, l: orientation, a k: frequency, i: input sample
        "rf,lfak,fi->kialr",
        dft_p.conj()[::step] / p,
        torch.fft.fft2(psi).unflatten(2, (step, q // step)) / q,
        dft_p @ pad_p.to(dft_p),
    )
    # A complex factor c acts on (re, im) as [[Re c, -Im c], [Im c, Re c]].
    parts = (torch.stack([rows.real, -rows.imag], 3), torch.stack([rows.imag, rows.real], 3))
    dense = torch.stack([part.flatten(1, 3).flatten(2) for part in parts], 1)
    inverse = _dft(q // step).conj()
    synthesise = torch.cat(
        [
            torch.stack([inverse.real, -inverse.imag], 2).flatten(1),
            torch.stack([inverse.imag, inverse.real], 2).flatten(1),
        ]
    )
    return _Wavelets(analyse.float(), dense.float(), synthesise.float(), p // step)


def _morlet(shape: tuple[int, int], j: int, t: int, orientations: int) -> Tensor:
    """psi_jt = gabor - K gauss on the periodic grid, with K such that the sum is zero."""
    angle = (int(orientations / 2 - 1) - t) * math.pi / orientations
    slant, width = 4 / orientations, 0.8 * 2**j
    rows, columns = (torch.arange(-2 * size, 3 * size, dtype=torch.float64) for size in shape)
    x, y = torch.meshgrid(rows, columns, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    gauss = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * width**2))
    gauss = gauss * slant / (2 * math.pi * width**2)
    gabor = gauss * torch.exp(1j * (0.75 * math.pi / 2**j) * along)
    wavelet = gabor - gabor.sum() / gauss.sum() * gauss
    periodic: Tensor = wavelet.view(5, shape[0], 5, shape[1]).sum((0, 2))
    return periodic


def _gaussian_matrix(size: int, scales: int, j: int) -> Tensor:
    """phi_J along one axis: `size` / 2^j samples -> every 2^J-th pixel but the first and last."""
    width, step = 0.8 * 2 ** (scales - 1), 2**scales
    x = torch.arange(-2 * size, 3 * size, dtype=torch.float64)
    phi = torch.exp(-(x**2) / (2 * width**2)) / (math.sqrt(2 * math.pi) * width)
    phi = phi.view(5, size).sum(0)
    centres = torch.arange(step, size - step, step)[:, None]
    matrix: Tensor = 2**j * phi[(centres - torch.arange(0, size, 2**j)) % size]
    return matrix


def _reflect(size: int, pad: int) -> Tensor:
    """[size + 2 pad, size]: reflection about the first and the last sample."""
    source = (size - 1 - (torch.arange(-pad, size + pad).abs() - (size - 1)).abs()).abs()
    return torch.eye(size, dtype=torch.float64)[source]


def _dft(size: int) -> Tensor:
    index = torch.arange(size, dtype=torch.float64)
    angle = -2 * math.pi * torch.outer(index, index) / size
    return torch.polar(torch.ones_like(angle), angle)
