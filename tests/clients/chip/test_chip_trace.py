"""What a user's own module may do in its forward, and what a trace says of it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clients.chip import Workload, estimate, fixed, load_chip
from clients.chip.workloads.trace import trace
from clients.chip.workloads.training import gradient_words, tasks
from privacy.errors import ModelError


class Own(nn.Module):
    """A forward as a function of the module's parts and the input."""

    def __init__(self, forward, *parts, **named):
        super().__init__()
        self.parts, self.computed = nn.ModuleList(parts), forward
        for name, tensor in named.items():
            self.register_parameter(name, nn.Parameter(tensor))

    def forward(self, x):
        return self.computed(self, x)


def written(net, x):
    out = torch.zeros(len(x), 2, 4)
    out[:, 0], out[:, 1] = net.parts[0](x), net.parts[1](x)
    return net.parts[2](out.flatten(1))


def own_device(net, x):
    return net.parts[0](x + torch.ones(3, device="cpu"))


def by_value(net, x):
    return net.parts[0](x if float(x.sum()) >= 0 else -x)


def attended(net, x):
    return F.scaled_dot_product_attention(*net.parts[0](x).chunk(3, -1), is_causal=True)


def hyper(net, x):
    return F.conv1d(x, net.parts[0](x.mean(-1)).view(2, 3, 2))


def heads(net, x):
    return torch.einsum("bti,hio->bhto", x, net.w)


def looked_up(net, x):
    return net.parts[0](net.w[x.abs().long().clamp(0, 1)].flatten(1))


def last_state(net, x):
    return net.parts[0](x, torch.zeros(1, len(x), 5))[1][-1]


ZERO = torch.zeros
OWN = {  # net, shape, products, kinds
    "written in place": (
        Own(written, nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 2)),
        (3,),
        12 + 12 + 16,
        [("dense", (-1,)), ("dense", (-1,)), ("dense", (0, 1))],
    ),
    "own device": (Own(own_device, nn.Linear(3, 2)), (3,), 6, [("dense", (-1,))]),
    "by value": (Own(by_value, nn.Linear(3, 2)), (3,), 6, [("pool", (-1,)), ("dense", (-1,))]),
    "attended": (
        Own(attended, nn.Linear(8, 24)),
        (4, 8),
        4 * 8 * 24 + 2 * 4 * 4 * 8,
        [("dense", (-1,)), ("product", (0,)), ("softmax", (1,)), ("product", (2, 0))],
    ),
    "filters that a layer gives": (
        Own(hyper, nn.Linear(3, 12)),
        (3, 8),
        36 + 7 * 2 * 3 * 2,
        [("pool", (-1,)), ("dense", (0,)), ("product", (-1, 1))],
    ),
    "einsum": (Own(heads, w=ZERO(2, 3, 4)), (5, 3), 5 * 3 * 8, [("dense", (-1,))]),
    "a table by index": (
        Own(looked_up, nn.Linear(12, 2), w=ZERO(2, 4)),
        (3,),
        24,
        [("lookup", (-1,)), ("dense", (0,))],
    ),
    "a first state": (
        Own(last_state, nn.GRU(3, 5, batch_first=True)),
        (7, 3),
        7 * 15 * 8,
        [("recurrent", (-1,))],
    ),
    "bilinear": (
        Own(lambda net, x: net.parts[0](x, x), nn.Bilinear(3, 3, 2)),
        (3,),
        3 * 2 * 3,
        [("dense", (-1,))],
    ),
    "weight norm": (nn.utils.weight_norm(nn.Linear(4, 5)), (4,), 20, [("dense", (-1,))]),
}


@pytest.mark.parametrize("name", OWN)
def test_what_a_forward_does_is_seen(name):
    net, shape, macs, kinds = OWN[name]
    before = copy.deepcopy([*map(torch.clone, net.state_dict().values())])
    network = trace(net, shape)
    assert network.macs == macs
    assert [(layer.kind, layer.inputs) for layer in network.layers] == kinds
    assert network.parameters == sum(p.numel() for p in net.parameters())
    assert network.notes == ()
    assert not any(module._forward_hooks for module in net.modules())
    assert all(map(torch.equal, before, net.state_dict().values()))


def test_an_operation_without_loops_is_named_and_counted_by_its_values():
    net = nn.Sequential(nn.Linear(6, 8), Own(lambda net, x: torch.fft.rfft(x)), nn.Flatten())
    net.append(Own(lambda net, x: x.abs(), nn.Identity())).append(nn.Linear(5, 2))
    network = trace(net, (6,))
    assert [(layer.kind, layer.inputs) for layer in network.layers] == [
        ("dense", (-1,)),
        ("elementwise", (0,)),
        ("dense", (1,)),
    ]
    (note,) = network.notes
    assert note == "1 (Own): fft_r2c has no loops of its own here: counted as one operation a value"
    chip = load_chip("stm32h743")
    cost = estimate(network, chip, Workload(), fixed(8), 1)
    row = cost.rows[1]
    assert row.processing_s == pytest.approx(8 * chip.microcontroller.element / chip.clock_hz)


class Numpy(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return torch.from_numpy(x.numpy() * self.scale.detach().numpy())


def test_a_module_that_computes_where_torch_does_not_see_it_is_named():
    network = trace(nn.Sequential(nn.Linear(3, 3), Numpy(), nn.Linear(3, 2)), (3,))
    assert [(x.kind, x.inputs, x.bias) for x in network.layers] == [
        ("dense", (-1,), 3),
        ("elementwise", (0,), 3),
        ("dense", (1,), 2),
    ]
    assert "1 (Numpy): it computes where torch does not see it" in network.notes[0]


def test_a_pass_that_fails_is_one_line():
    with pytest.raises(ModelError, match="on one record of 4 fails: RuntimeError: mat1 and mat2"):
        trace(nn.Linear(3, 2), (4,))


def test_a_layer_used_twice_is_stored_and_updated_once_and_its_gradients_add():
    net = Own(lambda net, x: net.parts[0](F.relu(net.parts[0](x))), nn.Linear(3, 3))
    network = trace(net, (3,))
    assert (network.parameters, network.stored, network.macs) == (12, 12, 18)
    found = tasks(network, Workload("dp-sgd", "onepass"), 4)
    count = {phase: sum(t.phase == phase for t in found) for phase in ("noise", "update")}
    assert count == {"noise": 1, "update": 1}
    gradients = [t for t in found if t.phase == "weight gradient"]
    assert [t.nest.macs * t.repeat for t in gradients] == [4 * 9, 4 * 9]
    assert [t.repeat for t in gradients] == [4, 1]  # what adds to another's is made for each record
    assert len([t for t in found if t.phase == "input gradient"]) == 1


def test_what_is_frozen_gets_no_gradient():
    """Of a trunk nothing is kept; of a bias alone, no weight gradient is multiplied."""
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith("4"))
    network = trace(net, (8,))
    assert (network.parameters, network.stored) == (18, 18 + 2 * 72)
    assert network.activations == 8
    found = tasks(network, Workload("sgd"), 3)
    assert [t.layer for t in found if t.phase != "forward"] == ["dense 4"] * 2
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    network = trace(net, (8,))
    assert (network.parameters, network.stored) == (18, 18 + 2 * 64 + 16)
    found = tasks(network, Workload("sgd"), 3)
    assert [t.nest for t in found if t.phase == "weight gradient"] == [None] * 3
    assert [t.layer for t in found if t.phase == "input gradient"] == ["dense 4", "dense 2"]
    assert gradient_words(network, Workload("sgd"), 3) == 18


def test_weights_without_a_part_are_told_and_still_noised():
    net = nn.Sequential(nn.Linear(3, 2))
    net.register_parameter("spare", nn.Parameter(torch.zeros(7)))
    network = trace(net, (3,))
    assert network.parameters == 8 + 7
    assert network.notes == ("7 trained words have no part in the output of a pass",)
    found = tasks(network, Workload("dp-sgd", "onepass"), 4)
    assert sum(task.gaussians for task in found) == 15


def test_a_norm_waits_for_its_input_and_an_activation_does_not():
    chip = load_chip("edgetpu")
    for norm, rows in ((nn.GroupNorm(2, 4), 2), (nn.ReLU(), 1), (nn.Softmax(1), 2)):
        network = trace(nn.Sequential(nn.Conv2d(1, 4, 3), norm), (1, 6, 6))
        assert len(estimate(network, chip, Workload(), fixed(8), 1).rows) == rows
