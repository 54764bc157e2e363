"""Which settings have an effect, and when. One that would change nothing is refused.

Every setting of an experiment is in `ALWAYS`, in `EFFECTS`, or among the options of a strategy,
which refuses those that it does not take.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clients.models.settings import EVENED, MODELS, stands_on_backbone
from clients.models.sources import is_own
from clients.training.smaller.supernet import KINDS
from server.experiment.conditions import (
    WORDS,
    Test,
    by_itself,
    has_columns,
    has_hidden_layers,
    in_streams,
    in_words,
    is_file,
    is_masked,
    is_summed,
    is_tabular,
    model_reads,
    of_split,
    one_bit,
    reads_pixels,
    sees_clients,
    simulates,
)


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
    "model.name", "model.front", "model.adapt", "arithmetic.name", "compression.bits",
    "pruning.weight", "pruning.structured", "pruning.activation", "budget.unit",
    "supernet.widths", "supernet.depths", "supernet.trims", "supernet.bits",  # refused without any
    "training.sample_rate", "training.local_steps", "training.learning_rate", "training.optimizer",
    "training.device",  # refused where there is none
    "federation.clients", "federation.cohort", "federation.rounds", "federation.engine",
    "federation.client_evaluation", "federation.secure_aggregation",
    "record.updates", "record.masked",  # `masked` is refused where there are no masks
    "attack.shadows", "attack.seed", "attack.reconstruct",
})  # fmt: skip

# A run's own file has these filled in, whether they are read or not.
RESOLVED = frozenset(
    ("training.noise", "data.nominal_records", "data.shape", "model.sha256", "model.weights_sha256")
)
# Of the arithmetic, what is read on the way back only.
BACKWARD = tuple(
    f"arithmetic.{key}"
    for key in ("slope", "surrogate", "sweeps", "gradient_bits", "accumulator_bits")
)


def _of_models(key: str) -> Effect:
    those = [name for name, model in MODELS.items() if key in (model.reads or ())]
    return Effect(model_reads(key), f"[model] name = {_either(those)}", ("model.name",))


def _numbers(*names: str) -> Effect:
    return Effect(
        lambda e: e.arithmetic.name in names,
        f"[arithmetic] name = {_either(names)}",
        ("arithmetic.name",),
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names)) or "another"


_PROMISE = Effect(lambda e: e.budget.unit != "none", "a [budget] unit", ("budget.unit",))
_WORDS, _STREAMS, _SPIKES = _numbers(*WORDS), _numbers("stochastic"), _numbers("spiking")
_SURROGATES = Effect(
    lambda e: _SPIKES.when(e) and not by_itself(e),
    "[arithmetic] name = 'spiking' and learning = 'surrogate'",
    ("arithmetic.name", "arithmetic.learning"),
)
_SUMMED = Effect(
    is_summed,
    "[federation] secure_aggregation = 'masks' or 'ckks'",
    ("federation.secure_aggregation",),
)
_MASKED = Effect(is_masked, "[federation] secure_aggregation = 'masks'", _SUMMED.by)
_WEIGHTED = Effect(
    lambda e: is_summed(e) and e.budget.unit != "client",
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
_EVENED = Effect(
    lambda e: e.model.front in EVENED, f"[model] front = {_either(EVENED)}", ("model.front",)
)
_ROUNDS = Effect(lambda e: e.federation.rounds > 1, "more than one round", ("federation.rounds",))
_SUPERLINK = Effect(
    lambda e: e.federation.engine == "superlink",
    "[federation] engine = 'superlink'",
    ("federation.engine",),
)
_SIMULATED = ("federation.engine", "data.partition")

_FILE = Effect(is_file, "[data] name = 'file'", ("data.name",))
_PIXELS = Effect(lambda e: e.data.name != "file", "pictures of [data] name = 'idx'", ("data.name",))

_BY_PATH = ("data.name", "data.path")
_TABLE = Effect(lambda e: is_file(e) and is_tabular(e), "a table at path", _BY_PATH)
_NAMED = Effect(lambda e: is_file(e) and has_columns(e), "a table, or arrays, at path", _BY_PATH)
_FILES = Effect(
    lambda e: is_file(e) and not is_tabular(e),
    "a folder, tar or zip of pictures or sounds at path",
    _BY_PATH,
)

EFFECTS: dict[str, Effect] = {
    **{f"data.{key}": _FILE for key in ("schema", "test_path", "test", "person")},
    "data.test_share": Effect(
        lambda e: is_file(e) and not (e.data.test or e.data.test_path),
        "a file, and neither [data] test nor test_path",
        ("data.name", "data.test", "data.test_path"),
    ),
    "data.target": _NAMED,
    "data.windows": _TABLE,
    "data.pattern": _FILES,
    "data.crop": _PIXELS,
    "data.classes": _PIXELS,
    "data.limit": Effect(of_split, "records that are dealt out here", _SIMULATED),
    "data.held_out": Effect(of_split, "records that are dealt out here", _SIMULATED),
    "data.partition": Effect(
        lambda e: e.federation.engine != "superlink" or e.data.partition == "nodes",
        "a simulation: devices of their own have their own records",
        ("federation.engine",),
    ),
    "data.alpha": Effect(
        lambda e: e.data.partition == "dirichlet" and simulates(e),
        "[data] partition = 'dirichlet'",
        _SIMULATED,
    ),
    "data.shards": Effect(
        lambda e: e.data.partition == "shards" and simulates(e),
        "[data] partition = 'shards'",
        _SIMULATED,
    ),
    "data.shape": Effect(
        lambda e: is_file(e) and not simulates(e),
        "a file, on devices of their own",
        ("data.name", *_SIMULATED),
    ),
    "data.nominal_records": _PROMISE,
    **{
        f"model.{key}": _of_models(key)
        for key in (
            *("hidden", "norm", "pooling", "channels", "kernel", "stride"),
            *("width", "depth", "trim", "latent"),
        )
    },
    **{f"model.{key}": _OWN for key in ("options", "sha256")},
    **{f"model.{key}": _BACKBONE for key in ("weights", "weights_sha256", "size")},
    "model.axes": _EVENED,
    "model.pool": Effect(reads_pixels, "a model that reads pixels", ("model.name",)),
    "model.activation": Effect(
        lambda e: model_reads("activation")(e) and not one_bit(e) and has_hidden_layers(e),
        "hidden layers of a model that does not choose its own activation, of more than one bit",
        ("model.name", "model.hidden", "arithmetic.name", "arithmetic.activation_bits"),
    ),
    "arithmetic.bits": _numbers("fixed"),
    **{
        f"arithmetic.{key}": _WORDS
        for key in ("activation_bits", "gradient_bits", "scaling", "accumulator_bits")
    },
    "arithmetic.rounding": Effect(
        lambda e: (
            e.arithmetic.name == "fixed"
            or (in_words(e) and 1 < e.arithmetic.formats.activation_bits < 32)
        ),
        "words of 2 to 8 bits",
        ("arithmetic.name", "arithmetic.activation_bits"),
    ),
    "arithmetic.projection": _numbers("fixed", "ternary"),
    "arithmetic.threshold": Effect(
        lambda e: (
            _numbers("spiking", "invertible").when(e)
            or (in_words(e) and one_bit(e) and reads_pixels(e))
        ),
        "[arithmetic] name = 'spiking' or 'invertible', or activation_bits = 1 and a model that "
        "reads pixels",
        ("arithmetic.name", "arithmetic.activation_bits", "model.name"),
    ),
    **{f"arithmetic.{key}": _STREAMS for key in ("stream_length", "lfsr_bits", "counter_bits")},
    **{f"arithmetic.{key}": _SPIKES for key in ("coding", "decay", "learning")},
    "arithmetic.time_steps": _numbers("spiking", "p-bits"),
    "arithmetic.sweeps": _numbers("p-bits"),
    **{f"arithmetic.{key}": _SURROGATES for key in ("reset", "surrogate")},
    "arithmetic.rate": Effect(
        lambda e: _SPIKES.when(e) and e.arithmetic.coding == "rate",
        "[arithmetic] name = 'spiking' and coding = 'rate'",
        ("arithmetic.name", "arithmetic.coding"),
    ),
    "arithmetic.gain": Effect(
        lambda e: in_streams(e) or (in_words(e) and e.arithmetic.scaling == "none"),
        "[arithmetic] name = 'stochastic', or scaling = 'none'",
        ("arithmetic.name", "arithmetic.scaling"),
    ),
    "arithmetic.slope": Effect(
        lambda e: one_bit(e) and has_hidden_layers(e) and not by_itself(e),
        "hidden layers of one-bit activations, which learn by a surrogate",
        (*_SURROGATES.by, "arithmetic.activation_bits", "model.name", "model.hidden"),
    ),
    "arithmetic.fault_rate": Effect(
        lambda e: e.arithmetic.name not in ("float", "spiking", "p-bits", "invertible"),
        "[arithmetic] in words or streams",
        ("arithmetic.name",),
    ),
    "training.schedule": _ROUNDS,
    "training.momentum": Effect(
        lambda e: e.training.optimizer == "sgd" and e.training.local_steps > 1,
        "[training] optimizer = 'sgd', and more than one of local_steps",
        ("training.optimizer", "training.local_steps"),
    ),
    "training.distortion": Effect(reads_pixels, "a model that reads pixels", ("model.name",)),
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
    **{
        f"supernet.{key}": Effect(
            lambda e: e.supernet.trains,
            "[supernet] widths, depths, trims or bits",
            tuple(f"supernet.{kind}" for kind in KINDS),
        )
        for key in ("sampled", "distil", "progressive")
    },
    "pruning.gradual": Effect(
        lambda e: e.pruning.final > 0, "[pruning] weight above 0", ("pruning.weight",)
    ),
    "compression.block": Effect(
        lambda e: e.compression.bits != 32,
        "[compression] bits of fewer than 32",
        ("compression.bits",),
    ),
    **{f"budget.{key}": _PROMISE for key in ("epsilon", "delta", "noise_multiplier", "clip")},
    "budget.clip_quantile": Effect(
        sees_clients,
        "[budget] unit = 'client' and [federation] secure_aggregation = 'none', a server that "
        "counts whose updates were clipped",
        ("budget.unit",),  # no sum that hides them takes it away without a word
    ),
    "budget.clip_rate": Effect(
        lambda e: sees_clients(e) and e.budget.clip_quantile > 0,
        "[budget] clip_quantile above 0",
        ("budget.unit", "budget.clip_quantile"),
    ),
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
    "attack.generators": Effect(
        lambda e: e.attack.reconstruct,
        "reconstruction: [attack] reconstruct = true",
        ("attack.reconstruct",),
    ),
}
