"""A net with pruned filters is a smaller net with the same answers, priced and exported as such."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from clients.arithmetic import Arithmetic
from clients.chip import Workload, estimate, fixed, load_chip, reference
from clients.chip.workloads.workload import Zeros
from clients.layers import Kept
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build, fill
from clients.training.pruning import Pruning
from clients.training.smaller.compact import compact
from privacy.errors import ModelError, SettingsError
from server.cost import cost_of_experiment, cost_of_run
from server.cost.subjects import subject_of
from server.cost.zeros import left_of_run
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.export.firmware import board_of
from server.export.onnx import to_onnx
from server.export.torch import to_torch
from server.federation.pruned import prune, spared_of

SMALL = ["federation.rounds=2", "federation.clients=2", "training.local_steps=2"]
FILTERS = [*SMALL, "pruning.structured=filters", "pruning.weight=0.5"]


def pruned(model, form, **how):
    torch.manual_seed(0)
    net = build(model, form).eval()
    weights = {n: t.numpy().copy() for n, t in net.state_dict().items()}
    last = list(weights)[-2:]
    pruning = Pruning(**how)
    least = {n: w for n, w in weights.items() if n not in last}
    fill(net, weights | pruning.prune(least, 1, 1))
    return net


@pytest.mark.parametrize("how", [{"structured": "filters"}, {"structured": "channels"}])
@pytest.mark.parametrize(
    "model", [Model(hidden=(12, 9)), Model(name="convnet", activation="tanh"), Model(name="ds-cnn")]
)
def test_the_smaller_net_gives_the_same_answers(model, how):
    form = Form((28, 28), 10)
    net = pruned(model, form, weight=0.5, **how)
    small, x = compact(net), torch.rand(7, 28, 28)
    with torch.no_grad():
        assert torch.allclose(net(x), small(x), atol=1e-5)
    sizes = [sum(p.numel() for p in one.parameters()) for one in (small, net)]
    share = sizes[0] / sizes[1]
    if model.name == "ds-cnn":  # whose norms mix channels
        assert small is net
    else:
        assert share < (0.6 if model.name == "perceptron" or how["structured"] == "filters" else 1)


def slowly(array, kind, share):
    """Filter by filter, channel by channel, block by block: the least until enough are zero."""
    out = array.copy()
    if kind in ("filters", "channels"):
        rows = out if kind == "filters" else out.swapaxes(0, 1)
        order = sorted(
            range(len(rows)), key=lambda i: (float((rows[i].astype(float) ** 2).sum()), i)
        )
        for i in order[: int(share * len(rows))]:
            rows[i] = 0
        return out
    kept, length = map(int, kind.split(":"))
    for place in np.ndindex(out.shape[0], *out.shape[2:]):
        row = out[(place[0], slice(None), *place[1:])]
        for start in range(0, len(row) - length + 1, length):
            block = row[start : start + length]
            for i in sorted(range(length), key=lambda i: (abs(block[i]), i))[: length - kept]:
                block[i] = 0
    return out


@pytest.mark.parametrize("kind", ["filters", "channels", "2:4", "1:3"])
def test_what_is_least_together_is_pruned_together(kind):
    rng = np.random.default_rng(1)
    weights = {
        f"{i}.weight": rng.normal(size=s).astype(np.float32)
        for i, s in enumerate(((8, 10), (6, 8, 3, 3)))
    }
    weights["0.bias"] = rng.normal(size=8).astype(np.float32)
    settings = {"structured": kind} | ({} if ":" in kind else {"weight": 0.5})
    pruning = Pruning(**settings)
    found = pruning.prune(weights, 1, 1)
    for name in ("0.weight", "1.weight"):
        assert np.array_equal(found[name], slowly(weights[name], kind, 0.5))
    gone = ~found["0.weight"].any(1) if kind == "filters" else np.zeros(8, bool)
    assert np.array_equal(found["0.bias"] == 0, gone)
    sent = pruning.squeeze(weights, found)
    back = pruning.spread(sent, found)
    assert all(np.array_equal(back[n], found[n]) for n in found)
    assert sent["0.bias"].size == 8 - gone.sum()
    ones = pruning.kept({n: torch.from_numpy(w) for n, w in found.items()})
    assert all(
        np.array_equal(one != 0, w != 0) for one, w in zip(ones, found.values(), strict=True)
    )


def test_pruned_filters_and_their_biases_stay_zero_and_are_left_out_of_price_and_exports(runs):
    run = launch(load_experiment("tiny", FILTERS), runs, "filters")
    kept = load_file(run.path / "masks.safetensors")
    assert set(kept) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    first, last = run.weights(0), run.weights(2)
    units = len(first["1.bias"])
    gone = last["1.bias"] == 0
    assert gone.sum() == units // 2
    assert not last["1.weight"][gone].any()
    assert (last["3.weight"] != 0).all()  # what answers is not pruned
    chip, plan = load_chip("stm32h743"), run.experiment
    report = cost_of_run(run, chip)
    assert report.inference.macs == cost_of_experiment(plan, chip).inference.macs
    assert report.inference.macs < 0.55 * subject_of(plan).network.macs
    to_torch(run, runs / "small")
    assert len(load_file(runs / "small" / "model.safetensors")["1.bias"]) == units // 2
    pytest.importorskip("onnxruntime")
    to_onnx(run, runs / "small.onnx")
    board = board_of(run, "stm32h743")
    assert board.contract.sizes[1] == units // 2
    pruned = launch(load_experiment("tiny", [*SMALL, "pruning.weight=0.5"]), runs)
    with pytest.raises(ModelError, match="train zeros again; export --answers alone"):
        board_of(pruned, "stm32h743")
    answered = board_of(pruned, "stm32h743", answers=True).check_answers()
    assert all(one.answers == one.own == one.asked for one in answered)
    normed = [*FILTERS, "model.name=cnn1d", "model.width=8", "model.depth=1"]
    with pytest.raises(ModelError, match="keeps its shape beside a shortcut, before a norm"):
        board_of(launch(load_experiment("tiny", normed), runs), "stm32h743")


def test_activations_keep_the_greatest_of_each_record():
    x = torch.tensor([[[0.1, -0.9], [0.5, 0.4]], [[2.0, 2.0], [2.0, 0.0]]])
    same = torch.nn.Identity()
    assert Kept(same, top=0.5)(x).tolist() == [[[0, x[0, 0, 1]], [0.5, 0]], [[2, 2], [2, 0]]]
    assert Kept(same, least=0.45)(x).tolist() == [[[0, x[0, 0, 1]], [0.5, 0]], [[2, 2], [2, 0]]]


def test_a_net_of_pruned_activations_trains_privately_and_a_chip_skips_what_it_measures(runs):
    settings = [*SMALL, "pruning.activation=top:0.1"]
    dense, run = (launch(load_experiment("tiny", s), runs) for s in (SMALL, settings))
    assert run.ledgers[0].entries == dense.ledgers[0].entries
    networks = [left_of_run(r, subject_of(r.experiment).network) for r in (dense, run)]
    assert networks[1].zeros[1].activations == pytest.approx(0.9, abs=0.01)
    assert networks[1].zeros[0] == networks[0].zeros[0]  # pixels
    for name in ("zasca", "cnvlutin", "eyeriss"):
        ours, theirs = (cost_of_run(r, load_chip(name)).inference for r in (run, dense))
        assert ours.energy_j < theirs.energy_j
        assert (ours.rows[-1].compute_s < theirs.rows[-1].compute_s) is (name != "eyeriss")
    to_torch(run, runs / "kept")


def test_zeros_are_a_layers_own():
    chip, whole = load_chip("cambricon-x"), reference("mlperf-ad")
    name = whole.layers[0].name
    sparse = Workload(zeros=(Zeros(name, 0.9, 0.0),))
    before, after = (estimate(whole, chip, w, fixed(16), 1) for w in (Workload(), sparse))
    changed = [b.layer for b, a in zip(before.rows, after.rows, strict=True) if a != b]
    assert changed == [name]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["structured=2:4", "weight=0.5"], "leave weight out"),
        (["structured=4:2"], "fewer"),
        (["structured=filters"], "add weight"),
        (["structured=rows"], "structured"),
        (["activation=top:0"], "activation"),
        (["activation=threshold:0"], "above 0"),
        (["activation=top:.5", "arithmetic.name=binary"], "use name = 'float'"),
    ],
)
def test_what_cannot_be_pruned_is_refused(settings, said):
    texts = [s if s.startswith("arithmetic") else f"pruning.{s}" for s in settings]
    with pytest.raises(SettingsError, match=said) as error:
        load_experiment("tiny", [*SMALL, *texts])
    assert len(str(error.value).splitlines()) == 1


def test_a_model_without_activations_has_none_to_prune():
    with pytest.raises(ModelError, match="no activation"):
        build(Model(name="linear"), Form((8, 8), 3), Arithmetic(), Pruning(activation="top:0.5"))


def test_what_answers_is_spared():
    experiment = load_experiment("tiny", FILTERS)
    assert {"3.weight", "3.bias"} <= spared_of(experiment)
    weights = {"1.weight": np.ones((4, 3), np.float32), "3.weight": np.ones((2, 4), np.float32)}
    found = prune(experiment, weights, weights, 0, spared_of(experiment))
    assert found["3.weight"].all()
    assert json.dumps(found["1.weight"].any(1).tolist()) == "[false, false, true, true]"
