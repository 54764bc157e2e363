"""Pictures as PNG files, without a library: grey or colour images in a grid."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def png(rows: list[Tensor], enlarge: int = 3) -> bytes:
    """Rows of images [N, H, W] or [N, C, H, W] in [0, 1], one below another, as a PNG file's bytes.

    Args:
        rows: of one number of channels: 3 are colours, and of any other the mean is grey.
    """
    lines = [np.hstack([_framed(image) for image in row.clamp(0, 1).numpy()]) for row in rows]
    width = max(line.shape[1] for line in lines)
    grid = np.vstack([np.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0))) for x in lines])
    grid = grid.repeat(enlarge, 0).repeat(enlarge, 1)
    height, width, channels = grid.shape
    raw = b"".join(b"\0" + line.tobytes() for line in grid)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _framed(image: NDArray) -> NDArray[np.uint8]:
    """[H + 2, W + 2, C]"""
    channels = image.reshape(-1, *image.shape[-2:])
    if len(channels) != 3:
        channels = channels.mean(0, keepdims=True)
    pixels = (channels * 255).round().astype(np.uint8)
    return np.pad(np.moveaxis(pixels, 0, 2), ((1, 1), (1, 1), (0, 0)), constant_values=96)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
