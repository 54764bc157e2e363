"""Networks as loop nests: against loops walked one by one, and against torch."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles_chip import walk
from torch import nn

from clients.chip import NETWORKS, Workload, reference
from clients.chip.workloads.trace import trace
from clients.chip.workloads.training import gradient_words, tasks
from clients.chip.workloads.workload import Nest
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError

SMALL = st.integers(1, 3)
PUBLISHED = {  # million MACs, million parameters: mcunet's README; torchvision for the others
    "mcunet-vww0": (6.0, 0.37),
    "mcunet-vww1": (11.6, 0.43),
    "mcunet-vww2": (55.8, 0.64),
    "mcunet-in0": (6.4, 0.75),
    "mcunet-in1": (12.8, 0.64),
    "mcunet-in2": (67.3, 0.73),
    "mcunet-in3": (81.8, 0.74),
    "mcunet-in4": (125.9, 1.73),
    "proxyless-w0.3-r176": (38.3, 0.75),
    "alexnet": (724, 61.0),
    "vgg16": (15470, 138.4),
    "mobilenetv2": (301, 3.5),
    "mobilenet": (569, 4.2),
    "mlperf-ic": (12.5, 0.078),
    "mlperf-vww": (7.5, 0.22),
    "mlperf-kws": (2.66, 0.023),
    "mlperf-ad": (0.264, 0.267),
}


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 2),
    filters=SMALL,
    channels=SMALL,
    rows=st.integers(1, 4),
    columns=SMALL,
    kernel=st.tuples(SMALL, SMALL),
    stride=st.tuples(SMALL, SMALL),
    dilation=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_counts_are_those_of_the_loops(
    batch, groups, filters, channels, rows, columns, kernel, stride, dilation, padding
):
    nest = Nest(batch, filters, channels, rows, columns, *kernel, stride, dilation, groups, padding)
    assume(nest.height > padding[0] and nest.width > padding[1])
    products, inputs, outputs, weights = walk(nest)
    assert (nest.macs, nest.outputs, nest.weights) == (products, outputs, weights)
    m, n, k = nest.gemm
    assert groups * m * n * k == products
    if dilation == (1, 1) and all(k >= s for k, s in zip(kernel, stride, strict=True)):
        assert nest.inputs == inputs
    elif padding == (0, 0) and dilation == (1, 1):
        assert nest.inputs == inputs  # a stride past the kernel leaves gaps that nothing reads


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x + self.deep(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_a_torch_model_becomes_its_loops():
    network = trace(Residual(), (3, 9, 9))
    kinds = [(layer.name, layer.kind, layer.inputs) for layer in network.layers]
    assert kinds[0] == ("conv first", "conv", (-1,))
    assert kinds[1] == ("conv deep", "conv", (0,))
    assert (kinds[2][1], set(kinds[2][2])) == ("add", {0, 1})
    assert [kind for _, kind, _ in kinds[3:]] == ["pool", "dense"]
    first, deep = network.layers[0].nest, network.layers[1].nest
    assert (first.rows, first.columns, first.kernel_rows, first.stride) == (5, 5, 3, (2, 2))
    assert (first.height, first.padding) == (11, (2, 2))
    assert (deep.groups, deep.filters, deep.channels, deep.padding) == (8, 1, 1, (4, 4))
    assert network.parameters == sum(p.numel() for p in Residual().parameters())


@pytest.mark.parametrize("name", ["perceptron", "convnet", "scatter"])
def test_privets_own_models(name):
    """Parameters agree with torch, and products with its own shapes."""
    shape = (81 * 7 * 7,) if name == "scatter" else (28, 28)
    model = build(Model(name=name), Form((28, 28), 10))
    network = trace(model, shape)
    assert network.parameters == sum(p.numel() for p in model.parameters())
    products = []

    def count(layer, inputs, output):
        products.append(output.numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    model(torch.zeros(1, *shape))
    assert network.macs == sum(products)


def test_what_cannot_be_modelled_is_refused():
    with pytest.raises(ModelError, match="on one record of 3 fails: RuntimeError: mat1 and mat2"):
        trace(nn.Linear(4, 1), (3,))
    with pytest.raises(ModelError, match="no convolution"):
        trace(nn.ReLU(), (3,))


@pytest.mark.parametrize("name", PUBLISHED)
def test_reference_networks_have_their_published_size(name):
    macs, parameters = PUBLISHED[name]
    network = reference(name)
    assert network.macs / 1e6 == pytest.approx(macs, rel=0.015)
    assert network.parameters / 1e6 == pytest.approx(parameters, rel=0.06)
    assert set(PUBLISHED) <= set(NETWORKS)


def test_backward_passes_multiply_as_often_as_torch_does():
    """Per record, each gradient of a stride-1 layer has exactly the products of its forward."""
    network = reference("vgg16")
    by_phase = {}
    for task in tasks(network, Workload("sgd"), 2):
        if task.nest:
            by_phase.setdefault(task.phase, {})[task.layer] = task.nest.macs
    assert by_phase["weight gradient"] == by_phase["forward"]
    first = next(iter(by_phase["forward"]))
    assert first not in by_phase["input gradient"]
    for layer, macs in by_phase["input gradient"].items():
        assert macs == by_phase["forward"][layer]


def test_per_sample_gradients_have_a_copy_a_record():
    network = trace(build(Model(name="convnet"), Form((28, 28), 10)), (28, 28))
    assert network.parameters == 26_010
    for batch in (1, 7, 64):
        each = Workload("dp-sgd", clipping="per-sample")
        assert gradient_words(network, each, batch) == batch * 26_010
        assert gradient_words(network, Workload("sgd"), batch) == 26_010
        assert gradient_words(network, Workload("dp-sgd", clipping="ghost"), batch) == 26_010


def test_dp_sgd_that_neither_clips_nor_adds_noise_is_sgd():
    network = reference("mlperf-kws")
    assert tasks(network, Workload("dp-sgd", clip=None, sigma=0.0), 9) == tasks(
        network, Workload("sgd"), 9
    )


def test_a_dp_step_does_what_it_says():
    network = reference("mlperf-kws")
    for clipping in ("per-sample", "ghost", "onepass"):
        found = tasks(network, Workload("dp-sgd", clipping), 8)
        gaussians = sum(task.gaussians for task in found)
        assert gaussians == network.parameters
        passes = [task for task in found if task.phase == "input gradient" and task.nest]
        weighted = sum(layer.nest is not None for layer in network.layers)
        assert len(passes) == (weighted - 1) * (2 if clipping == "ghost" else 1)
