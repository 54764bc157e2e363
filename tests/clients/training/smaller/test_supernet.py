"""[supernet]: one net, one gradient a record, one budget; and nets cut out of it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from clients.arithmetic import Arithmetic
from clients.data.sets import load
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build, fill, without_memory
from clients.training.records import records
from clients.training.smaller.cutting import Elastics, cut, loss_of
from clients.training.smaller.supernet import Supernet, nets_of, opened
from clients.training.train import Round, net_of, train
from privacy.cipher import Key
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.ledger import Ledger
from privacy.errors import ModelError, SettingsError
from server.adversary import nodes
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.experiment.prepared import prepare

SMALL = ["federation.rounds=2", "federation.clients=2", "training.local_steps=2"]
SUPER = [*SMALL, "supernet.widths=[0.25, 0.5]"]
NETS = {
    "perceptron": (
        Model(hidden=(12, 8)),
        Supernet(widths=(0.5,), depths=(1,), bits=(3,), sampled=2),
    ),
    "convnet": (
        Model(name="convnet", width=8, norm="group"),
        Supernet(widths=(0.5,), trims=(1, 3), bits=(4,)),
    ),
    "ds-cnn": (
        Model(name="ds-cnn", width=8, depth=2),
        Supernet(widths=(0.5,), depths=(1,), trims=(1,)),
    ),
    "resnet8": (Model(name="resnet8", width=8), Supernet(widths=(0.5,), trims=(1,), bits=(8, 2))),
    "mobilenet": (Model(name="mobilenet", width=8), Supernet(widths=(0.5,), trims=(1,))),
    "cnn1d": (
        Model(name="cnn1d", width=8, depth=2),
        Supernet(widths=(0.5,), depths=(1,), trims=(2,), bits=(4,)),
    ),
}
FORM = Form((28, 28), 5)


def made(name, form=FORM):
    model, supernet = NETS[name]
    torch.manual_seed(0)
    whole = build(model, form)
    nets = nets_of(supernet, model)
    smaller = without_memory()(lambda net: build(net.model, form, net.arithmetic))
    return whole, nets, Elastics(whole, nets, smaller, supernet), supernet


def middle(array, shape):
    """The first outputs and inputs, and of a kernel's sides the middle, one axis after another."""
    for axis, side in enumerate(shape):
        first = (array.shape[axis] - side) // 2 if axis >= 2 else 0
        array = array.take(range(first, first + side), axis)
    return array


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_cut_out_of_the_whole_bit_for_bit(name):
    """Its weights are slices; its answers are those that it had in training, words or floats."""
    whole, nets, elastics, _ = made(name)
    x = torch.rand(3, 28, 28)
    weights = {n: t.numpy().copy() for n, t in whole.state_dict().items()}
    assert {n: t.shape for n, t in elastics.state_dict().items()} == {
        n: t.shape for n, t in whole.state_dict().items()
    }
    assert torch.equal(elastics.eval()(x), whole(x))
    assert len(nets) > 1
    assert nets[0].model == NETS[name][0]
    for index, (model, arithmetic) in enumerate(nets[1:], 1):
        small = build(model, FORM, arithmetic)
        sliced = cut(weights, whole, small)
        for (n, array), (_, origin) in zip(sliced.items(), weights.items(), strict=False):
            if (model.depth, len(model.hidden)) == (nets[0].model.depth, len(nets[0].model.hidden)):
                assert np.array_equal(array, middle(origin, array.shape)), n
        fill(small, sliced)
        elastics.train()._chosen = [index]
        with torch.no_grad():
            assert torch.equal(elastics(x)[:, 1], small(x))
            assert torch.equal(elastics(x)[:, 0], whole(x))


@pytest.mark.parametrize("name", ["perceptron", "convnet", "ds-cnn", "resnet8", "cnn1d"])
def test_each_record_has_one_gradient_which_is_clipped_once(name):
    """Against autograd, record by record, on the nets cut out one by one."""
    _, _, elastics, supernet = made(name)
    elastics.train().choose(Key.of("step"))
    x, y, clip = torch.rand(4, 28, 28), torch.arange(4), 0.05
    loss = loss_of(supernet)
    expected = []
    for i in range(4):
        elastics.zero_grad()
        loss(elastics(x[i : i + 1]), y[i : i + 1]).sum().backward()
        flat = torch.cat([p.grad.flatten() for p in elastics.parameters()]).double()
        expected.append(flat * min(1.0, clip / float(flat.norm())))
    elastics.zero_grad()
    optimizer = OnePassOptimizer(
        elastics,
        torch.optim.SGD(elastics.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=4,
    )
    loss(elastics(x), y).sum().backward()
    optimizer.accumulate(4)
    found = dict(zip(map(id, optimizer.params), optimizer._sums, strict=True))
    total = torch.cat([found[id(p)].flatten() for p in elastics.parameters()])
    assert torch.allclose(total, sum(expected), atol=2e-4 * clip)


def test_the_loss_is_the_mean_over_nets_and_no_record_teaches_its_label_twice():
    answers, y = torch.randn(3, 2, 4), torch.tensor([0, 3, 1])
    plain = (cross_entropy(answers[:, 0], y, reduction="none")
             + cross_entropy(answers[:, 1], y, reduction="none")) / 2  # fmt: skip
    assert torch.allclose(loss_of(Supernet(distil=False))(answers, y), plain)
    said = answers[:, 0].softmax(1)
    distilled = (cross_entropy(answers[:, 0], y, reduction="none")
                 + cross_entropy(answers[:, 1], said, reduction="none")) / 2  # fmt: skip
    assert torch.allclose(loss_of(Supernet())(answers, y), distilled)


def test_a_step_has_the_whole_the_smallest_and_others_by_no_record():
    _, nets, elastics, _ = made("perceptron")
    last, seen = len(nets) - 1, set()
    for step in range(30):
        elastics.choose(Key.of(step))
        assert elastics._chosen[-1] == last
        assert len(set(elastics._chosen)) == 3
        seen.update(elastics._chosen)
    assert seen == set(range(1, last + 1))


def test_a_round_trains_every_net_and_spends_what_one_net_does(runs):
    plain, run = (launch(load_experiment("tiny", s), runs) for s in (SMALL, SUPER))
    assert run.ledgers[0].entries == plain.ledgers[0].entries
    assert run.weights(2).keys() == plain.weights(2).keys()
    job = run.experiment.job
    whole, _ = records(job.data, job.model)
    form = load(job.data).form
    net = net_of(build(job.model, form), whole, job)
    ledger = Ledger()
    train(net, whole, torch.arange(300), job, Round(1, 0, 0.5), ledger)
    assert [e.steps for e in ledger.entries] == [2]
    checks, _ = nodes.checks(run.experiment, 0)
    assert checks
    assert all(check.passed for check in checks), checks


def test_choices_are_opened_kind_by_kind():
    model = Model(name="cnn1d", width=8, depth=2)
    supernet = Supernet(widths=(0.5,), depths=(1,), trims=(2,), bits=(4,), progressive=2)
    nets = nets_of(supernet, model)
    assert len(nets) == 16

    def differ(number):
        """In which kinds the nets of a round differ from the whole one."""
        found = set()
        for net in (nets[i] for i in opened(supernet, nets, number)):
            found |= {
                k for k in ("trim", "depth", "width") if getattr(net.model, k) != getattr(model, k)
            }
            if net.arithmetic.name != "float":
                found.add("bits")
        return found

    told = [differ(number) for number in range(1, 10)]
    assert told[0] == told[1] == set()
    assert told[2] == told[3] == {"trim"}
    assert told[4] == {"trim", "depth"}
    assert told[6] == {"trim", "depth", "width"}
    assert told[8] == {"trim", "depth", "width", "bits"}
    _, _, elastics, _ = made("cnn1d")
    elastics._supernet = supernet
    elastics.begin_round(1)
    elastics.choose(Key.of("step"))
    assert elastics.train()(torch.rand(3, 28, 28)).shape == (3, 1, 5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["supernet.widths=[0.5]", "arithmetic.name=fixed"], "cannot be cut"),
        (["supernet.widths=[0.5]", "pruning.weight=0.5"], "cut a smaller net instead"),
        (["supernet.widths=[0.5]", "training.per_sample=hooks"], "onepass"),
        (["supernet.depths=[2]"], "give as many or fewer"),
        (["supernet.widths=[0.5]", "model.name=linear"], "has none"),
        (["supernet.widths=[0.5]", "model.name=resnet8"], "give it"),
        (["supernet.trims=[1]"], "padded kernels, and perceptron has none"),
        (
            ["supernet.trims=[2]", "model.name=resnet8"],
            "trim = 2: the widest padding of resnet8 is 1",
        ),
        (["supernet.trims=[1]", "model.name=cnn1d", "model.trim=2"], "give more"),
        (["supernet.widths=[0.5]", "supernet.progressive=2"], "from round 3 on, and there are 2"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_is_made(settings, said):
    with pytest.raises((SettingsError, ModelError), match=said) as error:
        prepare(load_experiment("tiny", [*SMALL, *settings]))
    assert len(str(error.value).splitlines()) == 1


def test_layers_that_no_filter_can_be_left_out_of_are_refused():
    form = Form((28, 28), 5)
    whole = build(Model(name="lstm", width=8), form, Arithmetic())
    with pytest.raises(ModelError, match="cannot be cut"):
        Elastics(whole, [], lambda net: whole, Supernet())
