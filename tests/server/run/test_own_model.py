"""A run of the user's own model: it keeps the file, goes on from it, and runs no stranger's."""

import shutil
import sys

import pytest
from typer.testing import CliRunner

from clients.models import sources
from privacy.errors import RunError, SettingsError
from server.cli import app
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.run.directory import Run

TEXT = """
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, classes, width=6):
        super().__init__()
        self.a, self.b = nn.Linear(shape[0] * shape[1], width), nn.Linear(width, classes)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).relu())
"""
FILE = """
[data]
name = "digits"
limit = 300
[model]
name = "mine.py:Net"
[model.options]
width = 5
[training]
local_steps = 2
[federation]
clients = 2
rounds = 2
[budget]
unit = "record"
epsilon = 8
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of an experiment and a model, not the current one."""
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "cache"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "my.toml").write_text(FILE)
    (home / "mine.py").write_text(TEXT)
    return home


@pytest.fixture
def run(folder, runs):
    return launch(load_experiment(str(folder / "my.toml")), runs)


def forget():
    """As in another process."""
    sources._ADMITTED.clear()
    sources._EXPECTED.clear()


def refusal(*words):
    found = CliRunner().invoke(app, [*map(str, words)]).exception
    assert isinstance(found, RunError), found
    return str(found)


def test_the_run_keeps_the_file_and_names_no_path(run, folder):
    assert (run.path / "model.py").read_text() == TEXT
    model = Run.open(run.path).experiment.model
    assert model.name == "mine.py:Net"
    assert dict(model.options) == {"width": 5}
    assert model.sha256 in (run.path / "experiment.toml").read_text()
    assert str(folder) not in (run.path / "experiment.toml").read_text()
    assert run.weights(2)["a.weight"].shape == (5, 64)
    assert run.rounds[-1].epsilon < 8


def test_a_run_goes_on_from_its_own_copy(run, folder):
    """Weights are those of an undisturbed run, though the first file is gone or another."""
    lines = (run.path / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run.path / "rounds.jsonl").write_text(lines[0])
    after = run.weights(2)
    (run.path / "rounds/002.safetensors").unlink()
    (folder / "mine.py").write_text("raise SystemExit\n")
    forget()
    resume(Run.open(run.path))
    assert {n: w.tobytes() for n, w in run.weights(2).items()} == {
        n: w.tobytes() for n, w in after.items()
    }
    forget()
    assert CliRunner().invoke(app, ["cost", str(run.path)]).exit_code == 0


@pytest.mark.parametrize("command", ["attack", "audit", "cost", "evaluate", "infer", "resume"])
def test_an_altered_copy_is_refused(run, command):
    (run.path / "model.py").write_text(TEXT + "import sys; sys.was_run = True\n")
    forget()
    told = refusal(command, run.path)
    assert "model.py: has SHA-256" in told
    assert len(told.splitlines()) == 1
    (run.path / "model.py").unlink()
    assert "cannot be read" in refusal(command, run.path)
    assert not hasattr(sys, "was_run")


@pytest.mark.parametrize("command", ["attack", "audit", "cost", "evaluate", "infer", "resume"])
def test_a_strangers_code_is_not_run_unasked(run, command, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "another"))
    forget()
    told = refusal(command, run.path)
    assert "its model.py is code" in told
    assert "--trust" in told
    if command == "cost":
        assert CliRunner().invoke(app, [command, str(run.path), "--trust"]).exit_code == 0


def test_a_stranger_cannot_name_another_file_for_a_run_made_here(run, monkeypatch):
    """Who alters the settings to fit a code of his own has altered what the mark is of."""
    text = (run.path / "experiment.toml").read_text()
    (run.path / "model.py").write_text(TEXT + "# evil\n")
    sha256 = sources.admit(run.path / "model.py")
    old = Run.open(run.path).experiment.model.sha256
    (run.path / "experiment.toml").write_text(text.replace(old, sha256))
    forget()
    assert "was not made here" in refusal("cost", run.path)


def test_a_moved_run_is_still_ours(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "moved")
    shutil.rmtree(run.path)
    forget()
    assert CliRunner().invoke(app, ["cost", str(tmp_path / "moved")]).exit_code == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["model.name=nowhere.py:Net"], "cannot be read.*looked for beside"),
        (["model.sha256=" + "a" * 64], "bring that file back.*or leave .* sha256 out"),
        (["model.name=perceptron", "model.options.width=3"], "would change nothing"),
        (["model.name=perceptron", "model.sha256=" + "a" * 64], "would change nothing"),
        (["model.name=mine.py"], "unknown model; a model of your own is FILE.py:NAME"),
        (["model.options.width.deep=3"], "must be section.key=value"),
        (["model.options=3"], "must be a table"),
    ],
)
def test_settings_that_will_not_do_are_one_line(folder, settings, told):
    with pytest.raises(SettingsError, match=told) as found:
        load_experiment(str(folder / "my.toml"), settings)
    assert len(str(found.value).splitlines()) == 1


def test_options_are_set_one_by_one(folder, monkeypatch):
    experiment = load_experiment(str(folder / "my.toml"), ["model.options.width=9"])
    assert dict(experiment.model.options) == {"width": 9}
    monkeypatch.chdir(folder.parent)
    (folder.parent / "mine.py").write_text(TEXT + "# of the current folder\n")
    here = load_experiment(str(folder / "my.toml"), ["model.name=mine.py:Net"])
    assert here.model.sha256 != experiment.model.sha256
