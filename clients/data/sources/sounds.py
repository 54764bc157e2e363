"""Sounds: WAV and FLAC in a folder, a tar or a zip."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from clients.data.bounds import Schema
from clients.data.encodings import Scaled
from clients.data.sources.members import Member
from clients.data.sources.pictures import column, fields_of
from clients.data.sources.piles import Pile
from clients.data.sources.raw import Raw
from privacy.errors import DataError

ENDS = (".wav", ".flac")
MOST_SAMPLES = 1 << 26
FULL = 32768.0
AT_ONCE = 512


def read_sounds(path: Path, schema: Schema, stream: Iterator[Member], fields: Sequence[str]) -> Raw:
    """Sounds int16 [N, L]: cut at, or filled with silence to, the schema's length.

    Args:
        stream: their files, of which some are in memory at a time.

    Raises:
        DataError: a file is no sound, has two channels, or another rate: names it.
    """
    if not schema.rate_hz:
        raise DataError(f"{path}: its schema has no rate_hz; say how many samples a second has")
    length = round(schema.rate_hz * schema.length_s)
    pile = Pile()
    about: list[Member] = []
    while batch := list(islice(stream, AT_ONCE)):
        pile.add(np.stack([decode(path, one, schema.rate_hz, length) for one in batch]))
        about += [Member(one.name, b"", one.fields) for one in batch]
    if not about:
        raise DataError(f"{path}: holds no sound; give the records")
    return Raw(
        x=pile.whole(),
        targets={"label": column(about, "label")},
        encoding=Scaled(FULL),
        kind="sound",
        fields=fields_of(path, about, fields),
        place=lambda number: str(about[number]),
        rate_hz=schema.rate_hz,
    )


def decode(path: Path, member: Member, rate_hz: float, length: int) -> NDArray[np.int16]:
    """One sound [length].

    Raises:
        DataError: it is none, or not of one channel and that rate.
    """
    if _is_cut_short(member.content):
        raise DataError(f"{path}: {member}: no whole WAV or FLAC (cut short); take it out")
    try:
        with soundfile.SoundFile(io.BytesIO(member.content)) as sound:
            if sound.channels != 1:
                raise DataError(
                    f"{path}: {member}: {sound.channels} channels, must be 1; mix them down"
                )
            if sound.samplerate != rate_hz:
                raise DataError(
                    f"{path}: {member}: {sound.samplerate} samples a second, others "
                    f"{rate_hz:g}; resample it, or set rate_hz in the schema"
                )
            if sound.frames > MOST_SAMPLES:
                raise DataError(f"{path}: {member}: {sound.frames} samples are too many")
            samples = sound.read(frames=length, dtype="int16")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".") or "not read"
        raise DataError(f"{path}: {member}: no whole WAV or FLAC ({reason}); take it out") from None
    if not len(samples):
        raise DataError(f"{path}: {member}: holds no sample; take it out")
    return np.pad(samples, (0, length - len(samples)))


def _is_cut_short(content: bytes) -> bool:
    """A WAV of less than its header promises, which is read as a shorter one.

    Programs that did not know the length when they began leave 0 or 2^32 - 1 there.
    """
    promised = int.from_bytes(content[4:8], "little")
    return content[:4] == b"RIFF" and 0 < promised < 0xFFFFFFFF and len(content) < promised + 8


def rate_of(path: Path, member: Member) -> int:
    """Samples a second.

    Raises:
        DataError: it is no sound.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(member.content)) as sound:
            return int(sound.samplerate)
    except (soundfile.LibsndfileError, RuntimeError):
        raise DataError(f"{path}: {member}: no whole WAV or FLAC; take it out") from None
