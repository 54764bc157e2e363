"""Files in a folder, a tar or a zip, one after another, and what their paths tell.

Nothing is unpacked: no name from an archive becomes a path here.
"""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import DataError
from privacy.foreign import open_foreign, read_foreign

MOST_ARCHIVE_BYTES = 64 << 30
MOST_MEMBER_BYTES = 64 << 20
MOST_MEMBERS = 4_000_000
PARTS = {"train": False, "training": False, "test": True, "testing": True}
ENCRYPTED = 1  # a bit of a zip's member
DAMAGED = (  # what their readers raise
    OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError,
    zlib.error, lzma.LZMAError,
)  # fmt: skip
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class Member:
    """One file: its path inside, its content, and what the pattern found in the path."""

    name: str
    content: bytes
    fields: dict[str, str]

    def __str__(self) -> str:
        return shown(self.name)


def shown(name: str) -> str:
    """A path for a terminal: whatever an archive calls its members."""
    return ascii(name)[1:-1][:120]


def is_archive(path: Path) -> bool:
    """Is it called one?"""
    return path.name.lower().endswith(ARCHIVES)


def has(path: Path, ends: Sequence[str]) -> bool:
    """Is there a file with one of those endings?"""
    return next(_walk(path, ends, False), None) is not None


def has_parts(path: Path, ends: Sequence[str] = ("",)) -> bool:
    """Are there folders for training and for tests?"""
    return _in_parts([name for name, _ in _walk(path, ends, False)])


def names_of(path: Path, ends: Sequence[str]) -> list[str]:
    """Paths of all files with one of those endings, sorted.

    Raises:
        DataError: not there, damaged, or too many.
    """
    names = sorted(name for name, _ in _walk(path, ends, False))
    if len(names) > MOST_MEMBERS:
        raise DataError(f"{path}: {len(names)} files; {MOST_MEMBERS} are the most")
    if not names:
        raise DataError(f"{path}: holds no file that ends in {', '.join(ends)}")
    return names


def members(path: Path, ends: Sequence[str], pattern: str) -> Iterator[Member]:
    """Each file with one of those endings, in the order in which they lie there.

    Args:
        pattern: of their paths, with {label}, {person} and other {fields}; empty: a folder for each
            label, in folders train and test where there are such.

    Raises:
        DataError: damaged; a file is too large; a path does not fit the pattern.
    """
    matcher = _matcher(path, names_of(path, ends), pattern)
    for name, content in _walk(path, ends, True):
        found = matcher.fullmatch(name)
        if found is None:
            wanted = pattern or "LABEL/NAME"
            raise DataError(
                f"{path}: {shown(name)}: its path does not fit {wanted}; set [data] pattern"
            )
        yield Member(name, content, {k: v for k, v in found.groupdict().items() if v is not None})


def _matcher(path: Path, names: Sequence[str], pattern: str) -> re.Pattern[str]:
    if pattern:
        pieces = re.split(r"\{(\w+)\}", pattern)
        text = "".join(
            f"(?P<{piece}>[^/]+?)" if place % 2 else re.escape(piece)
            for place, piece in enumerate(pieces)
        )
        try:
            return re.compile(rf"(?:.*/)?{text}")
        except re.error as error:
            raise DataError(f"[data] pattern = {pattern!r}: {error}") from None
    if _in_parts(names):
        return re.compile(r"(?P<part>[^/]+)/(?P<label>[^/]+)/.*")
    depths = {name.count("/") for name in names}
    if 0 in depths:
        example = next(name for name in names if "/" not in name)
        raise DataError(
            f"{path}: {shown(example)} is in no folder of a label; sort files into a folder for "
            "each label, or tell where labels stand: [data] pattern = '{label}_{person}.png'"
        )
    return re.compile(r"(?:.*/)?(?P<label>[^/]+)/[^/]+")


def _in_parts(names: Sequence[str]) -> bool:
    firsts = {name.split("/")[0].lower() for name in names}
    return firsts <= set(PARTS) and all(name.count("/") >= 2 for name in names)


def _walk(path: Path, ends: Sequence[str], read: bool) -> Iterator[tuple[str, bytes]]:
    lower = path.name.lower()
    kind = _zip if lower.endswith(".zip") else _tar if is_archive(path) else _folder
    wanted = tuple(end.lower() for end in ends)
    try:
        yield from kind(path, wanted, read)
    except DataError:
        raise
    except DAMAGED as error:
        reason = str(getattr(error, "strerror", None) or error).split("\n")[0][:160]
        raise DataError(f"{path}: cannot be read: {reason}; bring it again, and whole") from None


def _folder(path: Path, ends: tuple[str, ...], read: bool) -> Iterator[tuple[str, bytes]]:
    if not path.is_dir():
        raise DataError(f"{path}: not there, or no folder; give the folder of the records")
    for file in sorted(path.rglob("*")):
        if not file.name.lower().endswith(ends) or file.name.startswith(".") or file.is_dir():
            continue
        name, content = file.relative_to(path).as_posix(), b""
        if read:
            try:
                content = read_foreign(file, MOST_MEMBER_BYTES)
            except OSError as error:
                raise DataError(
                    f"{path}: {shown(name)}: {error.strerror or error}; take it out"
                ) from None
        yield name, content


def _tar(path: Path, ends: tuple[str, ...], read: bool) -> Iterator[tuple[str, bytes]]:
    with (
        open_foreign(path, MOST_ARCHIVE_BYTES) as file,
        tarfile.open(fileobj=file, mode="r:*") as archive,
    ):
        for member in archive:
            if member.isdir() or not member.name.lower().endswith(ends):
                continue
            if not member.isreg():
                raise DataError(
                    f"{path}: {shown(member.name)}: is a link, which is not followed; pack "
                    "the file itself, or take it out"
                )
            _require_size(path, member.name, member.size)
            content = b""
            if read:
                inner = archive.extractfile(member)
                assert inner is not None
                content = inner.read(MOST_MEMBER_BYTES + 1)
            yield member.name.removeprefix("./"), content


def _zip(path: Path, ends: tuple[str, ...], read: bool) -> Iterator[tuple[str, bytes]]:
    with (
        open_foreign(path, MOST_ARCHIVE_BYTES) as file,
        zipfile.ZipFile(file) as archive,
    ):
        for member in archive.infolist():
            if member.is_dir() or not member.filename.lower().endswith(ends):
                continue
            if member.flag_bits & ENCRYPTED:
                raise DataError(
                    f"{path}: {shown(member.filename)}: is encrypted; pack it without a password"
                )
            _require_size(path, member.filename, member.file_size)
            content = b""
            if read:
                with archive.open(member) as inner:
                    content = inner.read(MOST_MEMBER_BYTES + 1)
            yield member.filename, content


def _require_size(path: Path, name: str, size_bytes: int) -> None:
    if size_bytes > MOST_MEMBER_BYTES:
        raise DataError(
            f"{path}: {shown(name)}: {size_bytes} bytes, {MOST_MEMBER_BYTES} are the most; take it "
            "out, or make it smaller"
        )
