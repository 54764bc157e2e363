"""What is asked about a model without a run: the form of its records, and its settings."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, get_args

from clients.models import Model
from clients.models.sources import admit, is_own, parts
from clients.protocol import Form
from privacy.dp.budget import Budget
from privacy.errors import SettingsError
from privacy.settings import Section, override, parse, suggest
from server.experiment.experiment import Experiment
from server.experiment.idle import require_effect
from server.experiment.named import MEANT

Kind = Literal["picture", "window", "sound", "table"]
AXES: dict[Kind, tuple[int, ...]] = {
    "picture": (2, 3),
    "window": (2,),
    "sound": (1,),
    "table": (1,),
}
SHAPE, CLASSES = (28, 28), 10  # where nothing is said: MNIST's
MOST_VALUES = 1 << 24
LONG = 4  # times as many samples as channels make a window of what could be a picture
MOST_COLUMNS = 2048  # more numbers in a row are a sound


def read_form(
    shape: str = "", classes: int | None = None, kind: str = "", rate_hz: float = 0.0
) -> tuple[Form, tuple[str, ...]]:
    """The form of records as a command line says it, and a note of what it leaves open.

    Args:
        shape: `28x28`, `3x32x32`, `6x128`, `16000` or `64`; empty: 28x28.
        kind: of records; empty takes what such a shape usually is.

    Raises:
        SettingsError: there are no such records.
    """
    sides = tuple(int(side) for side in re.split("[x,]", shape)) if _is_shape(shape) else SHAPE
    if shape and not (_is_shape(shape) and 0 < math.prod(sides) <= MOST_VALUES):
        raise SettingsError(
            f"--shape {shape}: must be one to three sides of a record, such as 28x28, 3x32x32, "
            f"6x128 or 64, of {MOST_VALUES:,} values at most"
        )
    if kind and kind not in AXES:
        raise SettingsError(f"--kind {kind}: no such records{suggest(kind, AXES)}")
    chosen = next((one for one in get_args(Kind) if one == kind), None) or _usual(sides)
    if len(sides) not in AXES[chosen]:
        axes = " or ".join(map(str, AXES[chosen]))
        raise SettingsError(
            f"--kind {chosen}: has {axes} sides; --shape {shape or '28x28'} has not"
        )
    if rate_hz and chosen not in ("window", "sound"):
        raise SettingsError(f"--rate {rate_hz:g}: a {chosen} has no samples a second; leave it out")
    form = Form(
        shape=sides,
        outputs=CLASSES if classes is None else classes,
        kind=chosen,
        columns=(1,) * sides[0] if chosen == "table" else (),
        rate_hz=rate_hz,
    )
    guessed = f"a record of {shape} is taken as a {chosen}; --kind says what else it is"
    return form, (guessed,) if shape and not kind and len(sides) < 3 else ()


def _is_shape(text: str) -> bool:
    return re.fullmatch(r"\d{1,8}([x,]\d{1,8}){0,2}", text, re.ASCII) is not None


def _usual(sides: tuple[int, ...]) -> Kind:
    if len(sides) == 1:
        return "table" if sides[0] <= MOST_COLUMNS else "sound"
    return "window" if len(sides) == 2 and sides[1] >= LONG * sides[0] else "picture"


class _Asked(Section):
    MEANT: ClassVar[Mapping[str, str]] = {k: v for k, v in MEANT.items() if "model." in k + v}
    model: Model


def read_model(name: str, settings: Iterable[str] = ()) -> Model:
    """A model by its name, or the user's own as FILE.py:NAME, which may now be run here.

    Args:
        settings: `model.key=value` each.

    Raises:
        SettingsError: an unknown key, one that the model does not read, or no such file.
        ModelError: the file is too large.
    """
    tables, origins = override({"model": {"name": name}}, settings)
    if "model.name" in origins:
        raise SettingsError(f"{origins['model.name']}: the model is {name}; leave it out")
    model = parse(_Asked, tables, name, origins).model
    require_effect(Experiment(model=model, budget=Budget(unit="none")), origins)
    if not is_own(name):
        return model
    path = Path(parts(name)[0]).expanduser()
    try:
        return model.model_copy(update={"sha256": admit(path, sha256=model.sha256)})
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
