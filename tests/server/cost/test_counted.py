"""The chip model held against a board's own C, and what is done where it is off."""

import json

import pytest

from clients.chip import Workload, estimate, load_chip
from clients.chip.precision import FLOAT
from clients.firmware.budget import Part
from clients.firmware.compiling import missing
from server.cost.counted import ALL, FORWARD, GRADIENT, NOISE, REST, hold, mended
from server.cost.reports import Report
from server.cost.subjects import find_subject
from server.engines.launch import launch
from server.experiment.loading import load_experiment

CHIP, RECORDS = load_chip("stm32l4r5"), 2
NETWORK = find_subject("linear").network
STEP = estimate(NETWORK, CHIP, Workload("dp-sgd"), FLOAT, 10)


def parts(forward, gradient, noise):
    """Cycles of a record, or of a step's noise; as counted over RECORDS."""

    def one(phase, layer, cycles):
        return Part(phase, layer, {}, (round(cycles), round(1.1 * cycles)))

    each = one("forward", 0, RECORDS * forward), one("accumulate", 0, RECORDS * gradient)
    return (*each, one("noise", -1, noise), one("ledger", -1, 1200), one("sample", -1, 1200))


def modelled(*phases):
    return sum(row.latency_s for row in STEP.rows if row.phase in phases) * CHIP.clock_hz


def test_what_is_off_by_more_than_15_percent_is_mended_and_nothing_else():
    """The gradient is as modelled, the noise a little off, the forward pass twice as long."""
    forward, noise = modelled("forward") / 10, modelled("noise", "update")
    gradient = modelled("weight gradient", "norms", "clip") / 10
    held = hold(STEP, NETWORK, CHIP, parts(2 * forward, gradient, noise / 1.2), RECORDS)
    found = {one.part: one for one in held}
    assert found[FORWARD].error == pytest.approx(-0.5, abs=1e-3)
    assert found[FORWARD].mended == pytest.approx(2.1, abs=1e-3)
    assert found[GRADIENT].error == pytest.approx(0.0, abs=1e-3)
    assert found[NOISE].error == pytest.approx(1.2 / 1.1 - 1, abs=1e-3)
    assert found[GRADIENT].mended == found[NOISE].mended == 1.0
    assert (found[REST].error, found[REST].layer) == (None, ALL)
    inference = estimate(NETWORK, CHIP, Workload(), FLOAT, 1)
    report = mended(Report("", "", FLOAT, inference, STEP), NETWORK, CHIP, held)
    more = 1.1 * modelled("forward") + 2400 * 1.05
    assert report.step.latency_s == pytest.approx(STEP.latency_s + more / CHIP.clock_hz, rel=1e-6)
    assert report.step.energy_j == pytest.approx(report.step.latency_s * CHIP.energy.static_w)
    assert report.inference.latency_s == pytest.approx(2.1 * inference.latency_s, rel=1e-3)


@pytest.mark.skipif(bool(missing()), reason="not verified on the target: privet[firmware]")
def test_a_run_is_held_against_its_own_c(privet, runs):
    small = ("federation.rounds=1", "federation.clients=2", "model.hidden=[5]")
    launch(load_experiment("tiny", [*small, "training.local_steps=1"]), runs, "")
    ask = ("cost", "latest", "--chip", "stm32h743", "--json")
    (plain,), (held,) = (json.loads(privet(*ask, *more)[1]) for more in ((), ("--counted",)))
    places = [(one["layer"], one["part"]) for one in held["held"]]
    layers = [row["layer"] for row in plain["inference"]["rows"]]
    assert {(layer, "forward") for layer in layers} < set(places)
    assert (layers[1], "backward") in places
    assert (layers[0], "backward") not in places  # nothing is below the first
    for one in held["held"]:
        off = one["error"] is not None and abs(one["error"]) > 0.15
        assert off == (one["mended"] != 1.0)
    step = held["round"]["step"]
    assert step["latency_99_s"] > step["latency_s"] > 0
    assert step["latency_s"] == pytest.approx(held["step"]["latency_s"], rel=0.02)
    assert step["energy_j"] == pytest.approx(
        step["latency_s"] * load_chip("stm32h743").energy.static_w
    )


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (("convnet", "--chip", "stm32h743"), "--counted: would change nothing: convnet is a model"),
        (("latest", "--chip", "eyeriss"), "eyeriss: no microcontroller"),
    ],
)
def test_what_cannot_be_counted_is_refused(privet, runs, ask, said):
    if ask[0] == "latest":
        launch(load_experiment("tiny", ["federation.rounds=1", "federation.clients=2"]), runs, "")
    status, out, err = privet("cost", *ask, "--counted")
    assert (status, out) == (2, "")
    assert said in err
