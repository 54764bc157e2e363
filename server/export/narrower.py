"""What to train instead of a net that does not fit into a chip."""

from collections.abc import Callable

from clients.boards.nets import net_of
from clients.firmware.plan import Plan
from clients.models import architecture_of, form_behind
from clients.models.nets.sequences import WIDTH
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError
from server.experiment.experiment import Experiment


def narrower(experiment: Experiment, form: Form, fits: Callable[[Plan], bool]) -> str:
    """The widest net of the run's kind that fits."""
    shape = form_behind(experiment.model, form).shape
    arithmetic, reads = experiment.arithmetic, architecture_of(experiment.model).reads or ()
    if (key := next((one for one in ("width", "channels") if one in reads), None)) is None:
        return "train a narrower [model], or take a larger chip"
    for width in range((getattr(experiment.model, key) or WIDTH) - 1, 0, -1):
        model = experiment.model.model_copy(update={key: width})
        try:
            plan, _ = net_of(build(model, form, arithmetic), arithmetic, shape)
        except ModelError:
            continue
        if plan is not None and fits(plan):
            return f"train [model] {key} = {width}"
    return f"no {key} fits: take a larger chip"
