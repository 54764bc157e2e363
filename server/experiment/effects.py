"""Which settings have an effect, and when. One that would change nothing is refused.

Every setting of an experiment is in `ALWAYS`, in `EFFECTS`, or among the options of a strategy,
which refuses those that it does not take.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from clients.data.files import is_table
from clients.data.sources.arrays import holds_arrays
from clients.data.sources.hub import is_hub
from clients.models import MODELS, architecture_of
from clients.models.fronts import stands_on_backbone
from clients.models.sources import is_own
from server.experiment.experiment import Experiment

Test = Callable[[Experiment], bool]


class Effect(NamedTuple):
    """When a setting is read.

    Attributes:
        when: is it read in such an experiment?
        needs: the same in words, after "needs".
        by: settings that decide it.
    """

    when: Test
    needs: str
    by: tuple[str, ...]


ALWAYS = frozenset({
    "title", "seed", "data.name", "data.path", "data.task",  # any other task is for a file
    "model.name", "model.front", "model.adapt",
    "arithmetic.name", "compression.bits", "pruning.weight", "budget.unit",
    "training.sample_rate", "training.local_steps", "training.learning_rate", "training.optimizer",
    "federation.clients", "federation.cohort", "federation.rounds", "federation.engine",
    "federation.client_evaluation", "federation.secure_aggregation",
    "record.updates", "record.masked",  # `masked` is refused where there are no masks
    "attack.shadows", "attack.seed", "attack.reconstruct",
})  # fmt: skip

WORDS = ("fixed", "ternary", "binary")
# A run's own file has these filled in, whether they are read or not.
RESOLVED = frozenset(
    ("training.noise", "data.nominal_records", "data.shape", "model.sha256", "model.weights_sha256")
)
# Of the arithmetic, what is read on the way back only.
BACKWARD = tuple(
    f"arithmetic.{key}" for key in ("slope", "surrogate", "gradient_bits", "accumulator_bits")
)


def _model_reads(key: str) -> Test:
    def reads(experiment: Experiment) -> bool:
        known = architecture_of(experiment.model).reads
        return known is None or key in known

    return reads


def _of_models(key: str) -> Effect:
    those = [name for name, model in MODELS.items() if key in (model.reads or ())]
    return Effect(_model_reads(key), f"[model] name = {_either(those)}", ("model.name",))


def _has_hidden_layers(experiment: Experiment) -> bool:
    reads = architecture_of(experiment.model).reads
    if reads is None or "hidden" not in reads:
        return reads != ()
    return bool(experiment.model.hidden) or "kernel" in reads  # a convolution comes before


def _reads_pixels(experiment: Experiment) -> bool:
    chosen = experiment.model
    own = architecture_of(chosen).front
    return chosen.front == "none" or (chosen.front, own) == ("auto", "none")


def _is_file(experiment: Experiment) -> bool:
    return experiment.data.name == "file"


def _is_table(experiment: Experiment) -> bool:
    path = experiment.data.path or experiment.data.test_path
    return is_table(path) or is_hub(path)


def _has_columns(experiment: Experiment) -> bool:
    path = experiment.data.path or experiment.data.test_path
    return _is_table(experiment) or path.lower().endswith(".npz") or holds_arrays(Path(path))


def _simulates(experiment: Experiment) -> bool:
    return experiment.federation.engine != "superlink" and experiment.data.partition != "nodes"


def _of_split(experiment: Experiment) -> bool:
    """Is it read where records are dealt out, or where their nominal number is?"""
    told = experiment.budget.unit != "none" and not experiment.data.nominal_records
    return _simulates(experiment) or told


def _in_words(experiment: Experiment) -> bool:
    return experiment.arithmetic.name in WORDS


def _one_bit(experiment: Experiment) -> bool:
    return experiment.arithmetic.formats.activation_bits == 1


def _in_streams(experiment: Experiment) -> bool:
    return experiment.arithmetic.name == "stochastic"


def _is_summed(experiment: Experiment) -> bool:
    return experiment.federation.secure_aggregation != "none"


def _is_masked(experiment: Experiment) -> bool:
    return experiment.federation.secure_aggregation == "masks"


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names)) or "another"


_PROMISE = Effect(lambda e: e.budget.unit != "none", "a [budget] unit", ("budget.unit",))
_WORDS = Effect(_in_words, f"[arithmetic] name = {_either(WORDS)}", ("arithmetic.name",))
_STREAMS = Effect(_in_streams, "[arithmetic] name = 'stochastic'", ("arithmetic.name",))
_SPIKES = Effect(
    lambda e: e.arithmetic.name == "spiking", "[arithmetic] name = 'spiking'", ("arithmetic.name",)
)
_SUMMED = Effect(
    _is_summed,
    "[federation] secure_aggregation = 'masks' or 'ckks'",
    ("federation.secure_aggregation",),
)
_MASKED = Effect(_is_masked, "[federation] secure_aggregation = 'masks'", _SUMMED.by)
_WEIGHTED = Effect(
    lambda e: _is_summed(e) and e.budget.unit != "client",
    "[federation] secure_aggregation, and another [budget] unit than 'client'",
    ("federation.secure_aggregation", "budget.unit"),
)
_OWN = Effect(
    lambda e: is_own(e.model.name),
    "[model] name = 'FILE.py:NAME', a file of your own",
    ("model.name",),
)
_BACKBONE = Effect(
    lambda e: stands_on_backbone(e.model),
    "[model] name or front = 'backbone'",
    ("model.name", "model.front"),
)
_ROUNDS = Effect(lambda e: e.federation.rounds > 1, "more than one round", ("federation.rounds",))
_SUPERLINK = Effect(
    lambda e: e.federation.engine == "superlink",
    "[federation] engine = 'superlink'",
    ("federation.engine",),
)
_SIMULATED = ("federation.engine", "data.partition")

_FILE = Effect(_is_file, "[data] name = 'file'", ("data.name",))
_PIXELS = Effect(lambda e: e.data.name != "file", "pictures of [data] name = 'idx'", ("data.name",))

_BY_PATH = ("data.name", "data.path")
_TABLE = Effect(lambda e: _is_file(e) and _is_table(e), "a table at path", _BY_PATH)
_NAMED = Effect(lambda e: _is_file(e) and _has_columns(e), "a table, or arrays, at path", _BY_PATH)
_FILES = Effect(
    lambda e: _is_file(e) and not _is_table(e),
    "a folder, tar or zip of pictures or sounds at path",
    _BY_PATH,
)

EFFECTS: dict[str, Effect] = {
    **{f"data.{key}": _FILE for key in ("schema", "test_path", "test", "person")},
    "data.test_share": Effect(
        lambda e: _is_file(e) and not (e.data.test or e.data.test_path),
        "a file, and neither [data] test nor test_path",
        ("data.name", "data.test", "data.test_path"),
    ),
    "data.target": _NAMED,
    "data.windows": _TABLE,
    "data.pattern": _FILES,
    "data.crop": _PIXELS,
    "data.classes": _PIXELS,
    "data.limit": Effect(_of_split, "records that are dealt out here", _SIMULATED),
    "data.held_out": Effect(_of_split, "records that are dealt out here", _SIMULATED),
    "data.partition": Effect(
        lambda e: e.federation.engine != "superlink" or e.data.partition == "nodes",
        "a simulation: devices of their own have their own records",
        ("federation.engine",),
    ),
    "data.alpha": Effect(
        lambda e: e.data.partition == "dirichlet" and _simulates(e),
        "[data] partition = 'dirichlet'",
        _SIMULATED,
    ),
    "data.shards": Effect(
        lambda e: e.data.partition == "shards" and _simulates(e),
        "[data] partition = 'shards'",
        _SIMULATED,
    ),
    "data.shape": Effect(
        lambda e: _is_file(e) and not _simulates(e),
        "a file, on devices of their own",
        ("data.name", *_SIMULATED),
    ),
    "data.nominal_records": _PROMISE,
    **{
        f"model.{key}": _of_models(key)
        for key in (
            *("hidden", "norm", "pooling", "channels", "kernel", "stride"),
            *("width", "depth", "latent"),
        )
    },
    **{f"model.{key}": _OWN for key in ("options", "sha256")},
    **{f"model.{key}": _BACKBONE for key in ("weights", "weights_sha256", "size")},
    "model.pool": Effect(_reads_pixels, "a model that reads pixels", ("model.name",)),
    "model.activation": Effect(
        lambda e: _model_reads("activation")(e) and not _one_bit(e) and _has_hidden_layers(e),
        "hidden layers of a model that does not choose its own activation, of more than one bit",
        ("model.name", "model.hidden", "arithmetic.name", "arithmetic.activation_bits"),
    ),
    "arithmetic.bits": Effect(
        lambda e: e.arithmetic.name == "fixed", "[arithmetic] name = 'fixed'", ("arithmetic.name",)
    ),
    **{
        f"arithmetic.{key}": _WORDS
        for key in ("activation_bits", "gradient_bits", "scaling", "accumulator_bits")
    },
    "arithmetic.rounding": Effect(
        lambda e: (
            e.arithmetic.name == "fixed"
            or (_in_words(e) and 1 < e.arithmetic.formats.activation_bits < 32)
        ),
        "words of 2 to 8 bits",
        ("arithmetic.name", "arithmetic.activation_bits"),
    ),
    "arithmetic.projection": Effect(
        lambda e: e.arithmetic.name in ("fixed", "ternary"),
        "[arithmetic] name = 'fixed' or 'ternary'",
        ("arithmetic.name",),
    ),
    "arithmetic.threshold": Effect(
        lambda e: _SPIKES.when(e) or (_in_words(e) and _one_bit(e) and _reads_pixels(e)),
        "[arithmetic] name = 'spiking', or activation_bits = 1 and a model that reads pixels",
        ("arithmetic.name", "arithmetic.activation_bits", "model.name"),
    ),
    **{f"arithmetic.{key}": _STREAMS for key in ("stream_length", "lfsr_bits", "counter_bits")},
    **{
        f"arithmetic.{key}": _SPIKES
        for key in ("time_steps", "coding", "decay", "reset", "surrogate")
    },
    "arithmetic.gain": Effect(
        lambda e: _in_streams(e) or (_in_words(e) and e.arithmetic.scaling == "none"),
        "[arithmetic] name = 'stochastic', or scaling = 'none'",
        ("arithmetic.name", "arithmetic.scaling"),
    ),
    "arithmetic.slope": Effect(
        lambda e: _one_bit(e) and _has_hidden_layers(e),
        "hidden layers of one-bit activations",
        ("arithmetic.name", "arithmetic.activation_bits", "model.name", "model.hidden"),
    ),
    "arithmetic.fault_rate": Effect(
        lambda e: e.arithmetic.name not in ("float", "spiking"),
        "[arithmetic] in words or streams",
        ("arithmetic.name",),
    ),
    "training.schedule": _ROUNDS,
    "training.momentum": Effect(
        lambda e: e.training.optimizer == "sgd" and e.training.local_steps > 1,
        "[training] optimizer = 'sgd', and more than one of local_steps",
        ("training.optimizer", "training.local_steps"),
    ),
    "training.distortion": Effect(_reads_pixels, "a model that reads pixels", ("model.name",)),
    "training.gradient_norm": Effect(
        lambda e: e.budget.unit != "record",
        "another [budget] unit than 'record', whose clip it would be",
        ("budget.unit",),
    ),
    "training.noise": _PROMISE,
    "training.per_sample": Effect(
        lambda e: e.budget.unit == "record" or e.training.per_sample != "hooks",
        "[budget] unit = 'record'",
        ("budget.unit",),
    ),
    "pruning.gradual": Effect(
        lambda e: e.pruning.weight > 0, "[pruning] weight above 0", ("pruning.weight",)
    ),
    "compression.block": Effect(
        lambda e: e.compression.bits != 32,
        "[compression] bits of fewer than 32",
        ("compression.bits",),
    ),
    **{f"budget.{key}": _PROMISE for key in ("epsilon", "delta", "noise_multiplier", "clip")},
    "federation.evaluate_every": _ROUNDS,
    "federation.timeout_s": Effect(
        lambda e: e.federation.engine != "cohort",
        "[federation] engine = 'ray' or 'superlink': in this process nobody is late",
        ("federation.engine",),
    ),
    "federation.workers": Effect(
        lambda e: e.federation.engine == "cohort",
        "[federation] engine = 'cohort'",
        ("federation.engine",),
    ),
    **{f"federation.{key}": _SUPERLINK for key in ("address", "root_certificates")},
    "secure.survivors": _SUMMED,
    "secure.groups": _SUMMED,
    "secure.threshold": _MASKED,
    "secure.neighbours": _MASKED,
    "secure.bits": _SUMMED,
    "secure.value_range": _WEIGHTED,
    "secure.most_examples": _WEIGHTED,
    "secure.dishonest": Effect(
        lambda e: e.shares_noise,
        "[federation] secure_aggregation, and [budget] unit = 'client'",
        _WEIGHTED.by,
    ),
    "attack.candidates": Effect(
        lambda e: e.record.updates or e.record.masked,
        "updates that the run kept: [record] updates = true, or masked = true",
        ("record.updates", "record.masked"),
    ),
}
