"""Job: the sections that a device may see."""

from functools import lru_cache
from typing import Literal

from pydantic import Field

from clients.data import Data
from clients.models import Model
from privacy.budget import Budget
from privacy.errors import SettingsError
from privacy.settings import Section


class Training(Section):
    """[training]: the local loop of one round on one device.

    Attributes:
        sample_rate: probability q with which each record is in a batch; under `unit = "record"`
            by Poisson sampling, else batches of round(q n) records in shuffled order.
        local_steps: optimizer steps a client makes in a round.
        learning_rate: at the start; `schedule` takes it down over the rounds.
        momentum: of SGD, from zero in each round.
        per_sample: how gradients are clipped: `onepass` (privacy.bookkeeping) or Opacus's `hooks`.
    """

    sample_rate: float = Field(default=0.1, gt=0, le=1)
    local_steps: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    per_sample: Literal["onepass", "hooks"] = "onepass"


class Job(Section):
    """What the server tells a device to do. Nothing of the server's own is in it."""

    seed: int = Field(default=0, ge=0)
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    budget: Budget

    @classmethod
    @lru_cache(maxsize=16)
    def from_json(cls, text: str) -> "Job":
        """Parse what came over the wire, checked as a file would be.

        Raises:
            SettingsError: it is not a job.
        """
        try:
            return cls.model_validate_json(text)
        except ValueError as error:
            raise SettingsError(f"job from the server: {error}") from None
