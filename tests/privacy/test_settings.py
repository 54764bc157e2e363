"""Settings: every error is one line that names the place, the thing wrong and a way out."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from privacy.dp.budget import Budget
from privacy.errors import RunError, SettingsError
from privacy.files import write_atomically
from privacy.settings import Section, override, parse, read_toml, suggest


class Oven(Section):
    """A section of scalars."""

    heat: float = Field(default=200.0, gt=0, le=300)
    minutes: int = Field(default=30, ge=1)
    mode: Literal["fan", "grill"] = "fan"
    door: bool = False


class Cake(Section):
    """Two sections."""

    oven: Oven = Oven()
    budget: Budget = Budget(epsilon=1.0)
    name: str = "plain"
    layers: tuple[int, ...] = Field(default=(), strict=False)


def line(tables: dict[str, Any], *assignments: str) -> str:
    """The error text of parsing `tables` after `assignments`."""
    merged, origins = override(tables, assignments)
    with pytest.raises(SettingsError) as caught:
        parse(Cake, merged, "cake.toml", origins)
    return str(caught.value)


def test_parse_fills_defaults() -> None:
    """What is not given is the default; what is given is taken."""
    cake = parse(Cake, {"oven": {"heat": 180.0}}, "cake.toml")
    assert (cake.oven.heat, cake.oven.minutes, cake.name) == (180.0, 30, "plain")


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"oven": {"haet": 1.0}}, "cake.toml: [oven] haet: unknown key; did you mean heat?"),
        (
            {"oven": {"zzz": 1}},
            "cake.toml: [oven] zzz: unknown key; known: heat, minutes, mode, door",
        ),
        ({"ovn": {}}, "cake.toml: ovn: unknown key; did you mean oven?"),
        ({"zzz": {}}, "cake.toml: zzz: unknown key; known: oven, budget, name, layers"),
        ({"oven": {"heat": "hot"}}, "cake.toml: [oven] heat = 'hot': input should be a valid"),
        ({"oven": {"minutes": 1.5}}, "cake.toml: [oven] minutes = 1.5: input should be a valid"),
        ({"oven": {"minutes": "3"}}, "cake.toml: [oven] minutes = '3': input should be a valid"),
        ({"oven": {"door": 1}}, "cake.toml: [oven] door = 1: input should be a valid boolean"),
        ({"oven": {"heat": 500.0}}, "cake.toml: [oven] heat = 500.0: input should be less than"),
        ({"oven": {"minutes": 0}}, "cake.toml: [oven] minutes = 0: input should be greater than"),
        ({"oven": {"heat": float("nan")}}, "cake.toml: [oven] heat = nan: input should be"),
        (
            {"oven": {"mode": "gril"}},
            "cake.toml: [oven] mode = 'gril': unknown value; did you mean grill?",
        ),
        (
            {"oven": {"mode": "zzz"}},
            "cake.toml: [oven] mode = 'zzz': unknown value; known: fan, grill",
        ),
        (
            {"oven": {"epsilon": 1}},
            "cake.toml: [oven] epsilon: unknown key; did you mean budget.eps",
        ),
        ({"minutes": 3}, "cake.toml: minutes: unknown key; did you mean oven.minutes?"),
        ({"oven": 3}, "cake.toml: oven = 3: must be a table: { key = value, ... }"),
        ({"layers": 3}, "cake.toml: layers = 3: must be a list: [value, ...]"),
        ({"budget": {}}, "cake.toml: [budget]: give epsilon, or noise_multiplier, or unit"),
    ],
)
def test_error_line(tables: dict[str, Any], expected: str) -> None:
    """One thing wrong is one line, which begins as shown."""
    text = line(tables)
    assert text.startswith(expected)
    assert "\n" not in text
    assert "pydantic" not in text


def test_missing_key() -> None:
    """A key without default is asked for."""

    class Needy(Section):
        size: int

    with pytest.raises(SettingsError, match=r"^needy.toml: size: missing; add it$"):
        parse(Needy, {}, "needy.toml")


def test_several_errors_are_several_lines() -> None:
    """Each thing wrong has a line of its own."""
    text = line({"oven": {"haet": 1, "minutes": 0}, "name": 3})
    lines = text.split("\n")
    assert len(lines) == 3
    assert all(entry.startswith("cake.toml: ") for entry in lines)
    assert all(wrong in text for wrong in ("[oven] haet", "minutes = 0", "name = 3"))


def test_origin_is_named() -> None:
    """A value from the command line is blamed on the command line, the rest on the file."""
    text = line({"oven": {"minutes": 0}}, "budget.epsilon=-3")
    from_file, from_line = sorted(text.split("\n"), reverse=True)
    assert from_line.startswith("-s budget.epsilon=-3: [budget] epsilon = -3: must be from ")
    assert from_file.startswith("cake.toml: [oven] minutes = 0: ")
    assert line({}, "oven.haet=3").startswith("-s oven.haet=3: [oven] haet: unknown key; did you")
    assert line({}, "ovn.heat=3") == "-s ovn.heat=3: ovn: unknown key; did you mean oven?"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ('"a b"', "a b"),
        ("convnet", "convnet"),
        ("a b", "a b"),
        ("[1, 2]", [1, 2]),
        ("", ""),
        ("a=b", "a=b"),
        (" 7 ", 7),
    ],
)
def test_values_of_assignments(text: str, value: object) -> None:
    """A value is TOML, else a number, else a plain string."""
    merged, origins = override({}, [f"oven.heat={text}"])
    assert merged == {"oven": {"heat": value}}
    assert type(merged["oven"]["heat"]) is type(value)
    assert origins == {"oven.heat": f"-s oven.heat={text}"}


def test_override_leaves_its_argument_alone() -> None:
    """The last assignment wins, on a copy; keys without section are the top table's."""
    tables = {"oven": {"heat": 1.0, "door": True}}
    merged, origins = override(tables, ["oven.heat=2.0", "name=x", "oven.heat=3.0"])
    assert tables == {"oven": {"heat": 1.0, "door": True}}
    assert merged == {"oven": {"heat": 3.0, "door": True}, "name": "x"}
    assert origins == {"oven.heat": "-s oven.heat=3.0", "name": "-s name=x"}


@pytest.mark.parametrize(
    "assignment", ["oven.heat", "=3", "a.b.c.d=1", "", " =1", ".=1", "a.=1", ".a=1"]
)
def test_not_an_assignment(assignment: str) -> None:
    """Anything else is refused with the form that is wanted."""
    with pytest.raises(SettingsError, match=r"^-s .*: must be section\.key=value$"):
        override({}, [assignment])


def test_assignment_into_a_value() -> None:
    """A key is not a section."""
    with pytest.raises(SettingsError, match=r"^-s name\.x=1: name is not a section$"):
        override({"name": "plain"}, ["name.x=1"])


def test_sections_are_frozen() -> None:
    """Settings do not change after they were checked."""
    cake = parse(Cake, {}, "cake.toml")
    with pytest.raises(ValidationError, match="frozen"):
        cake.oven.heat = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        cake.name = "x"  # type: ignore[misc]


def test_read_toml(tmp_path: Path) -> None:
    """Tables come back as they are; what cannot be read is one line that names the file."""
    good = tmp_path / "good.toml"
    good.write_text('name = "x"\n[oven]\nheat = 1.0\n')
    assert read_toml(good) == {"name": "x", "oven": {"heat": 1.0}}
    good.write_bytes(b"\xef\xbb\xbf" + good.read_bytes().replace(b"\n", b"\r\n"))
    assert read_toml(good) == {"name": "x", "oven": {"heat": 1.0}}
    for path, reason in [
        (tmp_path / "missing.toml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ]:
        with pytest.raises(SettingsError) as caught:
            read_toml(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"heat = = 3", "not TOML: Invalid value (at line 1, column 8)"),
        (b"a = 1\nname = '\xe9'", "line 2: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("heat = 3".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("heat = 3".encode("utf-16-be"), "holds zero bytes: UTF-16, or no text; save it as UTF-8"),
        ("heat = 3".encode("utf-32"), "is UTF-32; save it as UTF-8"),
        (b"heat = 3\rname = 'x'\r", "its lines end in CR alone; save them with LF"),
        ("\r\nheat\xa0= 3".encode(), "line 2 holds U+00A0, which cannot be seen; take it out"),
        ("\ufeff\ufeffheat = 3".encode(), "line 1 holds U+FEFF, which cannot be seen"),
        (b"heat = " + b"9" * 5000, "holds a number of thousands of digits"),
        (b"heat = " + b"[" * 5000, "or values nested as deep"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_by_what_it_is(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1\nheat = 2", "[" * 5000])
def test_a_value_that_python_cannot_read_is_a_plain_string(text: str) -> None:
    assert override({}, [f"oven.heat={text}"])[0] == {"oven": {"heat": text}}


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000])
def test_what_no_reader_of_toml_takes_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"^{path}: holds a number of thousands.*$"):
        read_toml(path)


@pytest.mark.parametrize("name", [".", "/", ".."])
def test_a_name_that_no_file_has_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="it is a folder"), write_atomically(Path(name)):
        pass


def test_suggest() -> None:
    """A near miss is named; else everything known is listed."""
    assert suggest("epsilno", ["delta", "epsilon"]) == "; did you mean epsilon?"
    assert suggest("EPSILON", ["delta", "epsilon"]) == "; did you mean epsilon?"
    assert suggest("ney", ["Net", "Other"]) == "; did you mean Net?"
    assert suggest("qqq", iter(["delta", "epsilon"])) == "; known: delta, epsilon"


def test_write_atomically(tmp_path: Path) -> None:
    """The file appears whole, under its name alone, with folders made on the way."""
    path = tmp_path / "deep" / "er" / "file"
    with write_atomically(path) as file:
        file.write(b"abc")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_broken_write_leaves_nothing(tmp_path: Path, old: bytes | None) -> None:
    """When the body raises, the old file (or none) is still there, and nothing else."""
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def broken() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        broken()
    assert (path.read_bytes() if path.exists() else None) == old
    assert len(list(tmp_path.iterdir())) == (old is not None)


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    """A path that is a folder is refused by name, and no part is left."""
    path = tmp_path / "folder"
    path.mkdir()
    with (
        pytest.raises(RunError, match=rf"^{path}: cannot be written: "),
        write_atomically(path) as file,
    ):
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("below", ["file", "folder/file"])
def test_unwritable_folder(tmp_path: Path, below: str) -> None:
    """Under a regular file nothing can be written: a RunError says so, and nothing is left."""
    blocker = tmp_path / "blocker"
    blocker.write_text("x")
    with (
        pytest.raises(RunError, match="cannot be written"),
        write_atomically(blocker / below) as file,
    ):
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [blocker]
