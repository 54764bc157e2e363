"""Frozen settings from TOML files and `-s section.key=value`, with errors a person can act on."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from privacy.errors import SettingsError
from privacy.foreign import MOST_TEXT_BYTES, read_foreign
from privacy.text import BRIEF, decode, unseen
from privacy.text import suggest as suggest

Tables = dict[str, Any]

MOST_NESTED = 2  # a table in a section: [data.windows]


@dataclass(frozen=True)
class Range:
    """What a number may be, for everyone to know: `Annotated[float, Range(1e-6, 1e6)]`.

    A device computes with numbers that a server chose. Within their ranges no product that it makes
    of them leaves float32, and none is so small that float32 takes it for nothing.

    Attributes:
        least, most: both included.
        or_zero: 0 is also allowed, and means that there is none of it.
    """

    least: float
    most: float
    or_zero: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._require, handler(source))

    def _require(self, value: float) -> float:
        if not (self.least <= value <= self.most or (self.or_zero and value == 0)):
            raise ValueError(f"must be {self}")
        return value

    def __str__(self) -> str:
        ends = (str(n) if isinstance(n, int) else f"{n:g}" for n in (self.least, self.most))
        return "0, or " * self.or_zero + "from " + " to ".join(ends)


class Section(BaseModel):
    """One TOML table: frozen, strictly typed, without unknown keys.

    A subclass lives beside the code that reads it; the table is its name in lower case.

    Attributes:
        MEANT: of all tables together: by a word that a person may have for a key (or
            `section.word`), or by `section.key=word` for a value, what it is called here.
    """

    MEANT: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


def read_toml(path: Path) -> Tables:
    """Read the tables of a TOML file.

    Raises:
        SettingsError: the file is missing, unreadable or not TOML.
    """
    try:
        content = read_foreign(path, MOST_TEXT_BYTES)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    text = decode(path, content, SettingsError)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = unseen(text)
        raise SettingsError(f"{path}: not TOML: {error}{hint and f'; {hint}'}") from None
    except (ValueError, RecursionError):  # Python's own limits
        raise SettingsError(
            f"{path}: holds a number of thousands of digits, or values nested as deep"
        ) from None


def override(tables: Tables, assignments: Iterable[str]) -> tuple[Tables, dict[str, str]]:
    """Apply `section.key=value` assignments to a copy of `tables`; `section.table.key=value` sets
    one value of a table in a section.

    A value is read as TOML, and as a plain string where it is not TOML (`model.name=convnet`).

    Returns:
        The new tables, and each overridden dotted key with the assignment that set it.
    """
    merged: Tables = {k: dict(v) if isinstance(v, dict) else v for k, v in tables.items()}
    origins: dict[str, str] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        *sections, name = key.split(".")
        if not equals or not all((*sections, name)) or len(sections) > MOST_NESTED:
            raise SettingsError(f"-s {assignment}: must be section.key=value")
        table = merged
        for depth, section in enumerate(sections, start=1):
            inner = table.get(section, {})
            if not isinstance(inner, dict):
                told = ".".join(sections[:depth])
                raise SettingsError(f"-s {assignment}: {told} is not a section")
            table[section] = dict(inner)
            table = table[section]
        table[name] = _read_value(text.strip())
        # A table in a section is one setting: it is read whole, or not at all.
        shown = assignment if len(assignment) <= BRIEF else f"{assignment[:BRIEF]}..."
        origins[".".join(key.split(".")[:2])] = f"-s {shown}"
    return merged, origins


def _read_value(text: str) -> Any:
    try:
        tables = tomllib.loads(f"value = {text}")
        if len(tables) == 1:  # what follows on a line of its own is not dropped
            return tables["value"]
    except (ValueError, RecursionError):
        pass
    try:
        return float(text)  # `.5` and `1.` are numbers to a person, though not to TOML
    except ValueError:
        return text


def parse(
    kind: type[S], tables: Mapping[str, Any], source: str, origins: Mapping[str, str] | None = None
) -> S:
    """Validate `tables` as a `kind`.

    Args:
        source: what to call the tables in an error, usually the file's name.
        origins: from `override`: keys which were set elsewhere.

    Raises:
        SettingsError: one line for each thing wrong: `dp.toml: [budget] epsilon = -3: ...`.
    """
    try:
        return kind.model_validate(tables)
    except ValidationError as error:
        raise _explained(kind, error, source, origins or {}) from None


def parse_json(kind: type[S], text: str, source: str) -> S:
    """As `parse`, of what came over a wire.

    Raises:
        SettingsError: one line for each thing wrong.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise _explained(kind, error, source, {}) from None


def _explained(
    kind: type[Section], error: ValidationError, source: str, origins: Mapping[str, str]
) -> SettingsError:
    lines = [_explain(kind, e, source, origins) for e in error.errors()]
    return SettingsError("\n".join(lines))


def _fields_of(kind: type[BaseModel], location: Iterable[str]) -> Iterable[str]:
    """The keys of a table within a section."""
    for name in location:
        field = kind.model_fields.get(name)
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        kinds = [one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)]
        if not kinds:
            return ()
        kind = kinds[0]
    return kind.model_fields


MOST_MEANT = 4  # sections that have a key of one name


def _meant(kind: type[Section], location: list[str]) -> str:
    """What may be meant by a key that is not there: a word for another, one of another section, or
    one that is nearly spelt so."""
    *section, word = location
    sections = {name: list(_fields_of(kind, [name])) for name in kind.model_fields}
    there = [f"{name}.{word}" for name, fields in sections.items() if word in fields]
    if known := kind.MEANT.get(".".join(location)) or kind.MEANT.get(word):
        return f"; did you mean {known}?"
    if section and "name" in sections.get(word, ()):
        return f"; did you mean {word}.name?"
    if len(section) < MOST_NESTED and 0 < len(there) <= MOST_MEANT:
        return f"; did you mean {' or '.join(there)}?"
    return suggest(word, _fields_of(kind, section))


def _explain(
    kind: type[Section], error: ErrorDetails, source: str, origins: Mapping[str, str]
) -> str:
    location = [part for part in error["loc"] if isinstance(part, str)]  # not places in lists
    section, key = "", "".join(location)
    if location[1:]:
        section, key = location[0], ".".join(location[1:])
    place = f"[{section}] {key}" if section else key or "[...]"
    prefixes = (".".join(location[:depth]) for depth in range(len(location), 0, -1))
    where = next((origins[prefix] for prefix in prefixes if prefix in origins), source)
    if error["type"] == "extra_forbidden":
        within = ".".join([*location, ""])  # a section that there is not, by a key of it
        where = next((told for name, told in origins.items() if name.startswith(within)), where)
        return f"{where}: {place}: unknown key{_meant(kind, location)}"
    if error["type"] == "missing":
        return f"{where}: {place}: missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "literal_error":
        choices = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        message = f"unknown value{suggest(str(error['input']), choices)}"
    if meant := kind.MEANT.get(f"{'.'.join(location)}={str(error['input']).lower()}"):
        message = f"unknown value; did you mean {meant}?"
    if error["type"] in ("model_type", "dict_type"):
        message = "must be a table: { key = value, ... }"
        if isinstance(error["input"], str) and "name" in _fields_of(kind, location):
            message += f"; did you mean {place}.name?"
    elif error["type"] in ("tuple_type", "list_type"):
        message = "must be a list: [value, ...]"
    elif isinstance(error["input"], dict):  # a rule over several keys of a section
        return f"{where}: [{'.'.join(location)}]: {message}" if location else f"{where}: {message}"
    value = repr(error["input"])
    value = value if len(value) <= BRIEF else f"{value[:BRIEF]}..."
    return f"{where}: {place} = {value}: {message[:1].lower()}{message[1:]}"
