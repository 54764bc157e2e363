"""A node runs no code but what its owner named: a job tells a file's name and SHA-256."""

import json
import sys

import pytest
import torch
from asked import Device, some, tiny

from clients.models import sources
from clients.node.holder import NOT_ADMITTED
from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import build
from server.adversary.nodes import checks
from server.experiment.loading import load_experiment

TEXT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, classes, width=6):
        super().__init__()
        self.rate = torch.linspace(0, 0.1, 3)[1].item()
        self.a, self.b = nn.Linear(shape[0] * shape[1], width), nn.Linear(width, classes)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).relu())
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def job_of(file, **options):
    sha256 = sources.admit(file)
    return tiny(model={"name": "theirs.py:Net", "sha256": sha256, "options": options})


def weights_of(job):
    model = build(Job.from_json(json.dumps(job)).model, Form((8, 8), 10))
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def node(tmp_path):
    return Device(tmp_path / "node", some(60))


def test_the_owners_own_file_is_trained(node, file):
    job = job_of(file, width=4)
    weights = weights_of(job)
    node.config["model"] = str(file)
    sources._ADMITTED.clear()
    reply = node.ask(job, weights)
    assert not reply.has_error(), reply.error
    assert torch.tensor(weights["a.weight"]).shape == (4, 64)
    assert any(line["kind"] == "charge" for line in node.journal.lines)


@pytest.mark.parametrize("named", ["none", "another", "gone", "edited since"])
def test_any_other_is_refused_in_one_constant_line_and_free(node, file, tmp_path, named):
    job = job_of(file)
    weights = weights_of(job)
    if named != "none":
        node.config["model"] = str(file)
    if named == "another":
        node.config["model"] = str(tmp_path / "other.py")
        (tmp_path / "other.py").write_text(TEXT + "import sys; sys.was_run = True\n")
    if named == "gone":
        file.unlink()
    if named == "edited since":
        file.write_text(TEXT + "import sys; sys.was_run = True\n")
    assert node.refuses(job, weights) == NOT_ADMITTED
    assert str(file) not in NOT_ADMITTED
    assert not hasattr(sys, "was_run")


def test_a_job_without_a_sha256_names_nothing(node, file):
    job = job_of(file)
    weights = weights_of(job)
    node.config["model"] = str(file)
    job["model"]["sha256"] = ""
    assert node.refuses(job, weights) == NOT_ADMITTED


def test_a_path_in_a_job_is_not_looked_at(node, file):
    job = job_of(file)
    weights = weights_of(job)
    sources._ADMITTED.clear()
    job["model"]["name"] = f"{file}:Net"
    assert node.refuses(job, weights) == NOT_ADMITTED


def test_what_the_file_raises_on_records_does_not_reach_the_server(node, file):
    """Only on zeros is an error told in full: they are no record."""
    file.write_text(
        TEXT.replace("        return", "        assert x.sum() == 0, x\n        return")
    )
    job = job_of(file)
    weights = weights_of(job)
    node.config["model"] = str(file)
    reply = node.ask(job, weights)
    assert reply.has_error()
    assert reply.error.reason == "this node cannot do what it was asked: see its own log"


def test_the_auditor_brings_the_file_to_the_node_that_it_examines(tmp_path, file):
    (tmp_path / "my.toml").write_text(
        '[data]\nname = "digits"\n[model]\nname = "mine.py:Net"\n[budget]\nunit = "record"\n'
        "noise_multiplier = 1.0\n"
    )
    experiment = load_experiment(str(tmp_path / "my.toml"), ["data.nominal_records=200"])
    done, missing = checks(experiment.resolve(), 0)
    assert not missing
    assert all(check.passed for check in done), [c for c in done if not c.passed]
