"""What pruning saves, counted by hand; in cost.json, and on the page."""

import numpy as np
import pytest
import torch
from reported import Page

from clients.chip import load_chip
from clients.data.sets import load
from clients.training.net import build, fill
from clients.training.records import records
from clients.training.smaller.compact import compact
from server.cost import cost_of_run
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.report import gather, to_html

PRUNED = ["federation.rounds=1", "federation.clients=2", "training.local_steps=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    made = launch(load_experiment("tiny", [*PRUNED, "pruning.weight=0.9"]), folder, "pruned")
    chips = ("zasca", "cambricon-x", "stm32h743")
    made.save_costs([cost_of_run(made, load_chip(name)).as_dict() for name in chips])
    return made


def counted(run):
    """Of each dense layer that is left: its weights, of them not zero, the share of its inputs that
    is not zero; and the weights of the whole net's layers.
    """
    experiment = run.experiment
    net = build(experiment.model, load(experiment.data).form, experiment.arithmetic)
    fill(net, run.weights(1))
    whole = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    _, test = records(experiment.data, experiment.model)
    x = test.inputs(torch.arange(256)).flatten(1)
    found = []
    for layer in compact(net):
        if isinstance(layer, torch.nn.Linear):
            weight = layer.weight.detach().numpy()
            found.append((weight.size, np.count_nonzero(weight), float((x != 0).double().mean())))
        x = layer(x).detach()
    return found, whole


def test_what_is_left_is_what_is_counted(run):
    layers, total = counted(run)
    zasca, cambricon, board = (cost["saved"] for cost in run.costs)
    assert zasca["products"] == pytest.approx(sum(n * x for _, n, x in layers) / total)
    by_inputs = sum(size * x for size, _, x in layers) / total
    by_weights = sum(n for _, n, _ in layers) / total
    for saved, share in ((zasca, by_inputs), (cambricon, by_weights)):
        assert saved["measured"]["theory"] == pytest.approx(1 / share)
    assert board["curve"] == []
    for saved in (zasca, cambricon):
        for point in saved["curve"]:
            assert 0.9 < point["array"] <= point["theory"] * 1.001
    assert zasca["weights"] < 0.2


def test_the_page_says_what_pruning_saves(run):
    page = Page(to_html(gather([run.path.name], run.path.parent)))
    text = " ".join(page.text)
    for said in ("What pruning saves", "weight = 0.9", "products left", "in theory"):
        assert said in text, said
