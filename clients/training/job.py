"""Job: the sections that a device may see."""

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import model_validator

from clients.arithmetic import Arithmetic
from clients.data.settings import Data
from clients.models import Model
from clients.training.compression import Compression
from clients.training.pruning import Pruning
from clients.training.smaller.supernet import Supernet
from privacy.dp.budget import Budget
from privacy.settings import Range, Section, parse_json

MOST_SEED = (1 << 63) - 1  # what TOML and a message hold
MOST_WEIGHTS = 1 << 28  # of a model: 1 GiB in float32


class Training(Section):
    """[training]: the local loop of one round on one device.

    Attributes:
        sample_rate: probability q with which each record is in a batch; under `unit = "record"`
            by Poisson sampling, else batches of round(q n) records in shuffled order.
        local_steps: optimizer steps a client makes in a round.
        learning_rate: at the start; `schedule` takes it down over the rounds.
        momentum: of SGD, from zero in each round.
        optimizer: `sgd`, or `adam` with its own memory, from nothing in each round.
        distortion: how much images are turned, stretched, shifted and warped; 0 is not at all.
        gradient_norm: without a budget, a batch's gradient is scaled down to this; 0 leaves it.
        per_sample: how gradients are clipped: `compiled` (`onepass` where a layer has no kernel),
            `onepass` (privacy.dp.bookkeeping) or Opacus's own `hooks`.
        noise: `seeded`, so that a run can be repeated, and as secret as its seed; or `secure`, with
            a key from the operating system, as are then the batches; `auto` is `secure` on devices
            of their own, and `seeded` in a simulation.
        device: where steps are computed (clients.training.gpu): `cpu`; `cuda`, refused where
            there is none; `auto` is `cuda` where there is one and it can do the job. A run keeps
            which it was. For one seed batches and noise are the same on all.
    """

    sample_rate: Annotated[float, Range(1e-9, 1.0)] = 0.1
    local_steps: Annotated[int, Range(1, 1_000_000)] = 10
    learning_rate: Annotated[float, Range(1e-9, 1e6)] = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    momentum: Annotated[float, Range(1e-6, 0.9999, or_zero=True)] = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    distortion: Annotated[float, Range(1e-6, 1.0, or_zero=True)] = 0.0
    gradient_norm: Annotated[float, Range(1e-6, 1e6, or_zero=True)] = 0.0
    noise: Literal["auto", "seeded", "secure"] = "auto"
    per_sample: Literal["compiled", "onepass", "hooks"] = "compiled"
    device: Literal["cpu", "cuda", "auto"] = "cpu"


class Job(Section):
    """What the server tells a device to do. Nothing of the server's own is in it."""

    seed: Annotated[int, Range(0, MOST_SEED)] = 0
    data: Data = Data()
    model: Model = Model()
    arithmetic: Arithmetic = Arithmetic()
    training: Training = Training()
    compression: Compression = Compression()
    pruning: Pruning = Pruning()
    supernet: Supernet = Supernet()
    budget: Budget

    @model_validator(mode="after")
    def _per_sample_is_known(self) -> "Job":
        if self.arithmetic.name != "float" and self.training.per_sample == "hooks":
            raise ValueError(
                f"[training] per_sample = 'hooks': Opacus has no rule for the layers of "
                f"[arithmetic] name = {self.arithmetic.name!r}; use per_sample = 'onepass'"
            )
        return self

    @property
    def bound_to_processor(self) -> str:
        """What of it has code for processors alone; empty if nothing."""
        if self.arithmetic.name != "float":
            return (
                f"[arithmetic] name = {self.arithmetic.name!r} computes by kernels for processors"
            )
        if self.training.per_sample == "hooks":
            return "[training] per_sample = 'hooks' is for processors"
        if self.supernet.trains:
            return "[supernet] cuts its nets on a processor"
        return ""

    @model_validator(mode="after")
    def _gpu_can_do_it(self) -> "Job":
        if self.training.device == "cuda" and (why := self.bound_to_processor):
            raise ValueError(f"[training] device = 'cuda': {why}; use device = 'cpu', or 'auto'")
        return self

    @model_validator(mode="after")
    def _what_is_given_back_is_asked_for(self) -> "Job":
        if self.model.name == "autoencoder" and self.data.task != "itself":
            raise ValueError(
                "[model] name = 'autoencoder': gives back the numbers of a record, and [data] task "
                f"= {self.data.task!r} asks for others; say task = 'itself', or use perceptron"
            )
        return self

    @model_validator(mode="after")
    def _one_label_is_clamped(self) -> "Job":
        if self.arithmetic.name == "invertible" and self.data.task != "classes":
            raise ValueError(
                f"[arithmetic] name = 'invertible': [data] task = {self.data.task!r} has no one "
                "label to clamp; use task = 'classes'"
            )
        return self

    @model_validator(mode="after")
    def _pruned_is_zero(self) -> "Job":
        pruning, adapt = self.pruning, self.model.adapt
        if pruning.activation != "none" and self.arithmetic.name != "float":
            raise ValueError(
                f"[pruning] activation = {pruning.activation!r}: [arithmetic] name = "
                f"{self.arithmetic.name!r} has activations of its own; use name = 'float'"
            )
        if not pruning.final:
            return self
        told = f"[pruning] {pruning.told}"
        if self.arithmetic.name not in ("float", "fixed"):
            raise ValueError(
                f"{told}: [arithmetic] name = {self.arithmetic.name!r} does not keep a zero zero; "
                "use 'float' or 'fixed'"
            )
        if adapt not in ("all", "head") or (adapt == "head" and pruning.structured == "filters"):
            raise ValueError(
                f"{told}: [model] adapt = {adapt!r} trains others than what would be pruned; use "
                "adapt = 'all'"
            )
        return self

    @model_validator(mode="after")
    def _supernet_is_plain(self) -> "Job":
        if not self.supernet.trains:
            return self
        for key, said, plain in (
            ("[arithmetic] name", self.arithmetic.name, "float"),
            ("[model] adapt", self.model.adapt, "all"),
            ("[data] task", self.data.task, "classes"),
        ):
            if said != plain:
                raise ValueError(f"[supernet]: {key} = {said!r}: cannot be cut; use {plain!r}")
        if self.training.per_sample == "hooks":
            raise ValueError("[supernet]: Opacus has no hook for it; use per_sample = 'onepass'")
        if self.pruning.final:
            raise ValueError(
                f"[supernet]: beside [pruning] {self.pruning.told}: cut a smaller net instead"
            )
        return self

    @classmethod
    @lru_cache(maxsize=16)
    def from_json(cls, text: str) -> "Job":
        """Parse what came over the wire, checked as a file would be.

        Raises:
            SettingsError: it is not a job.
        """
        return parse_json(cls, text, "job from the server")
