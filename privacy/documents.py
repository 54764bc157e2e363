"""JSON as any reader takes it: the one writer of all that is printed, kept or sent as JSON.

JSON has no word for infinity, nor for what is not a number: both are written as null. In an object
the word stands beside it, in a key of its own: {"epsilon": null, "epsilon_is": "infinite"}, and
`from_json` puts the number back; in a list null stands alone. The bare words Infinity and NaN, of
Python's own writer, are read too, and never written.
"""

import json
import math
from collections.abc import Callable
from typing import Any

WORDS = {"infinite": math.inf, "minus infinite": -math.inf, "not a number": math.nan}
BESIDE = "_is"  # the end of the key that has the word


def to_json(
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    ascii_only: bool = True,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Valid JSON (RFC 8259) of plain data: dicts, lists, tuples, text, numbers, None.

    Args:
        indent, sort_keys, ascii_only, default: as of `json.dumps`.

    Raises:
        TypeError: what cannot be said in JSON, and `default` does not know.
    """

    def write(plain: Any) -> str:
        return json.dumps(
            plain,
            indent=indent,
            sort_keys=sort_keys,
            ensure_ascii=ascii_only,
            allow_nan=False,
            default=default,
        )

    try:
        return write(value)
    except ValueError:  # a number that JSON has no word for
        return write(_finite(value))


def from_json(text: str | bytes) -> Any:
    """What `to_json` wrote, with the numbers that JSON has no word for.

    Raises:
        ValueError: the text is not JSON, or nested deeper than any document of ours.
    """
    try:
        return json.loads(text, object_hook=_with_words)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        told = {}
        for key, item in value.items():
            told[key] = _finite(item)
            if word := _word(item):
                told[f"{key}{BESIDE}"] = word
        return told
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if _word(value) else value


def _word(value: Any) -> str:
    if not isinstance(value, float) or math.isfinite(value):
        return ""
    if math.isnan(value):
        return "not a number"
    return "infinite" if value > 0 else "minus infinite"


def _with_words(told: dict[str, Any]) -> dict[str, Any]:
    numbers = {}
    for key, word in told.items():
        name = key.removesuffix(BESIDE)
        if name != key and isinstance(word, str) and word in WORDS and told.get(name, 0) is None:
            numbers[name] = WORDS[word]
    words = {f"{name}{BESIDE}" for name in numbers}
    return {key: numbers.get(key, item) for key, item in told.items() if key not in words}
