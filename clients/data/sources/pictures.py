"""Pictures: PNG and JPEG in a folder, a tar or a zip."""

import io
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clients.data.bounds import Schema
from clients.data.encodings import Scaled
from clients.data.sources.members import PARTS, Member
from clients.data.sources.piles import Pile
from clients.data.sources.raw import Raw
from privacy.errors import DataError

ENDS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 64 << 20
AT_ONCE = 512


def read_pictures(
    path: Path, schema: Schema, stream: Iterator[Member], fields: Sequence[str]
) -> Raw:
    """Pictures uint8 [N, H, W], or [N, 3, H, W] in colour.

    Args:
        stream: their files, of which some are in memory at a time.

    Raises:
        DataError: a file is no picture, or of another size than the first: names it.
    """
    shape: tuple[int, ...] | None = None
    pile = Pile()
    about: list[Member] = []
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(stream, AT_ONCE)):
            found = list(pool.map(lambda member: decode(path, member, schema), batch))
            for member, pixels in zip(batch, found, strict=True):
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise DataError(
                        f"{path}: {member}: {_sides(pixels.shape)} pixels, and others are "
                        f"{_sides(shape)}; say to which they are resized: size = [H, W] in the "
                        "schema"
                    )
                about.append(Member(member.name, b"", member.fields))
            pile.add(np.stack(found))
    if not about:
        raise DataError(f"{path}: holds no picture; give the records")
    return Raw(
        x=pile.whole(),
        targets={"label": column(about, "label")},
        encoding=Scaled(255.0),
        kind="picture",
        fields=fields_of(path, about, fields),
        place=lambda number: str(about[number]),
    )


def decode(path: Path, member: Member, schema: Schema) -> NDArray[np.uint8]:
    """One picture: its header is believed before its pixels are.

    Raises:
        DataError: it is none, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(member.content), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise DataError(
                f"{path}: {member}: {image.width} x {image.height} pixels, {MOST_PIXELS} are "
                "the most; take it out, or make it smaller"
            )
        image = image.convert("L" if schema.channels == 1 else "RGB")
        if schema.size is not None and (image.height, image.width) != schema.size:
            image = image.resize(schema.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
    except Image.DecompressionBombError as error:
        size = str(error).partition("(")[2].partition(")")[0]
        raise DataError(
            f"{path}: {member}: {size}, {MOST_PIXELS} are the most; take it out, or make it smaller"
        ) from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        reason = str(error).split("<")[0].strip().rstrip(".") or "not read"
        raise DataError(f"{path}: {member}: no whole PNG or JPEG ({reason}); take it out") from None
    return pixels if schema.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _sides(shape: tuple[int, ...]) -> str:
    return f"{shape[-2]} x {shape[-1]}"


def column(about: Sequence[Member], name: str) -> NDArray:
    """What the paths tell under one name, objects [N]."""
    return np.array([member.fields.get(name, "") for member in about], dtype=object)


def fields_of(path: Path, about: Sequence[Member], wanted: Sequence[str]) -> dict[str, NDArray]:
    """All that the paths tell.

    Raises:
        DataError: one of `wanted` is not told.
    """
    there = about[0].fields
    if missing := [name for name in wanted if name not in there]:
        raise DataError(
            f"{path}: paths tell of {', '.join(there)}, not of {missing[0]}; set [data] pattern = "
            f"'...{{{missing[0]}}}...'"
        )
    found = {name: column(about, name) for name in there if name != "part"}
    if "part" in there:
        found["part"] = np.array(
            ["test" if PARTS[m.fields["part"].lower()] else "train" for m in about], dtype=object
        )
    return found
