"""Text from files: UTF-8, or refused by the name of what it is."""

import codecs
import re
from pathlib import Path

from privacy.errors import UserError

MARKS = {  # the first bytes of other encodings; the longer ones begin as the shorter do
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def decode(path: Path, content: bytes, error: type[UserError]) -> str:
    """The text of a file, without the mark that some editors put before UTF-8.

    Args:
        path: to be named in an error.
        error: to be raised.

    Raises:
        error: it is not UTF-8, or no text.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            raise error(f"{path}: is {encoding}; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = len(re.findall(rb"\r\n|\r|\n", content[: fault.start])) + 1
        raise error(
            f"{path}: line {line}: byte {content[fault.start]:#04x} is not UTF-8; save it as UTF-8"
        ) from None
    if "\0" in text:
        raise error(f"{path}: holds zero bytes: UTF-16, or no text; save it as UTF-8")
    return text


def unseen(text: str) -> str:
    """Where text holds what an eye takes for a space or for nothing; empty if nowhere."""
    seen = text.replace("\r\n", "\n")
    for place, sign in enumerate(seen):
        if not sign.isprintable() and sign not in "\t\n":
            if sign == "\r":
                return "its lines end in CR alone; save them with LF"
            line = seen.count("\n", 0, place) + 1
            return f"line {line} holds U+{ord(sign):04X}, which cannot be seen; take it out"
    return ""
