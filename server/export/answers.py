"""The run's model with its last weights, some records for it, and what it says of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clients.arithmetic.layers import Sign, Threshold
from clients.arithmetic.rounding import RoundInput
from clients.data.sets import load
from clients.models import form_behind, say_front
from clients.training.net import Net, build, fill
from clients.training.plain import is_exact, plain
from clients.training.records import records
from privacy.errors import RunError
from server.experiment.experiment import Experiment
from server.run.directory import Run

ASKED = 256  # records
FAR = 1e-4  # that an export may be from the run's own answers, as a share of the largest of them
# Of how many records a sum may lie so near the middle of two words that it goes to the other, and
# how far that takes an answer. Measured on every ready net (`tests/acceptance/exports.py`): 2.7 %
# of the records of ResNet-8 in 8 bits, and 0.5 % of the largest answer; a wrong export is so of
# most.
MOST_APART, MOST_FAR = 0.05, 0.02


@dataclass(frozen=True)
class Answers:
    """What an export is held against.

    Attributes:
        net: the run's model, in evaluation.
        x: what it reads [N, ...]: test records where there are some, then random numbers.
        outputs: what it says of them [N, K].
        front: the fixed transform that stands before it, as it is set; empty if it reads records.
    """

    net: nn.Module
    x: Tensor
    outputs: Tensor
    front: str

    def distances(self, others: Tensor) -> Tensor:
        """How far each record's other answers [N, K] are from these, as a share of the largest of
        all [N]."""
        most = max(1.0, float(self.outputs.abs().max()))
        return (self.outputs - others).abs().amax(1) / most

    @property
    def rounds(self) -> bool:
        """Are activations words, and between them floats of a file of the user's? A sum that lies
        between two words may then go to either, by the order in which it was added up."""
        rounded = any(isinstance(m, RoundInput | Sign | Threshold) for m in self.net.modules())
        return rounded and not is_exact(plain(self.net))

    def require(self, others: Tensor, what: str) -> str:
        """In words, how far they are.

        Raises:
            RunError: farther than rounding explains.
        """
        each = self.distances(others)
        near = each <= FAR  # which no NaN is
        most = float(each[near].max()) if near.any() else 0.0
        told = f"{int(near.sum())} of {len(each)} records answered as the run answers them, "
        told += f"within {most:.1e} of the largest answer" if most else "to the last bit"
        apart = int((~near).sum())
        if not apart:
            return told
        far = float(each.max())
        if self.rounds and far <= MOST_FAR and apart <= max(1, MOST_APART * len(each)):
            return f"{told}; of {apart} a sum between two words went to the other one: {far:.1e}"
        said = float((self.outputs.argmax(1) == others.argmax(1)).double().mean())
        raise RunError(
            f"{what}: differs from the run's own answers by {far:.1e} of the largest, and says "
            f"the same first answer of {said:.2%} of the records; nothing was written"
        )


def answers_of(run: Run) -> Answers:
    """Ask a run's last weights.

    Raises:
        RunError: no round is done, or the data are others than it began with.
    """
    last = len(run.rounds)
    if not last:
        raise RunError(f"{run.path}: no round is done: nothing is trained; privet resume it first")
    run.require_same_data()
    experiment = calm(run.experiment)
    form = load(experiment.data).form
    net = build(experiment.model, form, experiment.arithmetic, experiment.pruning)
    fill(net, run.weights(last))
    net.eval()
    shape = form_behind(experiment.model, form).shape
    drawn = torch.rand(ASKED, *shape, generator=torch.Generator().manual_seed(0))
    _, test = records(experiment.data, experiment.model)
    kept = [test.inputs(torch.arange(min(ASKED, len(test)))).float()] if len(test) else []
    x = torch.cat([*kept, drawn, 2 * drawn - 1, torch.zeros(1, *shape)])
    outputs = Net(net, shape, compiled=False).logits(x)
    return Answers(net, x, outputs, say_front(experiment.model, form))


def calm(experiment: Experiment) -> Experiment:
    """Without the faults of a device."""
    numbers = experiment.arithmetic.model_copy(update={"fault_rate": 0.0})
    return experiment.model_copy(update={"arithmetic": numbers})


def told_of(front: str) -> list[str]:
    """What must be done to records before the model reads them."""
    return [f"reads what [model] {front} gives, which is not exported"] if front else []
