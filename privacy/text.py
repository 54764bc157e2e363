"""Text from files: UTF-8, or refused by the name of what it is."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from privacy.errors import UserError

MARKS = {  # the first bytes of other encodings; the longer ones begin as the shorter do
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

BRIEF = 100  # characters of a wrong value that an error repeats
MOST_SAID = 200  # characters of an exception that an error repeats
MOST_SHOWN = 40  # characters of a name in a table or a figure
NOT_SHOWN = "\ufffd"
JOINERS = "\u200c\u200d"  # parts of words in some scripts


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


def shown(name: str, most: int = MOST_SHOWN) -> str:
    """A name from a file as one short line, with which no terminal does more than show it.

    What is left out of its middle is an ellipsis: names often differ in the end.
    """
    words = " ".join(name[:10_000].split())
    line = "".join(c if c.isprintable() or c in JOINERS else NOT_SHOWN for c in words)
    if len(line) <= most:
        return line or NOT_SHOWN
    end = most // 3
    return f"{line[: most - end - 1]}\u2026{line[-end:]}"


def words_of(error: BaseException) -> str:
    """The words of an exception of code that is not ours, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}..."


def told_apart(names: Sequence[str], most: int = MOST_SHOWN) -> list[str]:
    """The same of several: what is alike when it is short has its number beside it."""
    short = [shown(name, most) for name in names]
    times = Counter(short)
    told = [name if times[name] == 1 else f"{name} ({n})" for n, name in enumerate(short)]
    if len(set(told)) == len(told):
        return told
    return [f"{name} ({n})" for n, name in enumerate(short)]  # one is called as another is numbered


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a near miss, else `; known: ...`."""
    names = list(known)
    lower = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]}?" if close else f"; known: {', '.join(names)}"
