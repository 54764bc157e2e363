"""What the last model's answers give away or get wrong: hidden columns, altered records."""

import torch
from torch import nn

from attacks.attributes import infer_attributes
from attacks.evasion import robust_accuracy, rounded
from attacks.membership.signals import load
from attacks.settings import Attack
from attacks.tape import Tape
from clients.protocol import Form
from clients.training.net import build
from server.adversary.reconstruction.play import why_no_gradient
from server.adversary.reconstruction.victims import Found
from server.run.directory import Run

ANSWERS = 500  # records that are altered
FORMS = {"as trained": 0, "int8 weights": 8, "int4 weights": 4, "ternary weights": 2}


def on_attributes(tape: Tape, settings: Attack) -> Found:
    """What the last model adds to guessing a hidden column of a table; of others nothing."""
    if tape.nature.kind != "table":
        return {}
    if tape.front:
        return {"attributes": {"left_out": "the model reads fixed features, and no columns"}}
    model = load(tape.build(0), tape.weights(tape.recipe.rounds))
    found = infer_attributes(
        model, tape.pool, tape.member, tape.reference, tape.nature, settings.seed
    )
    return {"attributes": found}


def on_answers(run: Run, tape: Tape) -> Found:
    """Robust accuracy of the last model, as trained and with its weights rounded."""
    twin = _without_streams(run, tape)
    if reason := _why_not(run, tape, has_twin=twin is not None):
        return {"robustness": {"left_out": reason}}
    chosen = torch.arange(min(len(tape.reference), ANSWERS))
    records, labels = tape.reference.originals(chosen), tape.reference.y[chosen]
    if twin is not None:
        model = load(tape.build(0), tape.weights(tape.recipe.rounds))
        found = robust_accuracy(model, records, labels, twin, tape.nature)
        return {"robustness": {"as trained": found}}
    forms = {}
    for name, bits in FORMS.items():
        model = load(tape.build(0), tape.weights(tape.recipe.rounds))
        model = rounded(model, bits) if bits else model
        forms[name] = robust_accuracy(model, records, labels, nature=tape.nature)
    return {"robustness": forms}


def _why_not(run: Run, tape: Tape, *, has_twin: bool) -> str | None:
    if tape.pool.task != "classes":
        return f"[data] task = {tape.pool.task!r}: no answer is right or wrong"
    columns = tape.nature.columns
    if columns and all(column.values for column in columns):
        return "every column is a category: a little of another has no meaning"
    if tape.front:
        return "the model reads fixed features: records are not altered through them"
    return None if has_twin else why_no_gradient(run.experiment)


def _without_streams(run: Run, tape: Tape) -> nn.Module | None:
    """What a perceptron in streams computes but for chance, in reals: it has a gradient."""
    experiment = run.experiment
    if experiment.arithmetic.name != "stochastic" or experiment.model.name != "perceptron":
        return None
    saturating = experiment.model.model_copy(update={"activation": "tanh"})
    twin = build(saturating, Form(tape.nature.shape, tape.num_classes))
    dense = [layer for layer in twin.modules() if isinstance(layer, nn.Linear)]
    weights = tape.weights(tape.recipe.rounds).values()
    with torch.no_grad():
        for layer, weight in zip(dense, weights, strict=True):
            gain = experiment.arithmetic.gain * weight.shape[1] ** -0.5
            layer.weight.copy_(torch.from_numpy(weight) * gain)
            layer.bias.zero_()
    return twin
