"""What a run costs; on a microcontroller with its own C, wherever a run's net has one.

The constants of a chip's file are those of a library's kernels. A run that can be exported runs
ours, and of these the trips of each loop are known, and what a trip takes.
"""

from dataclasses import replace

from clients.boards.jobs import require_c
from clients.boards.nets import net_of, words_of
from clients.chip import Chip
from clients.chip.workloads.workload import Network
from clients.data.sets import load
from clients.firmware.budget import Part
from clients.firmware.cycles.predicted import errors, predict
from clients.firmware.cycles.trips import FORWARD, Kernels
from clients.training.net import build
from privacy.errors import ModelError, PrivetError
from server.cost.counted import compared, replaced, seconds_of
from server.cost.reports import Report, modelled_experiment, modelled_run
from server.cost.subjects import subject_of
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt
from server.run.directory import Run
from server.run.origin import trained_as


def cost_of_run(run: Run, chip: Chip) -> Report:
    """What one round of a run costs the client with the most records.

    Under `unit = "record"` a step's batch is a Poisson sample, and clipping and noise are the
    device's; under the other units it is a shuffled batch of ordinary SGD.

    Raises:
        RunError: its data are not those it began with: shapes and records follow from them.
    """
    report = modelled_run(run, chip)
    if trained_as(run.path, run.experiment) is not run.experiment:
        return report
    return in_its_own_c(report, run.experiment, chip)


def cost_of_experiment(experiment: Experiment, chip: Chip) -> Report:
    """What `cost_of_run` will say of a resolved experiment's run, before there is one.

    But for zeros among activations, which nobody knows before: a chip that skips them, or saves
    their energy, will need less.
    """
    return in_its_own_c(modelled_experiment(experiment, chip), experiment, chip)


def in_its_own_c(report: Report, experiment: Experiment, chip: Chip) -> Report:
    """The report with cycles of the experiment's own C, if it has one on the chip's core."""
    if chip.microcontroller is None or not chip.microcontroller.core or not report.step.batch:
        return report
    if report.transform is not None:  # its front's loops are not told
        return report
    network = subject_of(experiment).network
    try:
        parts = _parts(experiment, network, chip.microcontroller.core, report.step.batch)
    except PrivetError:  # has no C
        return report
    held = compared(report.step, seconds_of(network, chip, parts, report.step.batch))
    factors = {
        (one.layer, one.part): sum(one.counted_s) / 2 / one.modelled_s
        for one in held
        if one.modelled_s
    }
    found = replaced(report, network, chip, held, factors)
    typical, worst = errors(chip.microcontroller.core)
    told = (
        "cycles are those of its own C (privet export --to c), predicted loop by loop: on nets at "
        f"random {typical:.0%} off a layer, {worst:.0%} at worst; --counted counts this one's"
    )
    return replace(found, notes=(*found.notes, told))


def _parts(experiment: Experiment, network: Network, core: str, records: int) -> tuple[Part, ...]:
    if isinstance(experiment, Learnt) or experiment.pruning.final or experiment.supernet.trains:
        raise ModelError("trained otherwise than its C does")
    form, arithmetic = load(experiment.data).form, experiment.arithmetic
    require_c(experiment, experiment.title)
    numbers = words_of(arithmetic)
    plan, layers = net_of(build(experiment.model, form, arithmetic), arithmetic, form.shape)
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    kernels = Kernels(sizes, plan, numbers)
    if any(layer.kind not in FORWARD for layer in plan or ()):
        raise ModelError("a layer whose loops are not told")
    if len(network.layers) != kernels.num_layers:
        raise ModelError("the chip model has other layers")
    return predict(kernels, core, records, round(records / experiment.training.sample_rate))
