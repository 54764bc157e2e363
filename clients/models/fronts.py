"""What stands before a model: a fixed transform of each record, by its name in `[model] front`.

It learns nothing, so it costs no privacy; each record is transformed by itself.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.backbone import backbone
from clients.models.log_mel import log_mel
from clients.models.scattering import BLOCK, CHANNELS, GROUPS, scatter, scattering_steps
from clients.models.settings import EVENED, Model, chosen_front
from clients.models.spectrum import spectrum
from clients.models.strokes import SHAPES, STROKES, evenness, in_halves, steps_behind
from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import ModelError

# Red, green and blue tell nearly the same: brightness, and how much bluer and redder it is
# (JPEG's colour space, ITU-R BT.601).
BRIGHTNESS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def name_front(model: Model, form: Form) -> str:
    """Which transform a model reads of such records, as what it gives is kept: a key of `FRONTS`,
    or `none`; of a backbone with its weights and the size of its pictures, of strokes and shapes
    with how many axes are kept."""
    name = chosen_front(model, form)
    if name == "backbone":
        return f"{name}-{model.weights_sha256[:16]}-{model.size}"
    if name in EVENED:
        return f"{name}-{model.axes}"
    return name


def say_front(model: Model, form: Form) -> str:
    """The same for people, as it is set: `front = 'strokes', axes = 9`; empty if there is none."""
    name = chosen_front(model, form)
    said: dict[str, str | int] = {"front": name} if name != "none" else {}
    if name == "backbone":
        said |= {"weights": model.weights, "size": model.size}
    if name in EVENED:
        said |= {"axes": model.axes}
    return ", ".join(f"{key} = {value!r}" for key, value in said.items())


def front_of(model: Model, form: Form) -> Transform | None:
    """What a model reads instead of records of a form; None: it reads them.

    Raises:
        ModelError: there is no such transform of them.
    """
    name = chosen_front(model, form)
    if name == "backbone":
        return backbone(form, model.weights, model.weights_sha256, model.size)
    if name in EVENED:
        return _evened(form, name, model.axes)
    return FRONTS[name](form) if name != "none" else None


def form_behind(model: Model, form: Form) -> Form:
    """The form of what a model reads of records."""
    with torch.device("cpu"):  # a front's matrices are kept, where shapes alone are asked too
        front = front_of(model, form)
    if front is None:
        return form
    outputs = math.prod(front.shape) if form.itself else form.outputs
    return form._replace(shape=front.shape, outputs=outputs)


def _scattering(form: Form) -> Transform:
    """Scattering coefficients float16 [C * 81 * H/4 * W/4], of colours those of brightness and of
    two differences; normalised in groups within each record."""
    channels, height, width = _picture(form, "scatter")
    size = channels * CHANNELS * (height // 4) * (width // 4)

    def apply(images: Tensor) -> Tensor:
        coefficients = scatter(_planes(images).reshape(-1, height, width))
        each = coefficients.view(len(images), -1, *coefficients.shape[2:])
        return F.group_norm(each, GROUPS).flatten(1).to(torch.float16)

    def steps() -> list[Step]:
        plan, ends = _scatter_steps(channels, height, width)
        return [*plan, Step("normalise", tuple(ends), sum(plan[at].size for at in ends))]

    return Transform(apply, (size,), steps, BLOCK)


def _evened(form: Form, name: str, axes: int) -> Transform:
    """The same, or their logarithms, made even by how those of random strokes or shapes vary
    (clients.models.strokes): float16 [C * A], `axes` of each channel; 0 is all. In halves,
    [2 C * A] in [0, 1]."""
    channels, height, width = _picture(form, name)
    kind, halves = SHAPES if name == "shapes" else STROKES, name == "stroke-halves"
    places = (height // 4) * (width // 4)
    kept = min(axes or CHANNELS * places, CHANNELS * places)

    def apply(images: Tensor) -> Tensor:
        coefficients = scatter(_planes(images).reshape(-1, height, width))
        even = evenness(kind, height, width, kept)(kind.prepare(coefficients))
        even = even.view(len(images), -1)
        return (in_halves(even) if halves else even).to(torch.float16)

    def steps() -> list[Step]:
        plan, ends = _scatter_steps(channels, height, width)
        evened = []
        for end in ends:
            for each in ("logarithm", "normalise") if kind.logarithms else ("normalise",):
                plan.append(Step(each, (end,), CHANNELS * places))
                end = len(plan) - 1
            plan += steps_behind(CHANNELS, places, kept, end)
            evened.append(len(plan) - 1)
        return [*plan, Step("gather", tuple(evened), size)]

    size = channels * kept * (2 if halves else 1)
    return Transform(apply, (size,), steps, BLOCK)


def _picture(form: Form, front: str) -> tuple[int, int, int]:
    """Its channels, height and width.

    Raises:
        ModelError: it is none, or has sides that are not scattered.
    """
    if form.kind != "picture" or len(form.shape) not in (2, 3):
        raise ModelError(
            f"[model] front = {front!r}: reads pictures, and these records are a "
            f"{form.kind} of {list(form.shape)}; use front = 'none', and perceptron or linear"
        )
    height, width = form.shape[-2:]
    try:
        scatter(torch.zeros(0, height, width))
    except ValueError as error:
        raise ModelError(
            f"[model] front = {front!r}: {error}; use front = 'none', and perceptron or linear"
        ) from None
    return math.prod(form.shape[:-2]), height, width


def _planes(images: Tensor) -> Tensor:
    """Of red, green and blue, brightness and two differences; of other channels themselves."""
    if images.dim() == 4 and images.shape[1] == len(BRIGHTNESS):
        return torch.einsum("dc,nchw->ndhw", torch.tensor(BRIGHTNESS), images)
    return images


def _scatter_steps(channels: int, height: int, width: int) -> tuple[list[Step], list[int]]:
    """Those of one channel, and again of each further one, whose matrices are in memory then; and
    where each channel's coefficients are."""
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
    return plan, ends


FRONTS: dict[str, Callable[[Form], Transform]] = {
    "scatter": _scattering,
    "log-mel": log_mel,
    "spectrum": spectrum,
}
