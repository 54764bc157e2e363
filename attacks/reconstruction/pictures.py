"""Pictures as PNG files, without a library: grey images in a grid."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def png(rows: list[Tensor], enlarge: int = 3) -> bytes:
    """Rows of grey images [N, H, W] in [0, 1], one below another, as the bytes of a PNG file."""
    lines = [np.hstack([_framed(image) for image in row.clamp(0, 1).numpy()]) for row in rows]
    width = max(line.shape[1] for line in lines)
    grid = np.vstack([np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in lines])
    grid = np.kron(grid, np.ones((enlarge, enlarge), dtype=np.uint8))
    height, width = grid.shape
    raw = b"".join(b"\0" + line.tobytes() for line in grid)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _framed(image: NDArray) -> NDArray[np.uint8]:
    return np.pad((image * 255).round().astype(np.uint8), 1, constant_values=96)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
