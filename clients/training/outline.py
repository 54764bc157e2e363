"""What can be said of a net before it is trained: found by building it, and remembered.

To build a net loads torch, which takes far longer than to say again what it was found to be.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clients.models.sources import is_own
from clients.protocol import Form
from clients.training.job import MOST_WEIGHTS, Job
from privacy import memo

if TYPE_CHECKING:
    from torch import nn

NAME = "outlines.json"
CLIENTS = Path(__file__).parents[1]
READ: Any = {
    **dict.fromkeys(("model", "arithmetic", "pruning", "supernet"), True),
    "training": {"per_sample"},
    "budget": {"unit"},
}
CODE = (CLIENTS, CLIENTS.parent / "privacy")


class Outline(NamedTuple):
    """Of a net that a device can train.

    Attributes:
        weights: how many numbers it has.
        gradients: by which engine a device finds its records' gradients, and why by no faster one.
        norms: which layers of the user's own model are not what was written; empty if all are.
        counters: type of each of its arrays that is not of floats, by name.
    """

    weights: int
    gradients: str
    norms: str
    counters: dict[str, str]


def outline(job: Job, form: Form) -> Outline:
    """Of the net of a job, for records of a form.

    Raises:
        ModelError: there is no such net, or it cannot be trained as is asked.
    """
    # A file of the user's own may load others, and a GPU may be gone.
    if is_own(job.model.name) or job.training.device != "cpu":
        return _built(job, form)
    settings = job.model_dump_json(include=READ)
    question = f"{memo.told_by(CODE, 'torch')} {settings} {form!r}"
    return memo.recalled(NAME, question, lambda: _built(job, form), _checked)


def first_net(job: Job, form: Form) -> "nn.Module":
    """The net of a job, with initial weights of torch's global generator.

    Raises:
        ModelError: there is no such net, or it cannot be trained as is asked.
    """
    from clients.training.net import build, require_size
    from clients.training.smaller.cutting import pairs_of
    from clients.training.smaller.supernet import nets_of
    from privacy.dp.training import require_private

    require_size(job.model, form, job.arithmetic)
    net = build(job.model, form, job.arithmetic, job.pruning)
    if job.supernet.trains:
        last = nets_of(job.supernet, job.model)[-1]
        pairs_of(net, build(last.model, form, last.arithmetic, job.pruning))
    if job.budget.unit == "record":
        require_private(net)
    return net


def outline_of(net: "nn.Module", job: Job, form: Form) -> Outline:
    """Of a net that was built."""
    from clients.models.norms import told_of_norms

    return Outline(
        weights=sum(p.numel() for p in net.parameters()),
        gradients=_gradients(net, job, form),
        norms=told_of_norms(net),
        counters={
            name: str(array.dtype).removeprefix("torch.")
            for name, array in net.state_dict().items()
            if not array.dtype.is_floating_point
        },
    )


def _built(job: Job, form: Form) -> Outline:
    import torch

    with torch.random.fork_rng(devices=[]):
        return outline_of(first_net(job, form), job, form)


def _gradients(net: "nn.Module", job: Job, form: Form) -> str:
    from clients.models import form_behind
    from privacy.dp.compiled import lacking

    asked = job.training.per_sample
    if asked != "compiled":
        return f"{asked}, as [training] per_sample says"
    if job.training.device != "cpu":
        from clients.training import gpu

        if not gpu.why_not(job):
            return "onepass, not compiled: kernels are for processors, and steps are on a GPU"
    if job.supernet.trains:
        return "onepass, not compiled: [supernet] trains smaller nets beside the whole"
    why = lacking(net, form_behind(job.model, form).shape)
    return f"onepass, not compiled: {why}" if why else "compiled"


def _checked(told: Any) -> Outline | None:
    match told:
        case [int(weights), str(gradients), str(norms), dict(counters)]:
            words = [gradients, norms, *counters, *counters.values()]
            if all(isinstance(word, str) and word.isprintable() for word in words):
                is_number = not isinstance(weights, bool) and 0 < weights <= MOST_WEIGHTS
                return Outline(weights, gradients, norms, counters) if is_number else None
    return None
