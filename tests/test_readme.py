"""README.md and the rooms' pages: each command runs, cut to seconds; each experiment exists."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from clients.data import sets as data
from clients.data.formats import read_digits
from server import cli
from server.experiment.loading import ready_experiments

ROOT = Path(__file__).parent.parent
ROOMS = ["privacy", "clients", "attacks", "server", "tests/benchmarks"]
README = "\n".join((ROOT / room / "README.md").read_text() for room in ["", *ROOMS])
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
LINES = [line.partition(" #")[0].strip() for line in BLOCKS.splitlines() if line.strip()]
COMMANDS = [shlex.split(line) for line in LINES]
TABLE = [
    shlex.split(command) for command in re.findall(r"^\| `(privet .*?)`", README, re.MULTILINE)
]
# test_learning.py, test_inference.py, test_deployment.py, test_own_data.py, test_watch_browser.py,
# test_extract.py
ELSEWHERE = {
    *("learn", "serve-learning", "serve", "link", "node", "ledger", "new", "plan", "watch"),
    "extract",
}
SMALL = ["-s", "data.name=digits", "-s", "federation.rounds=1"]


def privet(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["privet", *arguments])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    return int(leave.value.code or 0)


def test_the_story_in_order(runs, tmp_path, monkeypatch):
    """The commands of `Use`, one after another, as a new user would give them."""
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(data, "read_mnist_wheel", read_digits)
    monkeypatch.setitem(data.CONTENT_SHA256, "mnist", data.CONTENT_SHA256["digits"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir(exist_ok=True)
    told = [command for command in COMMANDS if command[0] == "privet"]
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert {command[1] for command in told} == {*known, "data"} - ELSEWHERE
    for command in told:
        small = SMALL if command[1] == "run" else []
        assert privet([*command[1:], *small], monkeypatch) == 0, command


@pytest.mark.parametrize("command", TABLE, ids=lambda command: command[2])
def test_every_row_of_the_table_runs(command, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    assert command[2] in ready_experiments()
    small = SMALL
    assert privet([*command[1:], *small], monkeypatch) == 0


def test_make_knows_its_targets():
    targets = [command[1] for command in COMMANDS if command[0] == "make"]
    assert targets == ["demo", "test"]
    for target in [*targets, "check"]:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_flower_is_called_as_flower_wants():
    """The run config may only name keys that pyproject.toml has; test_flower.py runs it."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    calls = [command for command in COMMANDS if command[0] == "flwr"]
    assert calls
    for call in calls:
        assert call[:4] == ["flwr", "run", ".", "local"]
        if "--run-config" in call:
            overrides = tomllib.loads(call[call.index("--run-config") + 1].replace('" ', '"\n'))
            assert set(overrides) <= set(known)


def test_the_workflow_says_what_privet_understands():
    """The GitHub Actions example: YAML, and of privet's commands the one that is tested."""
    (text,) = re.findall(r"```yaml\n(name: .*?)```", README, re.DOTALL)
    job = yaml.safe_load(text)["jobs"]["audit"]
    told = [step["run"] for step in job["steps"] if "run" in step]
    assert told[-1] == "privet audit step my_step.py:make --json > audit.json"
    assert {shlex.split(line)[0] for line in told} == {"pip", "privet"}


def test_the_names_that_an_installation_takes_are_told():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    section = README.partition("## Beside other packages")[2].partition("\n## ")[0]
    assert {name for name in about["packages"] if "." not in name} == set(
        re.findall(r"`([a-z]+)`", section.partition(", one for")[0])
    )


def test_commands_are_all_known():
    assert {command[0] for command in COMMANDS} == {"make", "privet", "flwr"}
