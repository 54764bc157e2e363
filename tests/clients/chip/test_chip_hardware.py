"""Chip files: every one loads, each constant says where it is from, and a wrong file is refused."""

import tomllib

import pytest

from clients.chip import load_chip, ready_chips
from clients.chip.hardware import READY
from privacy.errors import SettingsError


@pytest.mark.parametrize("name", ready_chips())
def test_ready_chips_load_and_name_their_sources(name):
    chip = load_chip(name)
    assert chip.title
    tables = tomllib.loads((READY / f"{name}.toml").read_text())
    constants = {k: v for k, v in tables["energy"].items() if k != "static_w"}
    assert all(constant["source"].strip() for constant in constants.values())
    assert load_chip(name) is chip


def changed(tmp_path, name, old, new):
    text = (READY / f"{name}.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    return str(path)


def test_a_user_adds_a_chip_by_adding_a_file(tmp_path):
    mine = load_chip(changed(tmp_path, "eyeriss", "rows = 12", "rows = 24"))
    assert mine.array.elements == 2 * load_chip("eyeriss").array.elements


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("eyeriss", "rows = 12", "rows = 0", r"mine.toml: \[array\] rows = 0"),
        (
            "eyeriss",
            "gates = true",
            "gate = true",
            r"\[array\] gate: unknown key; did you mean gates",
        ),
        ("eyeriss", "clock_hz = 200e6\n", "", r"mine.toml: clock_hz: missing; add it"),
        ("eyeriss", '"row-stationary"', '"row-stationery"', "did you mean row-stationary"),
        ("eyeriss", "[scratchpads]", "[crossbars]", "unknown key"),
        ("tpu", '"weight-stationary"', '"crossbar"', r"needs a section \[crossbar\]; add it"),
        ("isaac", "adc = ", "# adc = ", r"needs \[energy\] adc; add it"),
        ("binary", "vector_bits = 32", "vector_bits = 4", "vector_bits"),
        ("eyeriss", "pj = 2.0", "pj = -2.0", r"\[energy\] mac"),
    ],
)
def test_a_wrong_file_is_refused_with_file_key_and_remedy(tmp_path, name, old, new, said):
    with pytest.raises(SettingsError, match=said) as refused:
        load_chip(changed(tmp_path, name, old, new))
    assert "mine.toml" in str(refused.value)
    assert refused.value.exit_status == 2


def test_a_constant_without_a_source_is_refused(tmp_path):
    text = (READY / "eyeriss.toml").read_text().splitlines()
    lines = ["mac = { pj = 2.0 }" if line.startswith("mac = ") else line for line in text]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    with pytest.raises(SettingsError, match=r"\[energy\] mac"):
        load_chip(str(tmp_path / "mine.toml"))


def test_a_chip_that_is_not_there():
    with pytest.raises(SettingsError, match="did you mean eyeriss"):
        load_chip("eyeris")
    with pytest.raises(SettingsError, match="no such file"):
        load_chip("nowhere/chip.toml")


def test_a_file_that_changed_is_read_again(tmp_path):
    path = changed(tmp_path, "eyeriss", "rows = 12", "rows = 6")
    first = load_chip(path)
    changed(tmp_path, "eyeriss", "rows = 12", "rows = 18")
    assert (first.array.rows, load_chip(path).array.rows) == (6, 18)
