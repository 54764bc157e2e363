"""A lesson's file: which records, which steps, which budget."""

from typing import Annotated, Literal

from pydantic import model_validator

from clients.data.settings import Data
from clients.models.settings import Model
from privacy.dp.budget import Budget
from privacy.encrypted.learning.residual import Residual
from privacy.settings import Range, Section

# of [data]: how records are spread over clients, where there is one owner of all
SPREAD = {"limit", "partition", "alpha", "shards", "held_out", "classes", "shape"}


class Learning(Section):
    """How a linear model is trained on encrypted records.

    Attributes:
        loss: `logistic` or `squared`, which take more than two classes one by one, each against the
            rest; or `softmax` of three or more. Probabilities are cubics
            (`privacy.encrypted.learning.residual`).
        steps: of Nesterov's, each on all records.
        rate: over the mean gradient.
        reach: margins up to which the cubic is close; not for `squared`.
        bound: norm in which the weights of each output are kept, or all those of a softmax. It
            bounds every margin, and so what one record can add to a step.
        letters: weights and gradients `packed` into few ciphertexts, or `each` in one of its own;
            `auto` is whichever takes less time over the link.
        owners: of records, who share one key (`clients.learning.shares`).
        owner_records: that one of several has at most; public, and the sums' divisor.
        link_mbit: megabits a second between owner and server, for `auto`.
    """

    loss: Literal["logistic", "squared", "softmax"] = "logistic"
    steps: Annotated[int, Range(1, 10_000)] = 30
    rate: Annotated[float, Range(1e-6, 1e6)] = 20.0
    reach: Annotated[float, Range(0.5, 100.0)] = 12.0
    bound: Annotated[float, Range(0.01, 200.0)] = 24.0
    letters: Literal["auto", "packed", "each"] = "auto"
    owners: Annotated[int, Range(1, 64)] = 1
    owner_records: Annotated[int, Range(1, 1 << 18, or_zero=True)] = 0
    link_mbit: Annotated[float, Range(1e-3, 1e6)] = 100.0

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> "Learning":
        for name, idle, reason in (
            ("reach", self.loss == "squared", "loss = 'squared' has no cubic"),
            ("link_mbit", self.letters != "auto", f"letters = {self.letters!r} asks for no choice"),
        ):
            if idle and getattr(self, name) != Learning.model_fields[name].default:
                raise ValueError(f"{name}: {reason}; leave it out")
        return self

    @model_validator(mode="after")
    def _owners_say_how_many(self) -> "Learning":
        if (self.owners > 1) != bool(self.owner_records):
            raise ValueError("owners > 1 and owner_records, the most that one has, go together")
        return self

    def residual(self, outputs: int) -> Residual:
        """What stands in the place of the loss's derivative, of one output or of each class."""
        if self.loss == "squared":
            return Residual.linear(self.bound, outputs)
        form = Residual.softmax if self.loss == "softmax" else Residual.logistic
        return form(self.reach, self.bound, outputs)


class Lesson(Section):
    """All settings of a training on encrypted records."""

    data: Data = Data()
    model: Model = Model(name="linear")
    learning: Learning = Learning()
    budget: Budget = Budget(unit="none")

    @model_validator(mode="after")
    def _is_linear(self) -> "Lesson":
        if self.model.name not in ("linear", "scatter"):
            raise ValueError(
                f"[model] name = {self.model.name!r}: a step under CKKS has four levels, and its "
                "layers take more; 'linear' (with any front, which the owner computes) fits"
            )
        if self.data.task != "classes":
            raise ValueError(
                f"[data] task = {self.data.task!r}: classes alone are learnt encrypted"
            )
        if self.budget.unit == "client":
            raise ValueError("[budget] unit = 'client': an owner protects each record, or none")
        if self.learning.owners > 1 and self.budget.unit == "record" and not self.budget.epsilon:
            raise ValueError(
                "[budget] epsilon: give it, where there are several owners: each charges its "
                "ledger once for all steps, of which none may be drawn again"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> "Lesson":
        for name, section, read in (
            ("data", self.data, set(Data.model_fields) - SPREAD),
            ("model", self.model, {"name", "front", "weights", "weights_sha256", "size"}),
            ("budget", self.budget, set(Budget.model_fields) - {"clip"}),
        ):
            if idle := section.model_fields_set - read:
                raise ValueError(
                    f"[{name}] {min(idle)}: would change nothing of a linear model that is trained "
                    "on all records, each of norm 1; leave it out"
                )
        return self

    def resolve(self) -> "Lesson":
        """The same lesson with its noise solved.

        Raises:
            SettingsError: no noise is enough.
        """
        return self.model_copy(update={"budget": self.budget.solve(1.0, self.learning.steps)})
