"""How like are two records, or two sets of images?

A reconstruction counts only against strangers: how near are held-out people's records of the same
class? Shapes: N images of H x W, grey or [N, C, H, W]; F features, or inputs of a table.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor

from attacks.tape import Nature

NEAR = 0.05  # of a column's public range: such a number counts as recovered
WINDOW, DEVIATION = 11, 1.5  # of SSIM's Gaussian window
FRAME = 256  # samples of a spectrogram's


def psnr(a_NHW: Tensor, b_NHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images in [0, 1], in dB, [N]; infinite for equal ones."""
    error = (a_NHW - b_NHW).square().flatten(1).mean(1)
    return -10 * error.log10()


def ssim(a_NHW: Tensor, b_NHW: Tensor) -> Tensor:
    """Mean structural similarity of images in [0, 1] [N] (Wang et al. 2004).

    A Gaussian window of 11 x 11, population moments; positions where it does not fit are left out.
    """
    if min(a_NHW.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} x {WINDOW}")
    line = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    bell = torch.exp(-(line**2) / (2 * DEVIATION**2))
    window = torch.outer(bell, bell)
    window = (window / window.sum()).to(a_NHW.dtype)[None, None]

    def local(x: Tensor) -> Tensor:
        return F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), window).view(len(x), -1)

    mean_a, mean_b = local(a_NHW), local(b_NHW)
    var_a = local(a_NHW.square()) - mean_a.square()
    var_b = local(b_NHW.square()) - mean_b.square()
    cross = local(a_NHW * b_NHW) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_a * mean_b + c1) * (2 * cross + c2)
    value = value / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return value.mean(1)


def correlation(a_NCL: Tensor, b_NCL: Tensor) -> Tensor:
    """Pearson's of what was recorded over time [N, C, L] or [N, L], the mean of channels, [N].

    It asks for the form, not for the loudness. Silence is like nothing: 0.
    """
    a, b = (x.double() - x.double().mean(-1, keepdim=True) for x in (a_NCL, b_NCL))
    spread = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    value = torch.where(spread > 1e-12, (a * b).sum(-1) / spread.clamp(min=1e-12), 0.0)
    return value.flatten(1).mean(1) if value.dim() > 1 else value


def columns_recovered(a_NF: Tensor, b_NF: Tensor, nature: Nature) -> Tensor:
    """The share of a table's columns that are alike [N]: the same category; a number within `NEAR`
    of its public range (on the log scale where a model reads it so), with the same flags. Its knots
    say nothing more."""
    alike = []
    for column in nature.columns:
        place = slice(column.start, column.start + column.width)
        a, b = a_NF[:, place], b_NF[:, place]
        if column.values:
            alike.append(a.argmax(1) == b.argmax(1))
        else:
            near = (a[:, 0] - b[:, 0]).abs() <= NEAR * (nature.high - nature.low) + 1e-6
            flags = slice(1, 1 + len(column.flags))
            alike.append(near & ((a[:, flags] > 0.5) == (b[:, flags] > 0.5)).all(1))
    return torch.stack(alike).double().mean(0)


def samples_recovered(a_NCL: Tensor, b_NCL: Tensor, nature: Nature) -> Tensor:
    """The share of samples that are within `NEAR` of the public range of another's [N]."""
    near = (a_NCL - b_NCL).abs() <= NEAR * (nature.high - nature.low) + 1e-6
    return near.double().flatten(1).mean(1)


def spectral_correlation(a_NL: Tensor, b_NL: Tensor) -> Tensor:
    """Pearson's of sounds' log power spectra over time and frequency [N].

    It asks neither for the loudness nor for the phase. Of frames of `FRAME` samples under Hann's
    window, every half; powers under 1e-5 of a sound's mean are as silent as any.
    """
    frame = min(FRAME, a_NL.shape[-1])
    window = torch.hann_window(frame, dtype=torch.float64)

    def heard(x: Tensor) -> Tensor:
        waves = torch.stft(x.double(), frame, max(1, frame // 2), window=window, center=False,
                           return_complex=True)  # fmt: skip
        power = waves.abs().square().flatten(1)
        return (power / power.mean(1, keepdim=True).clamp(min=1e-30) + 1e-5).log()

    return correlation(heard(a_NL), heard(b_NL))


# How near pairs of records are [N]; greater is nearer.
MEASURES: dict[str, Callable[[Tensor, Tensor, Nature], Tensor]] = {
    "psnr_db": lambda a, b, _: psnr(a, b),
    "ssim": lambda a, b, _: ssim(a, b),
    "correlation": lambda a, b, _: correlation(a, b),
    "samples": samples_recovered,
    "spectrogram": lambda a, b, _: spectral_correlation(a, b),
    "columns": columns_recovered,
    "features": lambda a, b, _: correlation(a.flatten(1), b.flatten(1)),
}
# Of which a record of each kind is held against another by the first.
OF_KIND = {
    "picture": ("psnr_db", "ssim"),
    "window": ("correlation", "samples"),
    "sound": ("correlation",),
    "table": ("columns",),
    "features": ("features",),
}
BEHIND = {
    "picture": ("ssim", "psnr_db"),
    "window": ("samples", "correlation"),
    "sound": ("spectrogram",),
}


def measures_of(nature: Nature) -> tuple[str, ...]:
    """Those of `MEASURES` that tell of records of a kind; the first decides."""
    named = (BEHIND if nature.behind else OF_KIND)[nature.kind]
    small = nature.kind == "picture" and min(nature.shape[-2:]) < WINDOW
    return ("psnr_db",) if small else named


def alike(a: Tensor, b: Tensor, nature: Nature) -> Tensor:
    """How near pairs of records are [N], by the measure that decides; greater is nearer."""
    return MEASURES[measures_of(nature)[0]](a, b, nature)


def typical(records: Tensor, nature: Nature) -> Tensor:
    """What stands for many records: their mean; of a table's numbers the median, so that the
    commonest category is the greatest of its places."""
    mean = records.mean(0)
    for column in nature.columns:
        if not column.values:
            mean[column.start] = records[:, column.start].median()
    return mean


def frechet(a_NF: NDArray, b_NF: NDArray) -> float:
    """Frechet distance of the normals fitted to two sets of features (Heusel et al. 2017)."""
    a, b = (x.astype(np.float64) for x in (a_NF, b_NF))
    eye = 1e-6 * np.eye(a.shape[1])
    cov_a, cov_b = np.cov(a.T) + eye, np.cov(b.T) + eye
    root = sqrtm(cov_a @ cov_b).real
    gap = np.square(a.mean(0) - b.mean(0)).sum()
    return float(max(0.0, gap + np.trace(cov_a + cov_b - 2 * root)))


def nearest(a_NHW: Tensor, b_MHW: Tensor) -> tuple[Tensor, Tensor]:
    """For each image, the L2 distance to the nearest of others, and which that is: [N], [N]."""
    found = torch.cdist(a_NHW.flatten(1), b_MHW.flatten(1)).min(1)
    return found.values, found.indices


def pairwise_ssim(images_NHW: Tensor, turns: int = 3) -> float:
    """Mean SSIM of two of at least two images, far from one another in their order: 1 where one was
    drawn again and again."""
    steps = {max(1, len(images_NHW) * n // (turns + 1)) for n in range(1, turns + 1)}
    return float(torch.cat([ssim(images_NHW, images_NHW.roll(n, 0)) for n in steps]).mean())


def image_features(images_NHW: Tensor, size: int = 7) -> NDArray:
    """Features for `frechet` that no model had a part in: the images on a coarse grid, [N, F]."""
    channels = images_NHW.reshape(len(images_NHW), -1, *images_NHW.shape[-2:])
    pooled = F.adaptive_avg_pool2d(channels, size).flatten(1)
    return pooled.double().numpy()


def sign_flip_p(differences: NDArray, seed: int = 0) -> float:
    """One-sided permutation test that swapped pairs favour the first: p of mean > 0.

    Exact for up to 14 differences; else of 10,000 random flips, the observed one counted.
    """
    n = len(differences)
    if n <= 14:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((signs @ differences >= differences.sum() - 1e-12).mean())
    signs = np.random.default_rng(seed).choice([-1, 1], (9999, n))
    return float((1 + (signs @ differences >= differences.sum() - 1e-12).sum()) / 10_000)


def mean_finite(values: Tensor, most: float = 100.0) -> float:
    """Mean of a measure, infinite PSNRs counted as `most` dB."""
    return float(values.clamp(max=most).mean()) if len(values) else math.nan
