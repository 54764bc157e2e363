"""Wide inputs on their principal axes, so that shadows of a model on fixed features are quick.

SGD knows no directions: turn the inputs and the first layer alike, and it takes the same path; and
DP-SGD's noise is as likely in any direction. So shadows may be trained on inputs that are turned to
their principal axes, of which the last hold next to nothing: on the first 512 of the 3,969 numbers
of an MNIST image's scattering transform there is 99 % of its squared length.

Shapes: N records, I inputs, A axes.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor, nn

from attacks.membership.signals import BLOCK
from attacks.tape import Sample, Tape

WIDE = 1024  # inputs from which turning pays
AXES = 512
READS = 15  # of a record, over a training, from which turning pays
SOUGHT_IN = 4096  # records
ITERATIONS = 2


def on_axes(tape: Tape) -> Tape:
    """The tape to train dense shadows from: turned, if that is less work than it saves."""
    recipe = tape.recipe
    reads = recipe.rounds * recipe.local_steps * recipe.sample_rate  # of each record
    small = _first(tape.build(0)).in_features < WIDE or reads < READS
    if small or tape.pool.task == "itself":  # whose targets are the inputs as they were
        return tape
    pool, axes = turn(tape.pool)

    def build(seed: int) -> nn.Module:
        model = tape.build(seed)
        first = _first(model)
        first.weight = nn.Parameter(first.weight.detach() @ axes)
        first.in_features = axes.shape[1]
        return model

    return replace(tape, pool=pool, build=build)


def _first(model: nn.Module) -> nn.Linear:
    return next(m for m in model.modules() if isinstance(m, nn.Linear))


def principal_axes(x_NI: Tensor, num: int = AXES) -> Tensor:
    """An orthonormal basis [I, A] of about the space in which the rows have most of their length.

    Subspace iteration from a random start (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    """
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(x_NI.shape[1], num, generator=generator)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(x_NI.t() @ (x_NI @ basis)).Q
    return basis


def turn(sample: Sample) -> tuple[Sample, Tensor]:
    """The same records on their principal axes, held in memory, and the axes [I, A]."""
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(len(sample), generator=generator)[:SOUGHT_IN].sort().values
    axes = principal_axes(sample.inputs(some).flatten(1))
    turned = torch.empty(len(sample), axes.shape[1])

    def block(indices: Tensor) -> None:
        torch.mm(sample.inputs(indices).flatten(1), axes, out=turned[indices[0] : indices[-1] + 1])

    _on_every_core(block, torch.arange(len(sample)).split(BLOCK))
    return replace(sample, inputs=lambda i: turned[i]), axes


def _on_every_core(work: Callable[[Tensor], None], pieces: tuple[Tensor, ...]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(threads)
