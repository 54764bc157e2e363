"""Reconstruction, played out under a run's own settings: what could be drawn from its updates?

The run's own clients trained on many records at once; here its model, training code and budget are
given victims for whom an attack has the best chance: one record in an update, or a class that only
the victim holds. What comes out is held against held-out people's records of the same class.
"""

from collections.abc import Callable

from attacks.settings import Attack
from attacks.tape import Tape
from clients.data.sets import load
from privacy.files import is_file
from server.adversary.reconstruction import generators
from server.adversary.reconstruction.inversions import invert_updates
from server.adversary.reconstruction.victims import Found
from server.experiment.experiment import Experiment
from server.run.directory import Run
from server.run.merit import names_of
from server.run.origin import WHOLE

ADVERSARIES: tuple[str, ...] = ("malicious_client", "server")
SUMS_ONLY = "behind secure aggregation the server sees no single client's update"

Tell = Callable[[str], None]


def reconstruct(run: Run, tape: Tape, settings: Attack, tell: Tell) -> Found:
    """Inversion by the server, generators by a client and by the server; pictures in the run."""
    experiment = run.experiment
    reason = _why_not(experiment, tape, settings) or _why_not_cut(run)
    if reason:
        return {"inversion": {"left_out": reason}, "generators": {"left_out": reason}}
    found: Found
    adversaries = ADVERSARIES
    if tape.sums_only:
        found = {"inversion": {"left_out": SUMS_ONLY}, "server_generator": {"left_out": SUMS_ONLY}}
        adversaries = ADVERSARIES[:1]
    else:
        found = invert_updates(run, tape, settings.seed)
    reason = "" if settings.generators else "[attack] generators = false"
    if reason := reason or generators.why_not(tape, settings.seed, names_of(load(experiment.data))):
        return found | {"generators": {"left_out": reason}}
    plays = 2 * len(adversaries) * generators.GAN_PAIRS
    tell(f"generators: {plays} federations of {generators.GAN_ROUNDS} rounds ...")
    return found | {"generators": generators.play_generators(run, tape, adversaries, settings.seed)}


def _why_not_cut(run: Run) -> str | None:
    if not is_file(run.path / WHOLE):
        return None
    return "this net was cut out of one that was trained: attack that run, whose updates were sent"


def _why_not(experiment: Experiment, tape: Tape, settings: Attack) -> str | None:
    if not settings.reconstruct:
        return "[attack] reconstruct = false"
    if reason := why_no_gradient(experiment):
        return f"{reason}; attack a perceptron or a convnet, not in streams"
    if experiment.budget.unit == "client":
        return "under unit = 'client' the noise is on the mean of all clients, not on one's update"
    return None


def why_no_gradient(experiment: Experiment) -> str | None:
    """What keeps a gradient from what the model reads, if anything does."""
    if experiment.arithmetic.name == "stochastic":
        return "the model reads streams of bits, through which no gradient reaches the record"
    if experiment.arithmetic.name == "spiking" and experiment.arithmetic.coding != "current":
        return "the model reads spikes, through which no gradient reaches the record"
    return None
