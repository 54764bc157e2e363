"""Spins flipped a second against numpy, and a training step of neurons against snntorch's.

Both beside the same work: numpy flips the same spins of as many chains at once, by whole arrays;
snntorch trains a net of the same weights, step by step, on the same currents. Under DP Opacus's
hooks give the gradient of each record through snntorch's steps.
"""

import copy
import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Any

import measure
import numpy as np
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.pbits.circuits import multiplier
from clients.arithmetic.pbits.sampling import Chains
from clients.models import Model
from clients.protocol import Form
from clients.training.net import Net, build
from clients.training.train import add_gradient
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.passes import in_pieces
from privacy.dp.rules import softmax_cross_entropy
from privacy.dp.training import privatize

CHAINS, BITS, RECORDS, FORM = 1024, 6, 128, Form((28, 28), 10)


def by_numpy(walk: Chains, h: Any, J: Any, I0: float) -> Callable[[], None]:
    """The same sweep, a spin of all chains at a time."""
    rng, m = np.random.default_rng(1), walk.m.astype(np.float32)
    J = J.astype(np.float32)

    def sweep() -> None:
        for i in walk.order:
            field = I0 * (h[i] + J[i] @ m)
            draw = rng.uniform(-1, 1, m.shape[1]).astype(np.float32)
            m[i] = np.where(draw + np.tanh(field) > 0, 1, -1)

    return sweep


def spins() -> dict[str, Any]:
    """Sweeps of a multiplier."""
    h, J = multiplier(BITS).circuit.matrices()
    walk = Chains(h, J, {}, CHAINS, 1)
    chances = walk.chances(0.5)
    times = 10

    def ours() -> None:
        for _ in range(times):
            walk.sweep(chances)

    theirs = by_numpy(walk, h, J, 0.5)

    def theirs_often() -> None:
        for _ in range(times):
            theirs()

    found = measure.compare(ours, theirs_often, repeats=5)
    updates = times * CHAINS * len(walk.order)
    return {"spins": len(h), "updates_per_s": updates / min(found["ours_s"]), **found}


def theirs_of(net: nn.Module, settings: Arithmetic) -> tuple[nn.Module, list[Any]]:
    """A net of snntorch's neurons and torch's layers, on weights of its own; and the neurons."""
    import snntorch
    from snntorch import surrogate

    spike = {"fast-sigmoid": surrogate.fast_sigmoid, "arctan": surrogate.atan}
    layers: list[Any] = []
    for layer in copy.deepcopy(net):
        kind = type(layer).__name__
        if kind == "Neurons":
            slope = spike[settings.surrogate](settings.slope)
            layers.append(
                snntorch.Leaky(settings.decay, settings.threshold, slope, init_hidden=True)
            )
        elif kind == "AtEachStep":
            pool = hasattr(layer.layer, "stride")
            layers.append(nn.MaxPool2d(2, 1) if pool else layer.layer)  # torch's own
        elif kind not in ("Encoder", "OverTime"):
            layers.append(layer)
    return nn.Sequential(*layers), [n for n in layers if isinstance(n, snntorch.Leaky)]


def over_time(net: nn.Module, neurons: list[Any], steps: int, x: torch.Tensor) -> Any:
    """The mean of what a net of snntorch's neurons answers, step by step."""
    for neuron in neurons:
        neuron.reset_mem()
    return sum(net(x) for _ in range(steps)) / steps


def step(model: Model, settings: Arithmetic) -> dict[str, Any]:
    """A step of plain SGD on a batch, as a device takes it."""
    module, x, y = beginning(model, settings)
    theirs, neurons = theirs_of(module, settings)
    net = Net(module, FORM.shape)
    weights = [net.parameters, list(theirs.parameters())]

    def ours() -> None:
        for p in net.parameters:
            p.grad = None
        for piece in in_pieces(torch.arange(RECORDS), net.piece):
            add_gradient(net, x[piece], y[piece], RECORDS, softmax_cross_entropy)
        update([p.grad for p in weights[0]], weights[0])

    def by_snntorch() -> None:
        loss = nn.functional.cross_entropy(over_time(theirs, neurons, settings.time_steps, x), y)
        update(torch.autograd.grad(loss, weights[1]), weights[1])

    def update(gradients: Any, parameters: list[Any]) -> None:
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(g, alpha=0.01)

    return compared(ours, by_snntorch, weights)


def private_step(model: Model, settings: Arithmetic) -> dict[str, Any]:
    """The same, each record's gradient clipped, without noise; theirs under Opacus's hooks."""
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module, x, y = beginning(model, settings)
    theirs, neurons = theirs_of(module, settings)
    net, hooked = Net(module, FORM.shape), GradSampleModule(theirs)
    net.begin_round(1)
    private = privatize(
        module,
        torch.optim.SGD(net.parameters, lr=0.01),
        Ledger(),
        budget=Budget(noise_multiplier=0.0, clip=1.0),
        sample_rate=1.0,
        num_records=RECORDS,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
        piece=net.piece,
    )
    optimizer = DPOptimizer(
        torch.optim.SGD(hooked.parameters(), lr=0.01),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        expected_batch_size=RECORDS,
    )

    def ours() -> None:
        for batch in private.batches(1):
            private.classify(lambda i: (x[i], y[i]), batch)

    def by_hooks() -> None:
        optimizer.zero_grad()
        outputs = over_time(hooked, neurons, settings.time_steps, x)
        nn.functional.cross_entropy(outputs, y).backward()
        optimizer.step()

    return compared(ours, by_hooks, [net.parameters, list(theirs.parameters())])


def beginning(model: Model, settings: Arithmetic) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A net, and a batch."""
    torch.manual_seed(1)
    x = torch.rand(RECORDS, *FORM.shape)
    return build(model, FORM, settings).train(), x, torch.arange(RECORDS) % FORM.outputs


def compared(ours: Any, theirs: Any, weights: list[list[Any]]) -> dict[str, Any]:
    """Times, and how far a step takes the two nets apart."""
    ours()
    theirs()
    apart = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    return {"apart_after_a_step": apart, **measure.compare(ours, theirs, repeats=5)}


def told(model: Model) -> str:
    """In words."""
    return f"perceptron {model.hidden}" if model.name == "perceptron" else model.name


def run() -> dict[str, Any]:
    """As many threads as OMP_NUM_THREADS says; one if it says nothing."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "spins": spins()}
    if importlib.util.find_spec("snntorch") is None:
        return {**found, "snntorch": "not installed"}
    settings, convnet = Arithmetic(name="spiking", time_steps=8), Model(name="convnet")
    for model in (Model(hidden=(512,)), Model(hidden=(256, 256)), convnet):
        found[f"step of {told(model)}"] = step(model, settings)
    for model in (Model(hidden=(128,)), convnet):
        found[f"private step of {told(model)}"] = private_step(model, settings)
    return found


if __name__ == "__main__":
    measure.show(run())
