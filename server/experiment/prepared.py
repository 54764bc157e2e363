"""What a run begins with: records, a model, and every setting resolved.

Here alone it is decided whether an experiment can be run; a plan asks the same.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from clients.data.dataset import Dataset
from clients.data.partitions import Partition, partition
from clients.data.sets import load
from clients.data.settings import Data
from clients.seeds import derive
from clients.training.outline import Outline, first_net, outline, outline_of
from privacy.dp.accounting.memo import recalled
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError
from server.experiment.experiment import Experiment
from server.experiment.secrecy import require_floats

if TYPE_CHECKING:
    from torch import nn


# All that noise is solved by.
SOLVED_BY: Any = {
    "budget": True,
    "training": {"sample_rate", "local_steps"},
    "federation": {"clients", "cohort", "rounds", "bands", "secure_aggregation"},
}


class Prepared(NamedTuple):
    """An experiment that can be run.

    Attributes:
        experiment: resolved, with all that its records decide.
        parts: who holds which records.
        model: with its initial weights.
    """

    experiment: Experiment
    dataset: Dataset
    parts: Partition
    model: "nn.Module"


class Outlined(NamedTuple):
    """The same, to be shown: with what is known of a model, and no model."""

    experiment: Experiment
    dataset: Dataset
    parts: Partition
    outline: Outline


def prepare(experiment: Experiment) -> Prepared:
    """Resolve an experiment, and check that it can be done.

    Raises:
        UserError: the data or the model will not do, or not together.
    """
    import torch

    dataset = load(experiment.data)
    torch.manual_seed(derive(experiment.seed, "initial-weights"))
    model = first_net(experiment, dataset.form)
    _require_it_will_do(experiment, dataset, outline_of(model, experiment, dataset.form))
    settled, parts = _settled(experiment, experiment.resolve(), dataset)
    return Prepared(settled, dataset, parts, model)


def sketch(experiment: Experiment) -> Outlined:
    """The same of an experiment that is to be shown: noise and net may be known from before.

    Raises:
        UserError: as `prepare`.
    """
    dataset = load(experiment.data)
    told = outline(experiment, dataset.form)
    _require_it_will_do(experiment, dataset, told)
    settled, parts = _settled(experiment, _resolved_from_before(experiment), dataset)
    return Outlined(settled, dataset, parts, told)


def _require_it_will_do(experiment: Experiment, dataset: Dataset, told: Outline) -> None:
    """Refuse what the model, or the lack of records, forbids.

    Raises:
        UserError: in a line.
    """
    if experiment.supernet.trains:
        _require_all_opened(experiment)
    require_floats(experiment, told.counters)
    if experiment.training.distortion and not _is_picture(dataset):
        raise SettingsError(
            f"[training] distortion: turns and shifts pictures, and these records are a "
            f"{dataset.kind} of {list(dataset.shape)}; use distortion = 0"
        )
    if not (len(dataset.train_y) or experiment.data.nominal_records):
        raise SettingsError(
            "[data] nominal_records: missing: no record to train on is here, so say of how many "
            "each device is told to be: -s data.nominal_records=500"
        )


def _is_picture(dataset: Dataset) -> bool:
    return dataset.kind == "picture" and len(dataset.shape) in (2, 3)


def _resolved_from_before(experiment: Experiment) -> Experiment:
    """Resolved, with noise that was solved before on this machine."""
    budget = experiment.budget
    if budget.unit == "none" or budget.noise_multiplier is not None or budget.epsilon is None:
        return experiment.resolve()
    question = f"noise {experiment.model_dump_json(include=SOLVED_BY)}"

    def ask() -> float:
        return experiment.resolve().budget.noise_multiplier or 0.0

    known = budget.model_copy(update={"noise_multiplier": recalled(question, ask)})
    return experiment.model_copy(update={"budget": known}).resolve()


def _settled(
    asked: Experiment, experiment: Experiment, dataset: Dataset
) -> tuple[Experiment, Partition]:
    """With all that its records decide, and who holds them.

    Args:
        experiment: resolved, of what was asked.
    """
    if asked.budget.noise_multiplier is not None:
        _require_a_round(experiment)
    parts = partition(experiment.data, experiment.federation.clients, experiment.seed)
    _require_held_out(experiment, parts)
    experiment = experiment.for_records(len(dataset.train_y), parts.largest)
    if experiment.data.partition == "nodes":
        experiment = experiment.model_copy(update={"data": _told(experiment.data, dataset)})
    return experiment, parts


def _require_all_opened(experiment: Experiment) -> None:
    """Under progressive shrinking no choice may wait until after the last round.

    Raises:
        SettingsError: one does.
    """
    each, kinds = experiment.supernet.progressive, experiment.supernet.kinds
    if each * len(kinds) >= (rounds := experiment.federation.rounds):
        raise SettingsError(
            f"[supernet] progressive = {each}: {kinds[-1]} would be trained from round "
            f"{each * len(kinds) + 1} on, and there are {rounds}; use less than "
            f"{-(-rounds // len(kinds))}, or more rounds"
        )


def _require_a_round(experiment: Experiment) -> None:
    """Noise and an epsilon may both be given, and the epsilon is kept: has a round place in it?

    Raises:
        SettingsError: not one.
    """
    budget = experiment.budget
    if budget.unit == "none" or budget.epsilon is None or budget.noise_multiplier is None:
        return
    steps = experiment.steps_per_round
    first = Ledger([Spent(budget.noise_multiplier, experiment.sample_rate, steps)])
    if (epsilon := experiment.epsilon_of(first)) > budget.epsilon:
        raise SettingsError(
            f"[budget] noise_multiplier = {budget.noise_multiplier:g}: a round would spend an "
            f"epsilon of {epsilon:.4g}, over epsilon = {budget.epsilon:g}; leave one of both out"
        )


def _require_held_out(experiment: Experiment, parts: Partition) -> None:
    """Each client is to tell figures of records that it never trains on: has any of them one?

    Raises:
        SettingsError: none has, of those that are simulated.
    """
    if not experiment.federation.client_evaluation or experiment.data.partition == "nodes":
        return
    if not parts.held_out.any():
        raise SettingsError(
            f"[federation] client_evaluation = true: no client keeps a record aside at [data] "
            f"held_out = {experiment.data.held_out:g}; give a larger held_out, or set false"
        )


def _told(data: Data, dataset: Dataset) -> Data:
    """[data] with what devices are to know of the form of records.

    Raises:
        SettingsError: it says another already.
    """
    if data.name != "file":
        return data.model_copy(update={"classes": dataset.num_classes})
    if data.shape not in ((), dataset.shape):
        raise SettingsError(
            f"[data] shape = {list(data.shape)}: records here are {list(dataset.shape)}; leave "
            "it out"
        )
    return data.model_copy(update={"shape": dataset.shape})
