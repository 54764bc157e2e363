"""What is priced: a network, the fixed transform before it, and in which numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from clients.chip import (
    BINARY,
    FLOAT,
    TERNARY,
    Chip,
    Network,
    Precision,
    fixed,
    reference,
    stochastic,
)
from clients.chip.workloads.networks import NETWORKS
from clients.chip.workloads.trace import trace
from clients.chip.workloads.workload import Layer, Nest
from clients.data.sets import load
from clients.models import MODELS, Model, front_of
from clients.models.sources import is_own
from clients.models.transform import Step
from clients.protocol import Form
from clients.training.net import build, require_size
from privacy.errors import SettingsError
from privacy.settings import suggest
from server.cost.asked import read_form, read_model
from server.experiment.experiment import Experiment

STREAM_LENGTH = 256


@dataclass(frozen=True)
class Subject:
    """What is priced: a network, and the fixed transform that it reads instead of the records.

    Attributes:
        block: records that the transform works on together.
        kept_bytes: of what the transform gives, for one record, as a device keeps it.
        notes: what was taken for granted, a sentence each.
    """

    network: Network
    transform: Network | None = None
    block: int = 1
    kept_bytes: int = 0
    notes: tuple[str, ...] = ()


def subject_of(experiment: Experiment) -> Subject:
    """The loop nests of an experiment's model, and of the fixed transform before it."""
    dataset = load(experiment.data)
    return _subject(experiment.model, dataset.form)


def find_subject(
    name: str, form: Form | None = None, settings: Sequence[str] = (), notes: tuple[str, ...] = ()
) -> Subject:
    """A network by its name: a published one, a model of privet's, or FILE.py:NAME of the user's.

    Args:
        form: of the records; MNIST's if none is given. A published network has its own.
        settings: `model.key=value` each.
        notes: about the form.

    Raises:
        SettingsError: there is none, or no such setting.
        ModelError: it cannot be built for such records.
    """
    ours, asked = name in MODELS, form or settings
    if name in NETWORKS and not (ours and asked):
        if asked:
            raise SettingsError(f"{name}: a published network, with records and layers of its own")
        told = f"the published network; privet's own {name} is priced with --shape"
        return Subject(reference(name), notes=(told,) if ours else ())
    if not ours and not is_own(name):
        raise SettingsError(f"{name}: no such model{suggest(name, [*MODELS, *NETWORKS])}")
    if is_own(name) and form is None:
        raise SettingsError(f"{name}: say what it reads and gives: --shape 6x128 --classes 12")
    subject = _subject(read_model(name, settings), form or read_form()[0])
    return replace(subject, notes=(*notes, *subject.notes))


def _subject(model: Model, form: Form) -> Subject:
    require_size(model, form)
    net, transform = build(model, form), front_of(model, form)
    if transform is None:
        network = trace(net, form.shape, model.name)
        return Subject(network, notes=network.notes)
    kept = transform(torch.zeros(1, *form.shape))
    network = trace(net, tuple(kept.shape[1:]), model.name)
    return Subject(
        network=network,
        transform=Network(
            f"{model.name} transform",
            math.prod(form.shape),
            tuple(_layer(step) for step in transform.steps()),
        ),
        block=transform.block,
        kept_bytes=kept.numel() * kept.element_size(),
        notes=network.notes,
    )


def _layer(step: Step) -> Layer:
    """A step of a transform, as a chip sees it: its weights are fixed."""
    if (product := step.product) is None:
        return Layer(step.name, "elementwise", step.size, step.reads, weights="fixed")
    nest = Nest(
        batch=1,
        filters=product.outputs,
        channels=product.depth,
        rows=product.positions,
        columns=1,
        groups=product.groups,
    )
    weights: Literal["fixed", "shared"] = "shared" if product.repeated else "fixed"
    return Layer(step.name, "dense", step.size, step.reads, nest, weights=weights)


# ---- in which numbers


def default_arithmetic(chip: Chip) -> Precision:
    """Fixed point of the chip's word, or what else the chip has."""
    known = (fixed(chip.word_bits), FLOAT, TERNARY, BINARY, stochastic(STREAM_LENGTH))
    return next(arithmetic for arithmetic in known if arithmetic.kind in chip.kinds)


def arithmetic_of(experiment: Experiment, chip: Chip) -> Precision:
    """The run's own, where the chip has it."""
    f = experiment.arithmetic.formats
    if f.kind not in chip.kinds:
        return default_arithmetic(chip)
    if f.kind == "stochastic":  # a bit a cycle; memory holds the number that a stream stands for
        return stochastic(f.stream_length)
    return FLOAT if f.kind == "float" else Precision(f.kind, f.weight_bits, f.activation_bits)


def transform_arithmetic(chip: Chip) -> Precision:
    """Of a fixed transform: 32-bit floats, in which it is computed, where the chip has them."""
    return FLOAT if "float" in chip.kinds else default_arithmetic(chip)


def name_of(arithmetic: Precision) -> str:
    """`fixed, 8 bit`, or `stochastic, L = 256`."""
    if arithmetic.stream_length:
        return f"{arithmetic.kind}, L = {arithmetic.stream_length}"
    return f"{arithmetic.kind}, {arithmetic.weight_bits} bit"


def notes_on(subject: Subject, chip: Chip, trained: str, priced: Precision) -> tuple[str, ...]:
    """What was taken for granted, and what is priced in other numbers than it was trained in."""
    found = list(subject.notes)
    if trained and priced.kind != trained:
        found.append(
            f"trained in {trained}, which this chip does not compute: priced as {name_of(priced)}, "
            "another model, whose accuracy was not measured"
        )
    if subject.transform and transform_arithmetic(chip).kind != "float":
        found.append(
            "the fixed transform was computed in 32-bit floats, which this chip does not compute: "
            f"priced as {name_of(transform_arithmetic(chip))}"
        )
    return tuple(found)
