"""Chip files: every one loads, each constant says where it is from, and a wrong file is refused."""

import json
import tomllib
from dataclasses import asdict

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.chip import Workload, estimate, fixed, load_chip, ready_chips, stochastic
from clients.chip.federated import estimate_round, estimate_step
from clients.chip.hardware import READY
from clients.chip.workloads.networks import Plan
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
        ("eyeriss", "clock_hz = 200e6", "clock_hz = inf", r"mine.toml: clock_hz = inf"),
        ("eyeriss", "clock_hz = 200e6", "clock_hz = nan", r"mine.toml: clock_hz = nan"),
        ("eyeriss", "clock_hz = 200e6", "clock_hz = 1e-300", r"mine.toml: clock_hz = 1e-300"),
        ("edgetpu", "0.32e9", "1e-320", r"\[memory\] dram_bytes_per_s = 1e-320"),
        ("edgetpu", "= 8388608", "= 100000000000000000000", r"\[memory\] buffer_bytes"),
        ("edgetpu", '"binary"]', '"float"]', r"'float' need \[energy\] float_mac; add it"),
        ("edgetpu", '["fixed", "ternary", "binary"]', "[]", "mine.toml: kinds"),
        ("edgetpu", '"binary"]', '"stochastic"]', "belong together"),
        ("integral-sc", '["stochastic"]', '["fixed"]', "belong together"),
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


# ---- at the edge: a number is refused in a line, or every figure is one


def numbers_of(tables, path=()):
    """The path of each number in a chip's file."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from numbers_of(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


FILES = {name: tomllib.loads((READY / f"{name}.toml").read_text()) for name in ready_chips()}
KEYS = [(name, path) for name, tables in FILES.items() for path in numbers_of(tables)]
EDGES = [0, -1, 1, 2**31, 2**48, 2**63 - 1, 0.0, -0.0, 5e-324, 1e-13, 1e-12, 0.5, 1e18, 1e19]
EDGES += [1e300, float("inf"), float("-inf"), float("nan")]


def small_network():
    plan = Plan(3, 9, 9)
    plan.conv(5, 3, 2)
    plan.conv(5, 3, groups=5)
    plan.dense(7)
    return plan.finish("small")


def set_number(tables, path, value):
    changed = {k: dict(v) if isinstance(v, dict) else v for k, v in tables.items()}
    table = changed
    for key in path[:-1]:
        table[key] = dict(table[key])
        table = table[key]
    table[path[-1]] = value
    return changed


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(KEYS), value=st.sampled_from(EDGES))
def test_a_number_of_a_chip_is_refused_in_a_line_or_all_figures_are_numbers(key, value, tmp_path):
    name, path = key
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(set_number(FILES[name], path, value)))
    said = ""
    try:
        chip = load_chip(str(file))
    except SettingsError as error:
        said = str(error)
    if said:
        assert len(said.splitlines()) == 1
        assert path[0] in said
        return
    network = small_network()
    arithmetic = fixed(chip.word_bits) if "fixed" in chip.kinds else stochastic(256)
    for workload, batch in ((Workload(), 1), (Workload("dp-sgd"), 3), (Workload("sgd"), 10**9)):
        cost = estimate(network, chip, workload, arithmetic, batch)
        json.dumps(asdict(cost), allow_nan=False)
        assert cost.latency_s > 0
        assert cost.energy_j >= 0
    step = estimate_step(network, chip, Workload("dp-sgd"), arithmetic, 10, 1e-9)
    told = estimate_round(network, chip, step, 3)
    json.dumps([told.latency_s, told.latency_99_s, told.energy_j, told.radio_j], allow_nan=False)
