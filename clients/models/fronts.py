"""What stands before a model: a fixed transform of each record, by its name in `[model] front`.

It learns nothing, so it costs no privacy; each record is transformed by itself.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.backbone import backbone
from clients.models.log_mel import log_mel
from clients.models.scattering import BLOCK, scatter, scattering_steps
from clients.models.settings import Model, chosen_front
from clients.models.spectrum import spectrum
from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

CHANNELS, GROUPS = 81, 27  # of a scattering transform of two scales and eight orientations
# Red, green and blue tell nearly the same: brightness, and how much bluer and redder it is
# (JPEG's colour space, ITU-R BT.601).
BRIGHTNESS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def name_front(model: Model, form: Form) -> str:
    """Which transform a model reads of such records, as what it gives is kept: a key of `FRONTS`,
    or `none`; of a backbone with its weights and the size of its pictures."""
    name = chosen_front(model, form)
    if name == "backbone":
        return f"{name}-{model.weights_sha256[:16]}-{model.size}"
    return name


def front_of(model: Model, form: Form) -> Transform | None:
    """What a model reads instead of records of a form; None: it reads them.

    Raises:
        ModelError: there is no such transform of them.
    """
    name = chosen_front(model, form)
    if name == "backbone":
        return backbone(form, model.weights, model.weights_sha256, model.size)
    return FRONTS[name](form) if name != "none" else None


def form_behind(model: Model, form: Form) -> Form:
    """The form of what a model reads of records."""
    with torch.device("cpu"):  # a front's matrices are kept, where shapes alone are asked too
        front = front_of(model, form)
    if front is None:
        return form
    itself = form.outputs == math.prod(form.shape)  # what a model gives back is what it reads
    return form._replace(
        shape=front.shape, outputs=math.prod(front.shape) if itself else form.outputs
    )


def _scattering(form: Form) -> Transform:
    """Scattering coefficients float16 [C * 81 * H/4 * W/4], of colours those of brightness and of
    two differences; normalised in groups within each record."""
    if form.kind != "picture" or len(form.shape) not in (2, 3):
        raise ModelError(
            "[model] front = 'scatter': reads pictures, and these records are a "
            f"{form.kind} of {list(form.shape)}; use front = 'none', and perceptron or linear"
        )
    channels, (height, width) = math.prod(form.shape[:-2]), form.shape[-2:]
    try:
        scatter(torch.zeros(0, height, width))
    except ValueError as error:
        raise ModelError(f"[model] name = 'scatter': {error}; use perceptron") from None
    size = channels * CHANNELS * (height // 4) * (width // 4)
    steps = partial(_scatter_steps, channels, height, width)
    return Transform(_scatter_features, (size,), steps, BLOCK)


def _scatter_features(images: Tensor) -> Tensor:
    if images.dim() == 4 and images.shape[1] == len(BRIGHTNESS):
        images = torch.einsum("dc,nchw->ndhw", torch.tensor(BRIGHTNESS), images)
    coefficients = scatter(images.reshape(-1, *images.shape[-2:]))
    each = coefficients.view(len(images), -1, *coefficients.shape[2:])
    return F.group_norm(each, GROUPS).flatten(1).to(torch.float16)


def _scatter_steps(channels: int, height: int, width: int) -> list[Step]:
    """Those of one channel, and again of each further one, whose matrices are in memory then."""
    one = scattering_steps(height, width)
    plan: list[Step] = []
    if channels == len(BRIGHTNESS):
        mixing = Product(1, height * width, channels, channels)
        plan.append(Step("brightness", (-1,), channels * height * width, mixing))
    mixed, ends = len(plan) - 1, []
    for channel in range(channels):
        first = len(plan)
        for step in one:
            product = step.product and step.product._replace(
                repeated=step.product.repeated or channel > 0
            )
            name = step.name if channels == 1 else f"{step.name} of channel {channel}"
            reads = tuple(mixed if at < 0 else at + first for at in step.reads)
            plan.append(Step(name, reads, step.size, product))
        ends.append(len(plan) - 1)
    return [*plan, Step("normalise", tuple(ends), sum(plan[at].size for at in ends))]


FRONTS: dict[str, Callable[[Form], Transform]] = {
    "scatter": _scattering,
    "log-mel": log_mel,
    "spectrum": spectrum,
}
