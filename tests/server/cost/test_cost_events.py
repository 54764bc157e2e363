"""Events of nets that fire, and of p-bits, beside loops over spikes; and who is refused."""

import json

import numpy as np
import oracles_chip as oracles
import pytest
import torch
from reported import Page

from clients.arithmetic import Arithmetic
from clients.chip.events import load_event_chip, price
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError, SettingsError
from server.cost.events import events_of_run, of_learning, of_neurons, of_pbits
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.report import gather, to_html
from server.report.facts.scores import scores_of
from server.run.directory import Run
from server.sweep.stages import STAGES, Order, require_possible

STEPS = 3
TIMED = ["arithmetic.name=spiking", "arithmetic.coding=rate", "arithmetic.learning=pair",
         "arithmetic.threshold=0.1", "budget.unit=none", "federation.rounds=1"]  # fmt: skip


def spiking(model, shape, **others):
    torch.manual_seed(1)
    kind = {"coding": "rate", "time_steps": STEPS, "threshold": 0.05} | others
    return build(model, Form(shape, 3), Arithmetic(name="spiking", **kind)).eval()


def seen(net, x):
    """What each layer that fires gave: [B, T, ...], by its place."""
    kept = {}
    for at, layer in enumerate(net):
        layer.register_forward_hook(lambda _, __, out, at=at: kept.update({at: out.numpy()}))
    with torch.no_grad():
        net(x)
    return kept


def agree(layer, record, expected):
    assert [*layer.events[record]] == [events for events, _ in expected]
    assert [*layer.active[record]] == [reached for _, reached in expected]


def test_a_convnet_is_counted_synapse_by_synapse():
    net, x = spiking(Model(name="convnet", width=2), (20, 20)), torch.rand(2, 20, 20)
    out = seen(net, x)
    layers = of_neurons(net, x)
    names = ["neurons 4", "largest 5", "neurons 8", "largest 9", "neurons 12", "readout 14"]
    assert [layer.name for layer in layers] == names
    windows = [(1, 2, 8, 2, 3), (4, 0, 2, 1, 0), (5, 4, 4, 2, 0), (8, 0, 2, 1, 0)]
    for r in range(2):
        for layer, (source, *window) in zip(layers[:4], windows, strict=True):
            agree(layer, r, oracles.window_events(out[source][r], *window))
        agree(layers[4], r, oracles.dense_events(out[9][r].reshape(STEPS, -1), 4))
        agree(layers[5], r, oracles.dense_events(out[12][r], 3))
    for layer, at, before in zip(layers[:5], (4, 5, 8, 9, 12), (1, 4, 5, 8, 9), strict=True):
        np.testing.assert_array_equal(layer.fired, out[at].reshape(2, STEPS, -1).sum(2))
        np.testing.assert_array_equal(layer.arriving, out[before].reshape(2, STEPS, -1).sum(2))
        assert layer.fired.sum() > 0
        assert layer.neurons == out[at][0, 0].size


def test_currents_are_one_spike_for_each_number_and_drive_all_neurons():
    net, x = spiking(Model(hidden=(6,)), (4, 4), coding="current"), torch.rand(2, 4, 4)
    x[0, 0, :3] = 0
    first, readout = of_neurons(net, x)
    assert first.arriving.tolist() == [[13, 0, 0], [16, 0, 0]]
    assert first.events.tolist() == [[78, 0, 0], [96, 0, 0]]
    assert (first.active == 6).all()
    np.testing.assert_array_equal(readout.events, 3 * first.fired)


def test_spike_timing_inhibits_and_changes_what_its_spikes_reach():
    net = spiking(Model(hidden=(5,)), (4, 4), learning="pair")
    out = seen(net, x := torch.rand(2, 4, 4))
    first, _ = of_neurons(net, x)
    inputs, fired = (next(o for o in out.values() if o.shape == (2, STEPS, n)) for n in (16, 5))
    assert fired.sum() > 0
    for r in range(2):
        reached = [events for events, _ in oracles.dense_events(inputs[r], 5)]
        beside = [int(step.sum()) * 4 for step in fired[r]]
        assert [*first.events[r]] == [a + b for a, b in zip(reached, beside, strict=True)]
        assert first.learnt[r] == sum(16 for spike in fired[r].ravel() if spike)
    chip = load_event_chip("loihi")
    more = price([first], chip, learns=True).energy_j - price([first], chip).energy_j
    assert more == pytest.approx(first.learnt.mean() * 120e-12)


def test_p_bits_are_summed_once_and_read_each_time():
    torch.manual_seed(1)
    numbers = Arithmetic(name="p-bits", time_steps=4, sweeps=2)
    net, x = build(Model(hidden=(5,)), Form((4, 4), 3), numbers).eval(), torch.rand(2, 4, 4)
    x[0, 0, 0] = 0
    machine, readout = of_pbits(net, x)
    hidden, visible = of_learning(net, x)
    assert machine.events.tolist() == [[75, 0, 0, 0], [80, 0, 0, 0]]
    assert (machine.active == 5).all()
    assert (readout.events[:, :3] == 0).all()
    assert hidden.active.tolist() == [[5, 0, 5, 0]] * 2
    assert visible.active.tolist() == [[0, 16, 0, 16]] * 2
    assert hidden.learnt.tolist() == [80, 80]
    up = hidden.events.sum(1) / 5 - np.array([15, 16])  # visible p-bits that were 1
    assert ((up >= 0) & (up <= 32) & (up == np.rint(up))).all()
    assert (visible.events.sum(1) <= 16 * 10).all()


def test_what_gives_no_spikes_is_refused_by_name():
    net = spiking(Model(name="convnet", width=2, pooling="mean"), (20, 20))
    with pytest.raises(ModelError, match="AvgPool2d between spikes"):
        of_neurons(net, torch.rand(1, 20, 20))


def test_the_command_prices_a_run_and_keeps_it(privet, runs):
    launch(load_experiment("tiny", TIMED), runs, "")
    status, out, _ = privet("cost", "latest", "--chip", "loihi", "--chip", "eyeriss", "--json")
    _, report = json.loads(out)
    assert status == 0
    (run,) = (Run.open(path) for path in runs.iterdir() if path.is_dir())
    assert [*run.kept("events.json").values()] == [report]
    assert (
        report["inference"]["energy_j"]
        == events_of_run(run, load_event_chip("loihi")).inference.energy_j
    )
    assert report["step"]["energy_j"] > report["inference"]["energy_j"] > 0
    for chip, said in (("p-bits", "'p-bits' only"), ("lohi", "no such chip")):
        status, _, err = privet("cost", "latest", "--chip", chip)
        assert status == 2
        assert said in err
    status, _, err = privet("cost", "perceptron", "--chip", "loihi")
    assert status == 2
    assert "no spike was counted" in err


@pytest.mark.parametrize(
    ("numbers", "chip"),
    [
        (["arithmetic.name=spiking"], "loihi"),
        (TIMED[:3], "loihi"),
        (["arithmetic.name=p-bits"], "p-bits"),
    ],
)
def test_the_report_tells_events_beside_a_conventional_chip(privet, runs, numbers, chip):
    """What `privet cost` kept, on the page: both chips, each with its source; a sweep's too."""
    settings = [*numbers, "budget.unit=none", "federation.rounds=1"]
    run = launch(load_experiment("tiny", settings), runs, "mine")
    order = Order(chips=("loihi", "p-bits", "eyeriss"))
    STAGES["cost"].do(run, order, print)
    assert STAGES["cost"].is_done(run, order)
    (kept,) = run.kept("events.json").values()
    facts = gather(["mine"], runs)
    page, short = Page(to_html(facts)), kept["chip"].partition(":")[0]
    for column in ("inference of 1 record", "training step"):
        rows = page.tables["An inference and a training step, event by event"]
        at = [text for text, _ in rows[0]].index(column)
        values = {row[1][0]: row[at][1] for row in rows[1:]}
        assert set(values) == {short, "Eyeriss"}
    at = [text for text, _ in rows[0]].index("its energy")
    assert rows[1][at][1] == pytest.approx(kept["inference"]["energy_j"])
    assert kept["chip"] in page.words
    assert load_event_chip(chip).title == kept["chip"]
    scores = {score.axis: score for score in scores_of(facts.runs)}
    assert scores[f"once {short}"].interval.value == kept["inference"]["latency_s"]
    assert scores["joules Eyeriss"].interval.value == facts.runs[0].costs[0].inference.energy_j


def test_a_sweep_in_which_nothing_fires_is_refused_before_it_begins():
    experiments = [load_experiment("tiny"), load_experiment("tiny", TIMED)]
    require_possible(experiments, Order(chips=("loihi",)))
    with pytest.raises(SettingsError, match="--cost: in 'float' nothing happens that loihi comp"):
        require_possible(experiments[:1], Order(chips=("loihi",)))
    with pytest.raises(SettingsError, match="no such chip"):
        require_possible(experiments, Order(chips=("lohi",)))


def test_a_run_in_which_nothing_fires_is_refused(privet, runs):
    launch(load_experiment("tiny", ["federation.rounds=1"]), runs, "")
    status, _, err = privet("cost", "latest", "--chip", "loihi")
    assert status == 2
    assert "[arithmetic] name = 'float': Loihi computes 'spiking' only" in err
