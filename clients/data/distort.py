"""Distorted images: small random affine maps and warps (Simard et al. 2003).

A net that sees each image a little turned, stretched and shifted learns the shape and not the
pixels. Each record is distorted by itself, so a record's clipped gradient stays its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TURN, STRETCH, SHEAR, SHIFT, WARP = 0.2, 0.12, 0.2, 1 / 7, 0.06  # at strength 1
KNOTS = 6  # a side of the grid on which a warp is drawn


def distort(images: Tensor, strength: float, randomness: torch.Generator) -> Tensor:
    """Distort each image [N, H, W] by itself; what comes in from outside is zero.

    Args:
        strength: 1 turns by up to 0.2 rad, stretches by up to 12 %, shifts by up to a fourteenth
            of the side, and warps smoothly; less is less of each.
    """
    num, height, width = images.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(num, *shape, generator=randomness) * 2 - 1

    angle = uniform() * TURN * strength
    stretch, shift = 1 + uniform(2) * STRETCH * strength, uniform(2) * SHIFT * strength
    maps = torch.zeros(num, 2, 3)
    maps[:, 0, 0] = angle.cos() * stretch[:, 0]
    maps[:, 0, 1] = uniform() * SHEAR * strength - angle.sin()
    maps[:, 1, 0] = angle.sin()
    maps[:, 1, 1] = angle.cos() * stretch[:, 1]
    maps[:, :, 2] = shift
    grid = F.affine_grid(maps, [num, 1, height, width], align_corners=False)
    knots = torch.randn(num, 2, KNOTS, KNOTS, generator=randomness) * WARP * strength
    grid += F.interpolate(knots, (height, width), mode="bilinear").permute(0, 2, 3, 1)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
