"""Records on their way to the server: prepared, encrypted block by block; of one owner or several.

Several owners share one key, as the members of `privacy.sums.encrypted_sum` do: one of them makes
it and hands it to the others in invitations, files that are secret. So any owner, together with the
server, can read every record; and the one who made the key, who decrypts each step and adds the
noise, is trusted by all. The server alone reads nothing, and who has the model learns of a record
what the budget allows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch

from clients.data.sets import load
from clients.draws import digest
from clients.learning.desk import INVITATION
from clients.learning.link import Link
from clients.learning.settings import Lesson
from clients.training.records import Records, records
from privacy.encrypted.keys import load_secret, save_secret
from privacy.encrypted.learning.course import (
    MOST_BLOCKS,
    MOST_FEATURES,
    MOST_LETTERS,
    MOST_OUTPUTS,
    MOST_SUM,
    SLOTS,
    Course,
)
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.learning.residual import Array, Residual, prepare
from privacy.encrypted.wire import Frame, read_frame
from privacy.errors import DataError, KeysError, ModelError, WireError

PACKED_S = 2.0  # what spreading and gathering 256 numbers takes a core, at most
LETTER_BYTES = 300_000  # a ciphertext of weights, and one of a gradient

Observe = Callable[[int, float], None]  # steps that are done, seconds that the last took


@dataclass(frozen=True)
class Prepared:
    """Records as they are encrypted: inputs [N, D] of norm 1 or less, targets [N, K]."""

    inputs: Array
    targets: Array

    @classmethod
    def of_lesson(cls, lesson: Lesson) -> "Prepared":
        """The records to be trained on.

        Raises:
            DataError: there are none.
        """
        train, _ = records(lesson.data, lesson.model)
        if not len(train):
            raise DataError("[data]: no training records")
        return cls.of(train, residual_of(lesson))

    @property
    def sha256(self) -> str:
        """Of both."""
        return digest([torch.from_numpy(part) for part in (self.inputs, self.targets)]).hex()

    @classmethod
    def of(cls, some: Records, residual: Residual) -> "Prepared":
        """Some records, as a lesson's residual takes them."""
        every = torch.arange(len(some))
        inputs = some.inputs(every).flatten(1).numpy().astype(np.float64)
        return cls(prepare(inputs), residual.targets(some.y.numpy()))


def residual_of(lesson: Lesson) -> Residual:
    """Of the data set's classes, whether there are records of each or not: two are one output.

    Raises:
        ModelError: two classes have no softmax of their own.
    """
    classes = max(2, load(lesson.data).num_classes)
    if lesson.learning.loss == "softmax" and classes == 2:
        raise ModelError(
            "[learning] loss = 'softmax': of two classes it is 'logistic', of one output; say so"
        )
    return lesson.learning.residual(1 if classes == 2 else classes)


def course_of(lesson: Lesson, prepared: Prepared) -> Course:
    """What the server is told.

    Raises:
        DataError: an owner of several has more records than the lesson says.
        ModelError: the model, or the records, do not fit; the error says what does.
    """
    (num, features), outputs = prepared.inputs.shape, prepared.targets.shape[1]
    learning, residual = lesson.learning, residual_of(lesson)
    if learning.owners > 1 and num > learning.owner_records:
        raise DataError(
            f"[learning] owner_records = {learning.owner_records}: here are {num}; it is the most "
            "that any owner of the lesson has, and all give the same"
        )
    blocks = learning.owners * -(-(learning.owner_records or num) // SLOTS)
    if features > MOST_FEATURES or outputs > MOST_OUTPUTS:
        raise ModelError(
            f"[model]: {features} numbers of a record and {outputs} outputs; a step takes up to "
            f"{MOST_FEATURES} and {MOST_OUTPUTS}: crop or pool the pictures, or choose a front of "
            "fewer features"
        )
    if blocks * residual.most > MOST_SUM or blocks > MOST_BLOCKS:
        fit = int(min(MOST_BLOCKS, MOST_SUM / residual.most))
        raise ModelError(
            f"[learning]: {blocks} blocks of {SLOTS} records, each of which may add "
            f"{residual.most:.1f} to a gradient, overflow its 44 bits; up to {fit} fit, or "
            "more with a smaller bound, or a longer reach"
        )
    letters = learning.letters
    if letters == "auto":
        letters = "packed" if _packing_pays(lesson, features * outputs) else "each"
    course = Course(
        blocks=blocks,
        features=features,
        outputs=outputs,
        cubic=residual.cubic > 0,
        offset=residual.offset,
        packed=letters == "packed",
        joint=residual.joint,
    )
    if reason := course.excess:
        raise ModelError(f"[learning]: {reason}")
    return course


def _packing_pays(lesson: Lesson, numbers: int) -> bool:
    """Does the server spread weights faster than the link brings one to a ciphertext?"""
    if numbers > MOST_LETTERS:
        return True
    letters = -(-numbers // 256)
    link_s = (numbers - letters) * LETTER_BYTES * 8e-6 / lesson.learning.link_mbit
    return link_s > letters * PACKED_S


@dataclass(frozen=True)
class Share:
    """What one owner uploads.

    Attributes:
        number: of the owner, from 0; the first has made the key.
    """

    prepared: Prepared
    owner: Owner
    link: Link
    number: int
    owners: int

    def upload(self, observe: Observe = lambda done, seconds: None) -> None:
        """Encrypt this owner's blocks that the server has not, and send them.

        Raises:
            ServiceError: it cannot be reached, or refuses.
        """
        there = self.link.blocks()
        each = self.owner.course.blocks // self.owners
        for block in range(each):
            if (place := self.number * each + block) not in there:
                begun = time.monotonic()
                inputs, targets = self.prepared.inputs, self.prepared.targets
                self.link.put_block(place, self.owner.encrypt_block(block, inputs, targets))
                observe(block + 1, time.monotonic() - begun)


def invite(folder: Path, owner: Owner, course: Frame, owners: int) -> None:
    """Write an invitation for each other owner, `invitation-1` and so on. They hold the key."""
    for number in range(1, owners):
        parts = (owner.course.model_dump_json().encode(), owner.secret_bytes())
        nonce = number.to_bytes(16, "little")
        frame = Frame("keys", owner.course.digest, parts, course.identity, nonce)
        save_secret(folder / f"{INVITATION}{number}", frame.to_bytes())


def accept(path: Path, lesson: Lesson, http: httpx.Client) -> tuple[Share, bytes]:
    """What the owner of an invitation uploads, and the identity of the course.

    Raises:
        KeysError: the file is no invitation, or others may read it.
        ModelError: the lesson is another than that of who invites.
    """
    content = load_secret(path)
    try:
        frame = read_frame(content, "keys", content[8:24])
        course = Course.model_validate_json(frame.parts[0])
        owner = Owner(course, frame.parts[1])
    except (WireError, ValueError, IndexError) as error:
        raise KeysError(f"{path}: not an invitation: {error}") from None
    prepared, number = Prepared.of_lesson(lesson), int.from_bytes(frame.nonce, "little")
    if course_of(lesson, prepared) != course or not 0 < number < lesson.learning.owners:
        raise ModelError(
            f"{path}: is for another lesson: features, classes, [learning] and [model] must be "
            "those of who invites"
        )
    link = Link(http, course.digest, frame.keys)
    return Share(prepared, owner, link, number, lesson.learning.owners), frame.keys
