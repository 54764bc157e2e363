"""What a run begins with: records, a model, and every setting resolved.

Here alone it is decided whether an experiment can be run; a plan asks the same.
"""

from typing import NamedTuple

import torch
from torch import nn

from clients.data.dataset import Dataset
from clients.data.partitions import Partition, partition
from clients.data.sets import load
from clients.data.settings import Data
from clients.seeds import derive
from clients.training.net import build
from clients.training.smaller.cutting import pairs_of
from clients.training.smaller.supernet import nets_of
from privacy.dp.ledger import Ledger, Spent
from privacy.dp.training import require_private
from privacy.errors import SettingsError
from server.experiment.experiment import Experiment
from server.experiment.secrecy import require_floats


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
    model: nn.Module


def prepare(experiment: Experiment) -> Prepared:
    """Resolve an experiment, and check that it can be done.

    Raises:
        UserError: the data or the model will not do, or not together.
    """
    dataset = load(experiment.data)
    torch.manual_seed(derive(experiment.seed, "initial-weights"))
    model = build(experiment.model, dataset.form, experiment.arithmetic, experiment.pruning)
    if experiment.supernet.trains:
        last = nets_of(experiment.supernet, experiment.model)[-1]
        smallest = build(last.model, dataset.form, last.arithmetic, experiment.pruning)
        pairs_of(model, smallest)
        _require_all_opened(experiment)
    if experiment.budget.unit == "record":
        require_private(model)
    require_floats(experiment, {k: v.numpy() for k, v in model.state_dict().items()})
    if not (len(dataset.train_y) or experiment.data.nominal_records):
        raise SettingsError(
            "[data] nominal_records: missing: no record to train on is here, so say of how many "
            "each device is told to be: -s data.nominal_records=500"
        )
    given = experiment.budget.noise_multiplier is not None
    experiment = experiment.resolve()
    if given:
        _require_a_round(experiment)
    parts = partition(experiment.data, experiment.federation.clients, experiment.seed)
    _require_held_out(experiment, parts)
    experiment = experiment.for_records(len(dataset.train_y), parts.largest)
    if experiment.data.partition == "nodes":
        experiment = experiment.model_copy(update={"data": _told(experiment.data, dataset)})
    return Prepared(experiment, dataset, parts, model)


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
