"""A training on encrypted records, from records to a model: the owner's side, in order."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from clients.learning.descent import Descent, State
from clients.learning.desk import Desk
from clients.learning.link import Link
from clients.learning.settings import Lesson
from clients.learning.shares import (
    Observe,
    Prepared,
    Share,
    accept,
    course_of,
    invite,
    residual_of,
)
from clients.training.records import records
from privacy.cipher import Key
from privacy.dp.journal import Journal, Limit
from privacy.dp.ledger import Ledger, Spent
from privacy.encrypted.learning.residual import Array
from privacy.errors import BudgetExhausted, LedgerError, ServiceError

TRIES = 4

Told = dict[str, Any]
Model = dict[str, NDArray[np.float32]]
Leave = Callable[[Model, Ledger, Told], object]


class Teaching:
    """One lesson, held by its desk.

    Args:
        ledger: of the records; by default the desk's own.
    """

    def __init__(self, lesson: Lesson, desk: Desk, http: httpx.Client, ledger: Journal) -> None:
        self._begun = time.monotonic()
        self.lesson, self._desk, self._ledger = lesson.resolve(), desk, ledger
        prepared, learning = Prepared.of_lesson(lesson), lesson.learning
        self.course = course_of(lesson, prepared)
        residual = residual_of(lesson)
        own = lesson.data.nominal_records or len(prepared.inputs)
        self.descent = Descent(
            residual=residual,
            rate=learning.rate,
            num_records=learning.owners * learning.owner_records or own,
            budget=self.lesson.budget,
            error=self.course.error(residual.most),
        )
        self._owner, self._frame = desk.owner(self.course, prepared.sha256)
        self._name = self._frame.identity.hex()
        self._link = Link(http, self.course.digest, self._frame.identity)
        self.share = Share(prepared, self._owner, self._link, 0, learning.owners)

    def upload(self, observe: Observe = lambda done, seconds: None) -> None:
        """Begin the course, invite other owners, and send the own blocks; raises ServiceError."""
        self._link.begin(self._frame)
        invite(self._desk.folder, self._owner, self._frame, self.share.owners)
        self.share.upload(observe)

    def await_others(self, poll_s: float = 5.0) -> None:
        """Until every owner's blocks are there; raises ServiceError."""
        while len(self._link.blocks()) < self.course.blocks:
            time.sleep(poll_s)

    def train(self, observe: Observe = lambda done, seconds: None) -> State:
        """Every step that is left.

        Raises:
            ServiceError, WireError: the service failed; what is done is kept, to go on from.
            BudgetExhausted: a step more would spend more than the budget, or the ledger's limit.
        """
        state = self._desk.state(self.course.outputs, self.course.features)
        charged = self._steps_charged()
        if self.descent.cost is not None and charged < state.step:
            raise LedgerError(
                f"{self._ledger.path}: has {charged} of {state.step} steps that are done; give the "
                "--ledger that this lesson began with"
            )
        while state.step < self.lesson.learning.steps:
            begun = time.monotonic()
            state = self._step(state)
            self._desk.keep(state)
            observe(state.step, time.monotonic() - begun)
        return state

    def _steps_charged(self) -> int:
        return sum(entry.steps for entry in self._ledger.spent_in(self._name).entries)

    def _step(self, state: State) -> State:
        total = self._owner.decrypt(self._asked(state), self.descent.residual.most)
        return self.descent.after(state, total, self._charged(state.step))

    def _asked(self, state: State) -> tuple[bytes, ...]:
        """The answer to this state's point: to what was sent before, if that was answered.

        Raises:
            ServiceError: every number is used for other weights, as soon as it is known.
        """
        letter = self._desk.letter(self.course)
        for _ in range(TRIES):
            if letter is not None and (answer := self._link.gradient(letter)) is not None:
                return answer
            parts = self._owner.encrypt_weights(state.point * self.descent.residual.unit)
            letter = self._link.frame("weights", parts, self._link.next_number)
            self._desk.keep_letter(letter)
        raise ServiceError(
            "someone else sends weights of this course; nothing is lost: go on later"
        )

    def _charged(self, step: int) -> Key:
        """Write the step into the ledger; the key of its noise, which is drawn after that."""
        if (cost := self.descent.cost) is not None:
            if self.share.owners > 1 and self._steps_charged() >= self.lesson.learning.steps:
                raise BudgetExhausted(
                    "noise of a step was drawn and lost, and other owners' ledgers have no room "
                    "for it to be drawn again: begin anew, with a new --to and new invitations"
                )
            charge(self._ledger, self.lesson, self._name, f"step {step}", cost)
        return Key.secret()

    def finish(self, state: State, leave: Leave = lambda model, spent, told: None) -> Told:
        """Keep the model, have the server forget the course; what there is to tell.

        Args:
            leave: is given it before the lesson counts as done, and so again if it is interrupted.
        """
        spent = self._ledger.spent_in(self._name)
        budget = self.lesson.budget
        told: Told = {
            "steps": state.step,
            "records": self.descent.num_records,
            "accuracy": accuracy(self.lesson, state.weights),
            "epsilon": None if budget.unit == "none" else spent.epsilon(budget.delta),
            "delta": None if budget.unit == "none" else budget.delta,
            "noise_multiplier": budget.noise_multiplier,
            "sensitivity": self.descent.sensitivity,
            "packed": self.course.packed,
            "seconds": time.monotonic() - self._begun,
            "bytes_up": self._link.bytes_up,
            "bytes_down": self._link.bytes_down,
        }
        model = model_of(state.weights)
        leave(model, spent, told)
        self._desk.finish(save(model), told)
        self._link.end()
        return told


def join(lesson: Lesson, invitation: Path, http: httpx.Client, ledger: Journal | None) -> Share:
    """The share of an owner who was invited. All steps of the lesson are charged to its ledger.

    Args:
        ledger: None only where nothing is promised.

    Raises:
        KeysError, ModelError: as `shares.accept`.
        BudgetExhausted: they would spend more than the budget.
    """
    share, name = accept(invitation, lesson, http)
    chosen = lesson.resolve()
    if (sigma := chosen.budget.noise_multiplier) is not None and ledger is not None:
        cost = Spent(sigma, 1.0, lesson.learning.steps)
        charge(ledger, chosen, name.hex(), "all steps", cost, anew=False)
    return share


def charge(
    ledger: Journal, lesson: Lesson, name: str, request: str, cost: Spent, anew: bool = True
) -> None:
    """Into a ledger, within the lesson's budget; `anew` though the same was charged and lost."""
    limit = Limit(lesson.budget.epsilon, lesson.budget.delta)
    ledger.charge(name, request, cost, limit, anew=anew)


def accuracy(lesson: Lesson, weights: Array) -> float | None:
    """On the test set, in the clear, at the owner's; None without one."""
    _, test = records(lesson.data, lesson.model)
    if not len(test):
        return None
    logits = Prepared.of(test, residual_of(lesson)).inputs @ weights.T
    answers = (logits[:, 0] > 0) if logits.shape[1] == 1 else logits.argmax(1)
    return float((answers == test.y.numpy()).mean())


def model_of(weights: Array) -> Model:
    """Weights [K, D] of prepared records as a linear layer on records as they are.

    A record's own mean, taken from it, is taken from the weights as well; its norm, which is
    positive, changes no answer. One output becomes two, of opposite signs.
    """
    centred = weights - weights.mean(axis=1, keepdims=True)
    rows = np.concatenate([-centred, centred]) / 2 if len(centred) == 1 else centred
    return {"weight": rows.astype(np.float32), "bias": np.zeros(len(rows), np.float32)}
