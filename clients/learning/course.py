"""A training on encrypted records, from records to a model: the owner's side, in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch
from safetensors.numpy import save

from clients.learning.descent import Descent, State
from clients.learning.desk import Desk
from clients.learning.link import Link
from clients.learning.settings import Lesson
from clients.training.records import Records, records
from privacy.cipher import Key
from privacy.dp.journal import Journal, Limit
from privacy.encrypted.learning.course import MOST_SUM, SLOTS, Course
from privacy.encrypted.learning.residual import Array, prepare
from privacy.errors import DataError, ModelError, ServiceError

PACKED_S = 2.0  # what spreading and gathering 256 numbers takes a core, at most
TRIES = 4
LETTER_BYTES = 300_000  # a ciphertext of weights, and one of a gradient

Observe = Callable[[int, float], None]  # steps that are done, seconds that the last took


@dataclass(frozen=True)
class Prepared:
    """Records as they are encrypted: inputs [N, D] of norm 1 or less, targets [N, K] of +-1/2."""

    inputs: Array
    targets: Array

    @classmethod
    def of(cls, some: Records, classes: int) -> "Prepared":
        """Two classes are one output; more have one each, against the rest."""
        every = torch.arange(len(some))
        inputs = some.inputs(every).flatten(1).numpy().astype(np.float64)
        labels = some.y.numpy()
        first = 1 if classes == 2 else 0
        chosen = labels[:, None] == np.arange(first, classes)
        return cls(prepare(inputs), chosen - 0.5)


def course_of(lesson: Lesson, prepared: Prepared) -> Course:
    """What the server is told.

    Raises:
        DataError: there are no records.
        ModelError: the model, or the records, do not fit; the error says what does.
    """
    (num, features), outputs = prepared.inputs.shape, prepared.targets.shape[1]
    residual, blocks = lesson.learning.residual, -(-num // SLOTS)
    if not num:
        raise DataError("[data]: no training records")
    if features > 1024 or outputs > 128:
        raise ModelError(
            f"[model]: {features} numbers of a record and {outputs} outputs; a step takes up to "
            "1024 and 128: crop or pool the pictures, or choose a front with fewer features"
        )
    if blocks * residual.sensitivity > MOST_SUM or blocks > 64:
        fit = int(min(64, MOST_SUM / residual.sensitivity)) * SLOTS
        raise ModelError(
            f"[learning]: {num} records, each of which may add {residual.sensitivity:.1f} to a "
            f"gradient, overflow its 44 bits; up to {fit} fit, or more with a smaller bound"
        )
    letters = lesson.learning.letters
    if letters == "auto":
        letters = "packed" if _packing_pays(lesson, features * outputs) else "each"
    return Course(
        blocks=blocks,
        features=features,
        outputs=outputs,
        cubic=residual.cubic > 0,
        offset=residual.offset,
        packed=letters == "packed",
    )


def _packing_pays(lesson: Lesson, numbers: int) -> bool:
    """Does the server spread weights faster than the link brings one to a ciphertext?"""
    letters = -(-numbers // 256)
    link_s = (numbers - letters) * LETTER_BYTES * 8e-6 / lesson.learning.link_mbit
    return link_s > letters * PACKED_S


class Teaching:
    """One lesson, held by its desk.

    Args:
        ledger: of the records; by default the desk's own.
    """

    def __init__(self, lesson: Lesson, desk: Desk, http: httpx.Client, ledger: Journal) -> None:
        self.lesson, self._desk, self._ledger = lesson.resolve(), desk, ledger
        train, test = records(lesson.data, lesson.model)
        classes = max(int(part.y.max()) + 1 for part in (train, test) if len(part))
        self._test, self._classes = test, max(2, classes)
        self._prepared = Prepared.of(train, self._classes)
        self.course = course_of(self.lesson, self._prepared)
        residual = self.lesson.learning.residual
        self.descent = Descent(
            residual=residual,
            rate=self.lesson.learning.rate,
            num_records=lesson.data.nominal_records or len(train),
            budget=self.lesson.budget,
            error=self.course.error(residual.sensitivity),
        )
        self._owner, frame = desk.owner(self.course)
        self._link = Link(http, frame)
        self._name = frame.identity.hex()

    def upload(self, observe: Observe = lambda done, seconds: None) -> None:
        """Encrypt the blocks that the server has not, and send them.

        Raises:
            ServiceError: it cannot be reached, or refuses.
        """
        there = self._link.begin()
        for block in range(self.course.blocks):
            if block not in there:
                begun = time.monotonic()
                inputs, targets = self._prepared.inputs, self._prepared.targets
                self._link.put_block(block, self._owner.encrypt_block(block, inputs, targets))
                observe(block + 1, time.monotonic() - begun)

    def train(self, observe: Observe = lambda done, seconds: None) -> State:
        """Every step that is left.

        Raises:
            ServiceError, WireError: the service failed; what is done is kept, to go on from.
            BudgetExhausted: a step more would spend more than the budget, or the ledger's limit.
        """
        state = self._desk.state(self.course.outputs, self.course.features)
        while state.step < self.lesson.learning.steps:
            begun = time.monotonic()
            state = self._step(state)
            self._desk.keep(state)
            observe(state.step, time.monotonic() - begun)
        return state

    def _step(self, state: State) -> State:
        total = self._owner.decrypt(self._asked(state), self.descent.residual.sensitivity)
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
            limit = Limit(self.lesson.budget.epsilon, self.lesson.budget.delta)
            self._ledger.charge(self._name, f"step {step}", cost, limit, anew=True)
        return Key.secret()

    def finish(self, state: State) -> dict[str, Any]:
        """Keep the model, have the server forget the course; what there is to tell."""
        spent = self._ledger.spent_in(self._name)
        budget = self.lesson.budget
        told: dict[str, Any] = {
            "steps": state.step,
            "records": self.descent.num_records,
            "accuracy": self.accuracy(state.weights) if len(self._test) else None,
            "epsilon": None if budget.unit == "none" else spent.epsilon(budget.delta),
            "delta": None if budget.unit == "none" else budget.delta,
            "noise_multiplier": budget.noise_multiplier,
            "sensitivity": self.descent.sensitivity(self.course.outputs),
            "packed": self.course.packed,
            "bytes_up": self._link.bytes_up,
            "bytes_down": self._link.bytes_down,
        }
        self._desk.finish(save(model_of(state.weights)), told)
        self._link.end()
        return told

    def accuracy(self, weights: Array) -> float:
        """On the test set, in the clear, at the owner's."""
        tested = Prepared.of(self._test, self._classes)
        logits = tested.inputs @ weights.T
        answers = (logits[:, 0] > 0) if logits.shape[1] == 1 else logits.argmax(1)
        return float((answers == self._test.y.numpy()).mean())


def model_of(weights: Array) -> dict[str, np.ndarray]:
    """Weights [K, D] of prepared records as a linear layer on records as they are.

    A record's own mean, taken from it, is taken from the weights as well; its norm, which is
    positive, changes no answer. One output becomes two, of opposite signs.
    """
    centred = weights - weights.mean(axis=1, keepdims=True)
    rows = np.concatenate([-centred, centred]) / 2 if len(centred) == 1 else centred
    return {"weight": rows.astype(np.float32), "bias": np.zeros(len(rows), np.float32)}
