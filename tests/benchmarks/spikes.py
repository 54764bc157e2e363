"""Spins flipped a second against numpy, and a training step of neurons against snntorch's.

Both beside the same work: numpy flips the same spins of as many chains at once, by whole arrays;
snntorch trains a net of the same weights, step by step, on the same currents.
"""

import importlib.util
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
from clients.training.net import build

CHAINS, BITS, RECORDS = 1024, 6, 128


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


def step(model: Model, settings: Arithmetic) -> dict[str, Any]:
    """A step of plain SGD on a batch."""
    import snntorch
    from snntorch import surrogate

    torch.manual_seed(1)
    form, x, y = Form((28, 28), 10), torch.rand(RECORDS, 28, 28), torch.arange(RECORDS) % 10
    nets = [build(model, form, settings).train() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    layers: list[Any] = []
    for layer in nets[1]:
        kind = type(layer).__name__
        if kind == "Neurons":
            spike = surrogate.fast_sigmoid(slope=settings.slope)
            layers.append(
                snntorch.Leaky(settings.decay, settings.threshold, spike, init_hidden=True)
            )
        elif kind == "AtEachStep":
            pool = hasattr(layer.layer, "stride")
            layers.append(nn.MaxPool2d(2, 1) if pool else layer.layer)  # torch's own
        elif kind not in ("Encoder", "OverTime"):
            layers.append(layer)
    theirs = nn.Sequential(*layers)
    weights = [list(net.parameters()) for net in nets]

    def ours() -> None:
        update(nn.functional.cross_entropy(nets[0](x), y), weights[0])

    def by_snntorch() -> None:
        for layer in layers:
            if isinstance(layer, snntorch.Leaky):
                layer.reset_mem()
        outputs = sum(theirs(x) for _ in range(settings.time_steps)) / settings.time_steps
        update(nn.functional.cross_entropy(outputs, y), weights[1])

    def update(loss: torch.Tensor, parameters: list[Any]) -> None:
        with torch.no_grad():
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.sub_(g, alpha=0.01)

    ours()
    by_snntorch()
    apart = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    return {"apart_after_a_step": apart, **measure.compare(ours, by_snntorch, repeats=5)}


def run() -> dict[str, Any]:
    """On one core."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"spins": spins()}
    if importlib.util.find_spec("snntorch") is None:
        return {**found, "snntorch": "not installed"}
    for model in (Model(hidden=(512,)), Model(hidden=(256, 256)), Model(name="convnet")):
        settings = Arithmetic(name="spiking", time_steps=8)
        name = f"{model.name} {model.hidden}" if model.name == "perceptron" else model.name
        found[f"step of {name}, 8 time steps"] = step(model, settings)
    return found


if __name__ == "__main__":
    measure.show(run())
