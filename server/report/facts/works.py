"""What a run's settings say of its work: all, those that make it, and names of its parts."""

import hashlib

from privacy.documents import to_json
from server.experiment.experiment import Experiment

# What does not alter what was trained, or is solved from the rest.
BESIDES = (
    "title", "data.path", "budget.noise_multiplier", "federation.workers", "federation.timeout_s"
)  # fmt: skip
BESIDES_TABLES = ("record.", "attack.")
# models that are affine between their activations; and those that are with such norms
AFFINE = ("linear", "scatter", "backbone", "perceptron", "tabular", "strided")
OF_MEANS = {"convnet": ("auto", "none", "batch"), "cnn1d": ("none", "batch")}


def flatten(experiment: Experiment, written: bool = False) -> dict[str, str]:
    """Every setting, or those that are not the defaults: `section.key` -> its value as TOML writes
    it, nearly."""
    flat = {}
    told = experiment.model_dump(mode="json", exclude_none=True, exclude_defaults=written)
    for section, table in told.items():
        pairs = table.items() if isinstance(table, dict) else [("", table)]
        for key, value in pairs:
            text = value if isinstance(value, str) else to_json(value)
            flat[f"{section}.{key}" if key else section] = text
    return flat


def group_of(experiment: Experiment) -> dict[str, str]:
    """Those that alter what is trained: runs that are alike in them are repeats."""
    unused = []
    if experiment.budget.unit == "none":
        unused += ["budget.epsilon", "budget.delta", "budget.clip"]
    if experiment.arithmetic.name == "float":
        unused += [key for key in flatten(experiment) if key.startswith("arithmetic.")][1:]
    besides = {"seed", *BESIDES, *unused}
    return {
        key: value
        for key, value in flatten(experiment).items()
        if key not in besides and not key.startswith(BESIDES_TABLES)
    }


def work_of(experiment: Experiment) -> str:
    """What of the settings makes the result and is not a default, as a digest: a setting that a
    later version adds does not make the same experiment another."""
    own, makes = flatten(experiment, written=True), group_of(experiment)
    kept = sorted(pair for pair in own.items() if pair[0] in makes)
    return hashlib.sha256(to_json(kept).encode()).hexdigest()[:12]


def arithmetic_name(experiment: Experiment) -> str:
    """In words: `fixed, 8 bit`."""
    a = experiment.arithmetic
    if a.name == "fixed":
        return f"fixed, {a.bits} bit"
    return f"stochastic, L = {a.stream_length}" if a.name == "stochastic" else a.name


def scheme_of(experiment: Experiment) -> str:
    """The scheme under which the model can be evaluated encrypted; empty if none."""
    model, numbers = experiment.model, experiment.arithmetic.formats
    if numbers.activation_bits == 1:
        return "boolean" if model.name == "perceptron" and numbers.kind == "binary" else ""
    means = model.pooling == "mean" and model.norm in OF_MEANS.get(model.name, ())
    whole = numbers.activation_bits == 32 and numbers.kind != "spiking"
    return "ckks" if whole and (means or model.name in AFFINE) else ""


def partition_of(experiment: Experiment) -> str:
    """How records are dealt, in words."""
    data = experiment.data
    more = {"dirichlet": f", alpha {data.alpha:g}", "shards": f", {data.shards} a client"}
    return data.partition + more.get(data.partition, "")
