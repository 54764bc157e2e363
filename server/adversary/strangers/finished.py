"""A finished model of the user's: what it tells of the records that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.audit.canaries import Bound
from attacks.audit.steps.checks import Check
from attacks.audit.steps.games import of_members
from attacks.leakage import Figure, gap
from attacks.membership.alone import BESIDE, measure_alone, scores_alone, without_model
from attacks.membership.persons import measure_persons
from attacks.membership.signals import BLOCK, losses, observe, predict
from attacks.tape import Floats
from clients.protocol import Form
from privacy.errors import DataError, ModelError
from server.adversary.strangers.models import ask, open_model
from server.adversary.strangers.records import Asked, read_asked
from server.cost.asked import read_form

NEEDS_REFERENCE = (
    "needs models of its kind that had none of these records: --reference, as often as there are"
)
LEFT_OUT = {
    "shadows": "LiRA, RMIA online and the learned attack need models trained under its recipe with "
    "and without each record, and a finished model does not say how it was trained",
    "all_rounds": "one model is there, and not those of each round",
    "updates": "no client's update is there, to be read or inverted",
    "attributes": "what a number of a record means is not said, as a schema says it to a run",
    "robustness": "between which bounds a record's numbers lie is not said",
}
SUMS = 1e-3  # from 1, up to which numbers that are none below 0 are probabilities
TINY = 1e-12


@dataclass(frozen=True)
class Subject:
    """What is attacked: files of the user's.

    Attributes:
        model: `FILE.py:NAME` or `FILE.onnx`. weights: of the former.
        members, non_members: records that it was trained on, and others; npz.
        references: weights, or graphs, of models that had none of these records.
        task: classes, labels, number or itself.
        classes: that it tells apart; None takes those of the labels.
        settings: `model.options.KEY=VALUE` each.
    """

    model: str
    members: Path
    non_members: Path
    weights: Path | None = None
    references: Sequence[Path] = ()
    task: str = "classes"
    classes: int | None = None
    settings: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Heard:
    """The model's signals [N], those of references, and what was found out on the way."""

    asked: Asked
    net: nn.Module
    phi: Floats
    references: list[Floats]
    notes: tuple[str, ...]


def hear(subject: Subject) -> Heard:
    """Ask the model of every record, and each reference.

    Raises:
        SettingsError, DataError, ModelError: what is wrong, in which file.
        RunError: onnxruntime is not installed.
    """
    asked = read_asked(subject.members, subject.non_members, subject.task)
    sides = "x".join(map(str, asked.shape))
    form = read_form(sides, subject.classes or asked.outputs)[0]
    net, notes = _answering(subject, subject.model, subject.weights, form, asked)
    is_graph = subject.model.endswith(".onnx")
    phi, others = observe(net, asked.sample), []
    for path in subject.references:
        named, weights = (str(path), None) if is_graph else (subject.model, path)
        other, _ = _answering(subject, named, weights, form, asked)
        others.append(observe(other, asked.sample))
    if asked.shared:
        notes.append(
            f"{asked.shared} records of {subject.non_members} are in {subject.members} too: no "
            "attack can be right of both"
        )
    return Heard(asked, net, phi, others, tuple(notes))


def attack_model(subject: Subject, *, delta: float = 1e-5, seed: int = 0) -> dict[str, Any]:
    """What a finished model tells of membership: each attack that applies, with its intervals."""
    heard = hear(subject)
    asked, member = heard.asked, heard.asked.member
    flat = asked.x.flatten(1)
    apart, differ = without_model(flat, asked.sample.y, member, seed)
    scores = scores_alone(heard.phi, heard.references)
    found: dict[str, Any] = {
        "model": subject.model,
        "members": int(member.sum()),
        "non_members": int((~member).sum()),
        "references": len(heard.references),
        "delta": delta,
        "attacks": {
            name: measure_alone(name, one, member, delta=delta, seed=seed).to_dict()
            for name, one in scores.items()
        },
        "train_test_gap": _gap(heard),
        "without_model": {"auc": vars(apart)},
    }
    if asked.person is not None:
        others = "persons of whom it had nothing"
        found["persons"] = measure_persons(scores["loss"], asked.person, member, others)
    found["left_out"] = LEFT_OUT | (
        {} if heard.references else dict.fromkeys(BESIDE, NEEDS_REFERENCE)
    )
    found["notes"] = [*heard.notes, *([_of_two_kinds(apart, subject)] if differ else [])]
    return found


def audit_model(subject: Subject, epsilon: float, delta: float) -> tuple[list[Bound], Check]:
    """Lower bounds of epsilon, from one model and records that a coin each put in or left out.

    Which score is used is fixed beforehand: beside references where there are some, or else the
    loss.
    """
    heard = hear(subject)
    scores = scores_alone(heard.phi, heard.references)
    chosen = scores[BESIDE[0]] if heard.references else scores["loss"]
    return of_members(chosen, heard.asked.member, epsilon, delta)


# ---- what it answers


def _answering(
    subject: Subject, named: str, weights: Path | None, form: Form, asked: Asked
) -> tuple[nn.Module, list[str]]:
    """A model whose answers are logits, or numbers, as the task's loss reads them."""
    net, task = open_model(named, weights, form, subject.settings), subject.task
    said = torch.cat(
        [ask(net, rows, named) for rows in asked.x.split(BLOCK)]
    )  # all, so that what is wrong is said of the file
    if not torch.isfinite(said).all():
        first = int(torch.nonzero(~torch.isfinite(said))[0, 0])
        raise ModelError(f"{named}: answers record {first} with what is no finite number")
    wanted, given = asked.outputs, said.shape[1]
    if task == "classes" and given < max(2, wanted):
        raise DataError(
            f"{named}: gives {given} numbers, and the labels name class {wanted - 1}; give labels "
            "from 0 to one less than its outputs, two at least, or say --task"
        )
    if task != "classes" and given != wanted:
        raise DataError(f"{named}: gives {given} numbers, and y has {wanted}")
    if task == "classes" and bool((said >= 0).all()) and _is_one(said.sum(1)):
        return Logs(net), ["its answers are probabilities: their logarithms are read"]
    if task == "labels" and bool(((said >= 0) & (said <= 1)).all()):
        return Odds(net), ["its answers lie between 0 and 1: they are read as probabilities"]
    return net, []


def _is_one(sums: Tensor) -> bool:
    return bool((sums - 1).abs().max() < SUMS)


class Logs(nn.Module):
    """Of probabilities [B, K], logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """[B, K]."""
        return self.net(x).float().clamp(min=TINY).log()


class Odds(Logs):
    """Of probabilities of labels, each by itself, logits."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, K]."""
        return self.net(x).double().clamp(TINY, 1 - TINY).logit().float()


def _gap(heard: Heard) -> dict[str, Any]:
    asked, sample = heard.asked, heard.asked.sample
    if sample.task == "classes":
        right = (predict(heard.net, sample).argmax(1) == sample.y).numpy()
        return gap(right[asked.member], right[~asked.member], "accuracy")
    each = losses(heard.net, sample)
    return gap(each[asked.member], each[~asked.member], "loss")


def _of_two_kinds(apart: Figure, subject: Subject) -> str:
    """The records themselves say who is who."""
    return (
        f"{subject.members} and {subject.non_members} are told apart without the model (AUC "
        f"{apart.value:.3f}, {apart.low:.3f} to {apart.high:.3f}): they are not of one population, "
        "and the figures are of that too"
    )
