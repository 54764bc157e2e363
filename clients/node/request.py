"""What a server asks of a device, held against public ranges and what the device's owner told,
before a record is read and anything is charged."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Annotated, Any

import torch
from flwr.app import ArrayRecord
from pydantic import Field
from torch import Tensor

from clients.models.sources import is_own
from clients.protocol import Form
from clients.training.arrays import MOST_WEIGHT, decode, is_within
from clients.training.job import Job
from clients.training.net import Net, build, require_few, without_memory
from clients.training.records import Records
from clients.training.train import Round, train
from privacy.dp.ledger import Ledger
from privacy.errors import ModelError, SettingsError
from privacy.settings import Range, Section, parse

State = dict[str, Tensor]


class Request(Section):
    """The numbers of one training message beside its job.

    Attributes:
        number: of the round.
        learning_rate: of this round, by the job's schedule.
        proximal: FedProx's mu.
        plan: as `Round.plan`.
        run: what the server calls the run; another name is another run, on the same limit.
    """

    number: Annotated[int, Range(1, 1_000_000)] = Field(alias="server-round")
    learning_rate: Annotated[float, Range(1e-30, 1e6)] = Field(alias="learning-rate")
    proximal: Annotated[float, Range(1e-9, 1e6, or_zero=True)] = Field(0.0, alias="proximal-mu")
    run: str = Field("", max_length=256)
    plan: str = Field("", max_length=64)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Request":
        """Read a message's config; what else Flower's strategies put there is not for us.

        Raises:
            SettingsError: a number is missing or out of its range.
        """
        known = _known()
        told = [(key, type(value), value) for key, value in config.items() if key in known]
        return _read(tuple(told))

    def round(self, client: int) -> Round:
        """The round that this client is to train."""
        return Round(self.number, client, self.learning_rate, self.proximal, self.plan)


@cache
def _known() -> frozenset[str]:
    return frozenset(field.alias or name for name, field in Request.model_fields.items())


@lru_cache(maxsize=16)
def _read(told: tuple[tuple[str, type, Any], ...]) -> Request:
    """Once for all clients of a simulated cohort: they are told the same."""
    return parse(Request, {key: value for key, _, value in told}, "message from the server")


def read_weights(arrays: ArrayRecord, like: Mapping[str, Tensor]) -> State:
    """The weights that a message brings, as numbers that a device computes with.

    Args:
        like: names, shapes and types as they must be; may be without memory (torch's `meta`).

    Raises:
        SettingsError: other names, shapes or types, or a weight that is not finite or too large.
    """
    if set(arrays) != set(like):
        raise SettingsError("message from the server: other arrays than the model's")
    state = {}
    for name, wanted in like.items():
        dtype = str(wanted.dtype).removeprefix("torch.")
        try:
            value = decode(name, arrays[name], tuple(wanted.shape), dtype)
        except (ValueError, EOFError) as error:
            raise SettingsError(f"message from the server: {error}") from None
        if not is_within(value):
            raise SettingsError(
                f"message from the server: {name}: a weight must be from {-MOST_WEIGHT:g} to "
                f"{MOST_WEIGHT:g}"
            )
        state[name] = torch.from_numpy(value)
    return state


def require_fit(job: Job, form: Form, arrays: ArrayRecord) -> None:
    """Refuse a model that cannot be, or other weights, before memory is given to a model.

    Args:
        form: of the records.

    Raises:
        ModelError: there is no such model, or it is too large.
        SettingsError: the weights are not that model's.
    """
    try:
        with without_memory():
            like = build(job.model, form, job.arithmetic, job.pruning).state_dict()
    except ModelError:
        if not is_own(job.model.name):
            raise
        # The owner's own code may look at a tensor's values, which `meta` has not.
        like = build(job.model, form, job.arithmetic, job.pruning).state_dict()
    require_few(like)
    read_weights(arrays, like)


def rehearse(net: Net, job: Job, round_: Round, inputs: Records, outputs: int) -> None:
    """Take one step on two records of zeros, so that a job which must fail fails for free.

    Args:
        net: loses its weights.
        inputs: records of which shapes and types are taken, and nothing else.
        outputs: of the model: as many classes as there are, where those are learnt.

    Raises:
        ModelError: the model cannot be trained so.
    """
    x = torch.zeros((2, *inputs.x.shape[1:]), dtype=inputs.x.dtype)
    y = (
        torch.tensor([0, outputs - 1])
        if inputs.y.dim() == 1
        else inputs.y.new_zeros((2, *inputs.y.shape[1:]))
    )
    blank = Records(x, y, inputs.encoding)
    training = job.training.model_copy(update={"local_steps": 1, "sample_rate": 1.0})
    budget = job.budget.model_copy(update={"epsilon": None})
    one_step = job.model_copy(update={"training": training, "budget": budget})
    train(net, blank, torch.arange(2), one_step, round_, Ledger())
