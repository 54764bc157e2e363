"""A plan and a run say by which engine gradients are found, and why by no faster one."""

import json
import re

import owned
import pytest
import torch
from typer.testing import CliRunner

from clients.chip import load_chip
from clients.models import Model, form_behind, front_of
from clients.protocol import Form
from server.cli import app
from server.commands.cost import si
from server.cost import cost_of_experiment
from server.cost.here import measure_here
from server.experiment.loading import load_experiment
from server.experiment.plans import plan
from server.experiment.prepared import prepare

GRU = "onepass, not compiled: Recurrent has no kernel for records of [8, 8]"
CASES = {
    "perceptron": ([], "compiled"),
    "resnet8": (["model.name=resnet8", "model.width=4"], "compiled"),
    "cnn1d": (["model.name=cnn1d", "model.width=8", "model.kernel=3"], "compiled"),
    "gru": (["model.name=gru", "model.width=4"], GRU),
    "frozen": (["model.adapt=head"], "onepass, not compiled: Linear"),
    "asked": (["training.per_sample=onepass"], "onepass, as [training] per_sample says"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_plan_says_by_which_engine(name: str) -> None:
    settings, told = CASES[name]
    facts = plan(load_experiment("tiny", settings)).facts
    assert facts["gradients"].startswith(told)


LEFT = 8 * 8 // 16 * 81  # of a picture of 8 x 8, behind the scattering transform
SOURCES = {
    "pictures": ("scatter", Form((8, 8), 10), LEFT),
    "colour": ("scatter", Form((3, 8, 8), 10), 3 * LEFT),
    "windows": ("spectrum", Form((6, 64), 3, "window", (), 50.0), None),
    "sounds": ("log-mel", Form((4000,), 2, "sound", (), 8000.0), None),
    "table": ("none", Form((7,), 2, "table", (1, 6)), 7),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_form_behind_a_front_is_that_of_the_records_behind_it(kind: str) -> None:
    front, form, size = SOURCES[kind]
    model = Model(name="linear", front=front)
    behind = form_behind(model, form)
    transform = front_of(model, form)
    x = torch.rand(2, *form.shape)
    assert behind.shape == tuple((x if transform is None else transform(x)).shape[1:])
    assert size is None or behind.shape == (size,)


def test_a_plan_computes_no_front(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a front was computed")

    monkeypatch.setattr("clients.models.transform.Transform.__call__", refuse)
    monkeypatch.setattr("clients.training.records._features", refuse)
    found = plan(load_experiment("tiny", ["model.name=scatter"]))
    assert found.facts["gradients"] == "compiled"


def test_windows_that_overlap_are_a_doubt(tmp_path) -> None:
    owned.write_table(tmp_path / "sensor.csv", owned.sensor())
    (tmp_path / "schema.toml").write_text(
        'labels = ["1", "2"]\nunlabelled = ["-1"]\n'
        "[columns.x]\nlow = -2\nhigh = 2\n[columns.y]\nlow = -2\nhigh = 2\n"
    )
    told = [
        "data.name=file",
        f"data.path={tmp_path / 'sensor.csv'}", "data.target=label", "model.name=linear",
        "data.test_share=0.2", "data.windows.length=20", "data.windows.step=5",
    ]  # fmt: skip
    doubts = " ".join(plan(load_experiment("tiny", told)).doubts)
    assert "windows overlap: a sample is in 4 of them" in doubts
    assert "accuracy is flattered" in doubts
    apart = plan(load_experiment("tiny", [*told, "data.windows.step=20"])).doubts
    assert "overlap" not in " ".join(apart)


def test_a_count_that_is_lost_in_its_noise_is_a_doubt() -> None:
    """Of four clients of the small experiment nobody can tell how many were clipped."""
    asked = ["budget.unit=client", "budget.clip_quantile=0.5", "budget.clip_rate=1"]
    few = plan(load_experiment("tiny", asked))
    assert "follows the 0.5 quantile of the updates' norms" in few.facts["clipping"]
    assert [one for one in few.doubts if "the clip follows a count of 4 clients whose" in one]
    many = plan(load_experiment("tiny", [*asked, "federation.clients=90"]))
    assert not [one for one in many.doubts if "the clip follows" in one]


def test_without_a_promise_nothing_is_said() -> None:
    assert "gradients" not in plan(load_experiment("tiny", ["budget.unit=none"])).facts


@pytest.mark.parametrize("name", ["perceptron", "frozen"])
def test_a_run_says_in_a_line_what_was_not_compiled(
    name: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVET_RUNS", str(tmp_path))
    few = ["federation.rounds=1", "federation.clients=1", "training.local_steps=1"]
    words = [word for setting in [*few, *CASES[name][0]] for word in ("-s", setting)]
    done = CliRunner().invoke(app, ["run", "tiny", *words])
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if line.startswith("gradients: ")]
    assert len(told) == (name == "frozen")
    assert "".join(told).startswith("gradients: onepass, not compiled: Linear" * len(told))


def test_a_plan_tells_time_and_memory_here_and_on_a_chip() -> None:
    told = CliRunner().invoke(app, ["plan", "tiny", "--here", "--chip", "stm32h743", "--json"])
    facts = json.loads(told.stdout)["facts"]
    assert re.match(
        r"a step of \d+ records takes [\d.]+ .?s: .* [MG]B of memory by now", facts["here"]
    )
    there = facts["on stm32h743"]
    resolved = prepare(load_experiment("tiny")).experiment
    cost = cost_of_experiment(resolved, load_chip("stm32h743"))
    assert si(cost.round.latency_s, "s") in there
    assert si(cost.round.step.memory_99.peak_bytes, "B") in there


@pytest.mark.parametrize("unit", ["record", "client", "none"])
def test_a_step_here_trains_nothing(unit: str) -> None:
    ready = prepare(load_experiment("tiny", [f"budget.unit={unit}"]))
    before = {name: value.clone() for name, value in ready.model.state_dict().items()}
    found = measure_here(ready)
    assert found.step_s > 0
    assert found.training_s > found.step_s
    for name, value in ready.model.state_dict().items():
        assert torch.equal(value, before[name])
