"""What stands before a model: a fixed transform of each record, by its name in `[model] front`.

It learns nothing, so it costs no privacy; each record is transformed by itself.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.own import architecture_of
from clients.models.scattering import BLOCK, scatter, scattering_steps
from clients.models.settings import Model
from clients.models.transform import Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

CHANNELS, GROUPS = 81, 27  # of a scattering transform of two scales and eight orientations
OF_KIND = {"sound": "log-mel"}  # what a model reads where nobody says


def name_front(model: Model, form: Form) -> str:
    """Which transform a model reads of such records: a key of `FRONTS`, or `none`."""
    if model.front != "auto":
        return model.front
    own = architecture_of(model).front
    return OF_KIND.get(form.kind, "none") if own == "none" else own


def front_of(model: Model, form: Form) -> Transform | None:
    """What a model reads instead of records of a form; None: it reads them.

    Raises:
        ModelError: there is no such transform of them.
    """
    name = name_front(model, form)
    return FRONTS[name](form) if name != "none" else None


def form_behind(model: Model, form: Form) -> Form:
    """The form of what a model reads of records."""
    front = front_of(model, form)
    return form if front is None else form._replace(shape=front.shape)


def _scattering(form: Form) -> Transform:
    """Scattering coefficients float16 [81 * H/4 * W/4], group-normalised within each record."""
    if form.kind != "picture" or len(form.shape) != 2:
        raise ModelError(f"[model] front = 'scatter': records are no grey pictures: {form.shape}")
    height, width = form.shape
    try:
        scatter(torch.zeros(0, height, width))
    except ValueError as error:
        raise ModelError(f"[model] name = 'scatter': {error}; use perceptron") from None
    size = CHANNELS * (height // 4) * (width // 4)
    return Transform(_scatter_features, (size,), partial(_scatter_steps, form.shape), BLOCK)


def _scatter_features(images: Tensor) -> Tensor:
    return F.group_norm(scatter(images), GROUPS).flatten(1).to(torch.float16)


def _scatter_steps(shape: tuple[int, ...]) -> list[Step]:
    steps = scattering_steps(*shape)
    return [*steps, Step("normalise", (len(steps) - 1,), steps[-1].size)]


FRONTS: dict[str, Callable[[Form], Transform]] = {"scatter": _scattering}
