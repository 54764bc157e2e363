"""Shadow models of a run's training signature: trained once, kept beside the runs.

Runs that differ in seed alone share them: `server.adversary.signature` says what else parts
runs.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import torch
from safetensors.numpy import load_file, save
from torch import Tensor

from attacks.membership.axes import on_axes
from attacks.membership.shadows import Shadows, is_dense, train_shadows
from attacks.settings import Attack
from attacks.tape import Tape
from privacy.errors import Interrupted
from privacy.files import write_atomically
from server.run.directory import Run

GROUP = 4  # dense shadows trained together, kept together
PAIR = 2  # others

Tell = Callable[[str], None]


def shadows_of(run: Run, tape: Tape, settings: Attack, tell: Tell) -> Shadows:
    """The shadows of the run's training signature; those that are there are used again."""
    folder = run.path.parent / ".shadows" / tape.signature
    dense = tape.recipe.plain and is_dense(tape.build(0))
    together = GROUP if dense else PAIR
    groups = [
        (folder / f"{settings.seed}-{first:03d}-{size}.safetensors", first, size)
        for first in range(0, settings.shadows, together)
        for size in [min(together, settings.shadows - first)]
    ]
    missing = [g for g in groups if not g[0].exists()]
    if missing:
        tell(f"shadows: {sum(g[2] for g in missing)} of {settings.shadows} to train ...")
    if missing and dense:  # a thread a group
        _train_dense(tape, settings.seed, missing)
    else:  # each pair's models go to a thread or a process a core
        for group in missing:
            _train_group(tape, settings.seed, *group)
    kept = [load_file(path) for path, _, _ in groups]
    return Shadows.join([Shadows(k["member"], k["phi"]) for k in kept])


Group = tuple[Path, int, int]  # its file, its first model's number, its size


def _train_dense(tape: Tape, seed: int, groups: list[Group]) -> None:
    turned, stop = on_axes(tape), Event()

    def inputs(indices: Tensor) -> Tensor:
        if stop.is_set():  # every step asks: an interrupted thread goes on for one step at most
            raise Interrupted("stopped")
        return turned.pool.inputs(indices)

    tape = replace(turned, pool=replace(turned.pool, inputs=inputs))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        list(pool.map(lambda group: _train_group(tape, seed, *group), groups))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _train_group(tape: Tape, seed: int, path: Path, first: int, size: int) -> None:
    trained = train_shadows(tape, size, seed * 100_003 + first + 1)
    with write_atomically(path) as file:
        file.write(save(trained.arrays()))
