"""What holds of an experiment: the conditions under which a setting has an effect."""

from collections.abc import Callable
from pathlib import Path

from clients.data.settings import holds_arrays, is_hub, is_table
from clients.models.settings import architecture_of
from server.experiment.experiment import Experiment

Test = Callable[[Experiment], bool]

WORDS = ("fixed", "ternary", "binary")
TIMED = (("spiking", "pair"), ("spiking", "triplet"))


def model_reads(key: str) -> Test:
    def reads(experiment: Experiment) -> bool:
        known = architecture_of(experiment.model).reads
        return known is None or key in known

    return reads


def has_hidden_layers(experiment: Experiment) -> bool:
    reads = architecture_of(experiment.model).reads
    if reads is None or "hidden" not in reads:
        return reads != ()
    return bool(experiment.model.hidden) or "kernel" in reads  # a convolution comes before


def reads_pixels(experiment: Experiment) -> bool:
    chosen = experiment.model
    own = architecture_of(chosen).front
    return chosen.front == "none" or (chosen.front, own) == ("auto", "none")


def is_file(experiment: Experiment) -> bool:
    return experiment.data.name == "file"


def is_tabular(experiment: Experiment) -> bool:
    path = experiment.data.path or experiment.data.test_path
    return is_table(path) or is_hub(path)


def has_columns(experiment: Experiment) -> bool:
    path = experiment.data.path or experiment.data.test_path
    return is_tabular(experiment) or path.lower().endswith(".npz") or holds_arrays(Path(path))


def simulates(experiment: Experiment) -> bool:
    return experiment.federation.engine != "superlink" and experiment.data.partition != "nodes"


def of_split(experiment: Experiment) -> bool:
    """Is it read where records are dealt out, or where their nominal number is?"""
    told = experiment.budget.unit != "none" and not experiment.data.nominal_records
    return simulates(experiment) or told


def in_words(experiment: Experiment) -> bool:
    return experiment.arithmetic.name in WORDS


def one_bit(experiment: Experiment) -> bool:
    return experiment.arithmetic.formats.activation_bits == 1


def by_itself(experiment: Experiment) -> bool:
    """Do hidden layers learn by a rule of their own?"""
    numbers = experiment.arithmetic
    return numbers.name in ("p-bits", "invertible") or (numbers.name, numbers.learning) in TIMED


def in_streams(experiment: Experiment) -> bool:
    return experiment.arithmetic.name == "stochastic"


def is_summed(experiment: Experiment) -> bool:
    return experiment.federation.secure_aggregation != "none"


def is_masked(experiment: Experiment) -> bool:
    return experiment.federation.secure_aggregation == "masks"


def sees_clients(experiment: Experiment) -> bool:
    """Does a trusted server see each client's update, and protect it as a whole?"""
    return experiment.budget.unit == "client" and not is_summed(experiment)
