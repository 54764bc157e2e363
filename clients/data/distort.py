"""Distorted images: small random affine maps and warps (Simard et al. 2003).

A net that sees each image a little turned, stretched and shifted learns the shape and not the
pixels. Each record is distorted by itself, by draws of its own, so its clipped gradient depends on
no other.

Shapes: N records, H rows and W columns of an image, K = KNOTS.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.draws import uniforms
from privacy.cipher import LongWords

TURN, STRETCH, SHEAR, SHIFT, WARP = 0.2, 0.12, 0.2, 1 / 7, 0.06  # at strength 1
KNOTS = 6  # a side of the grid on which a warp is drawn


def distort(images: Tensor, strength: float, seeds: LongWords) -> Tensor:
    """Distort each image [N, H, W] or [N, C, H, W] by itself; what comes in from outside is zero.

    Args:
        seeds: one for each record, uint64 [N].
        strength: 1 turns by up to 0.2 rad, stretches by up to 12 %, shifts by up to a fourteenth
            of the side, and warps smoothly; less is less of each.
    """
    num, (height, width) = len(images), images.shape[-2:]
    if not num:  # an empty Poisson batch, of which torch makes no grid
        return images
    draws = torch.from_numpy(uniforms(seeds, 6 + 4 * KNOTS**2))
    even = 2 * draws[:, :6] - 1
    angle = even[:, 0] * TURN * strength
    stretch, shift = 1 + even[:, 1:3] * STRETCH * strength, even[:, 3:5] * SHIFT * strength
    maps = torch.zeros(num, 2, 3)
    maps[:, 0, 0] = angle.cos() * stretch[:, 0]
    maps[:, 0, 1] = even[:, 5] * SHEAR * strength - angle.sin()
    maps[:, 1, 0] = angle.sin()
    maps[:, 1, 1] = angle.cos() * stretch[:, 1]
    maps[:, :, 2] = shift
    grid = F.affine_grid(maps, [num, 1, height, width], align_corners=False)
    radii, turns = (1 - draws[:, 6:]).view(num, 2, 2, KNOTS, KNOTS).unbind(1)  # in (0, 1]
    normal = (-2 * radii.log()).sqrt() * (2 * math.pi * turns).cos()
    knots = normal * WARP * strength
    grid += F.interpolate(knots, (height, width), mode="bilinear").permute(0, 2, 3, 1)
    planes = images.reshape(num, -1, height, width)
    return F.grid_sample(planes, grid, align_corners=False).reshape(images.shape)
