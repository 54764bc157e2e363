"""Settings without effect: what the table admits is read, and what it does not is refused."""

from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from privacy.errors import SettingsError
from privacy.settings import Section
from server.engines.launch import launch
from server.experiment.effects import ALWAYS, BACKWARD, EFFECTS, RESOLVED
from server.experiment.experiment import Experiment
from server.experiment.idle import default_of
from server.experiment.loading import load_experiment

# One other value of each, within its range.
OTHER = {
    "title": "another", "seed": 5, "data.limit": 300, "data.crop": 1, "data.partition": "shards",
    "data.alpha": 0.7, "data.shards": 3, "data.held_out": 0.2, "data.classes": 10,
    "data.nominal_records": 250, "data.test_path": "more.csv", "data.target": "y",
    "data.person": "whose", "data.pattern": "{label}/x.png", "data.test_share": 0.3,
    "model.hidden": [7], "model.activation": "tanh",
    "model.norm": "group", "model.pooling": "mean",
    "model.pool": 2, "model.channels": 2, "model.kernel": 3,
    "model.stride": 2, "model.width": 4, "model.depth": 1, "model.trim": 1, "model.latent": 3,
    "model.size": 64, "model.axes": 50,
    "arithmetic.bits": 4, "arithmetic.activation_bits": 4,
    "arithmetic.gradient_bits": 4, "arithmetic.rounding": "stochastic",
    "arithmetic.projection": "optimised", "arithmetic.scaling": "tensor",
    "arithmetic.threshold": 0.4, "arithmetic.stream_length": 32, "arithmetic.lfsr_bits": 7,
    "arithmetic.counter_bits": 10, "arithmetic.gain": 2.0, "arithmetic.slope": 2.0,
    "arithmetic.time_steps": 3, "arithmetic.coding": "rate", "arithmetic.decay": 0.5,
    "arithmetic.reset": "zero", "arithmetic.surrogate": "arctan", "arithmetic.rate": 0.5,
    "arithmetic.learning": "triplet", "arithmetic.sweeps": 2,
    "arithmetic.fault_rate": 0.1, "training.sample_rate": 0.2, "training.local_steps": 3,
    "training.learning_rate": 0.3, "training.schedule": "cosine", "training.momentum": 0.5,
    "training.optimizer": "adam", "training.distortion": 0.2, "training.gradient_norm": 1.0,
    "training.noise": "secure", "training.per_sample": "hooks", "compression.bits": 4,
    "training.device": "auto",
    "compression.block": 64, "budget.epsilon": 4.0, "budget.delta": 1e-6,
    "budget.noise_multiplier": 2.0, "budget.clip": 0.5, "budget.clip_quantile": 0.6,
    "budget.clip_rate": 0.5, "federation.clients": 5,
    "federation.cohort": 3, "federation.rounds": 3, "federation.evaluate_every": 2,
    "federation.client_evaluation": True, "federation.timeout_s": 9.0, "federation.workers": 1,
    "federation.address": "127.0.0.1:9093", "federation.root_certificates": "ca.pem",
    "secure.survivors": 0.8, "secure.threshold": 0.6, "secure.neighbours": 3, "secure.bits": 64,
    "secure.value_range": 2.0, "secure.most_examples": 500, "secure.dishonest": 1,
    "secure.groups": 3, "record.updates": True, "attack.shadows": 6, "attack.candidates": 90,
    "attack.seed": 3, "attack.reconstruct": False, "attack.generators": False,
    "pruning.weight": 0.5, "pruning.gradual": True, "supernet.sampled": 2, "supernet.distil": False,
    "supernet.progressive": 1,
}  # fmt: skip
NOT_ONE_NUMBER = {  # of several choices, or refused by what else is set
    "data.name", "data.path", "data.schema", "data.test", "data.task", "data.windows",
    "data.shape",
    "model.name", "model.front", "model.adapt", "model.options", "model.sha256",
    "model.weights", "model.weights_sha256",
    "arithmetic.name", "arithmetic.accumulator_bits", "budget.unit",
    "federation.engine", "federation.secure_aggregation", "record.masked",
    "pruning.structured", "pruning.activation", "supernet.widths", "supernet.depths",
    "supernet.trims", "supernet.bits",
}  # fmt: skip

# Kinds of experiments. Between them, every setting that a process can read is read.
KINDS = {
    "record": ["record.updates=true", "training.momentum=0.5"],
    "client": ["budget.unit=client", "budget.clip_quantile=0.5"],
    "pruned": ["budget.unit=none", "pruning.weight=0.5"],
    "supernet": ["budget.unit=none", "supernet.widths=[0.5]"],
    "open": ["budget.unit=none", "data.partition=dirichlet"],
    "shards": ["budget.unit=none", "data.partition=shards", "compression.bits=4"],
    "convnet": ["budget.unit=none", "data.name=idx", "data.path={pictures}", "model.name=convnet"],
    "strided": ["budget.unit=none", "model.name=strided", "model.kernel=3"],
    "scatter": ["model.name=scatter"],
    "strokes": ["model.name=linear", "model.front=strokes"],
    "table": [
        "budget.unit=none", "data.name=file", "data.path={table}", "data.target=y",
        "data.person=whose", "data.test.whose=9", "model.front=none",
    ],
    "photographs": [
        "budget.unit=none", "data.name=file", "data.path={photographs}", "data.pattern={photo}",
        "data.test_share=0.2",
    ],
    "ds-cnn": ["budget.unit=none", "model.name=ds-cnn"],
    "cnn1d": ["budget.unit=none", "model.name=cnn1d"],
    "fixed": ["budget.unit=none", "arithmetic.name=fixed"],
    "binary": [
        "budget.unit=none", "arithmetic.name=binary", "arithmetic.activation_bits=1",
        "arithmetic.scaling=none",
    ],
    "streams": ["budget.unit=none", "arithmetic.name=stochastic"],
    "spiking": ["budget.unit=none", "arithmetic.name=spiking"],
    "p-bits": ["budget.unit=none", "arithmetic.name=p-bits"],
    "invertible": ["budget.unit=none", "arithmetic.name=invertible"],
    "by rate": ["budget.unit=none", "arithmetic.name=spiking", "arithmetic.coding=rate"],
    "by timing": [
        "budget.unit=none",
        "arithmetic.name=spiking",
        "arithmetic.coding=rate",
        "arithmetic.learning=pair",
    ],
    "masks": ["federation.secure_aggregation=masks", "record.masked=true"],
    "shared": ["federation.secure_aggregation=masks", "budget.unit=client"],
}  # fmt: skip
ONCE = ["federation.rounds=2", "training.local_steps=2"]


def every_setting():
    """The dotted keys of an experiment, without a strategy's options."""
    for section, field in Experiment.model_fields.items():
        kind = field.annotation
        if not isinstance(kind, type) or not issubclass(kind, Section):
            yield section
        elif section != "strategy":
            yield from (f"{section}.{key}" for key in kind.model_fields)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A small table of somebody's own, and its schema."""
    folder = tmp_path_factory.mktemp("table")
    rows = [f"{n % 7 / 7},{'abc'[n % 3]},{n % 2},{n % 10}" for n in range(300)]
    (folder / "rows.csv").write_text("\n".join(["size,kind,y,whose", *rows]))
    (folder / "schema.toml").write_text(
        "labels = [0, 1]\n[columns.size]\nlow = 0.0\nhigh = 1.0\n"
        '[columns.kind]\nvalues = ["a", "b", "c"]\n'
    )
    return folder / "rows.csv"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """20x20 pictures, which a convnet takes."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("pictures")
    for part, num in (("train", 200), ("test", 30)):
        x = rng.integers(0, 256, (num, 20, 20), np.uint8)
        y = np.arange(num, dtype=np.uint8) % 10
        for name, array in ((f"{part}_x", x), (f"{part}_y", y)):
            np.save(folder / f"{name}.npy", array)
    arrays = {p.stem: np.load(p) for p in folder.glob("*.npy")}
    for path in folder.glob("*.npy"):
        path.unlink()
    np.savez(folder / "data.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Small ones in colour, whose names tell what is on them."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("photographs")
    for n in range(60):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{'cat' if n % 2 else 'dog'}_{n}.png")
    (folder / "schema.toml").write_text('labels = ["cat", "dog"]\n')
    return folder


@pytest.fixture(scope="module")
def places(pictures, table, photographs):
    return {
        "pictures": pictures, "table": table, "photographs": photographs,
        "photo": "{label}_{number}.png",
    }  # fmt: skip


def of_kind(kind, places, *more):
    """An experiment of a kind."""
    settings = [text.format(**places) for text in KINDS[kind]]
    return load_experiment("tiny", [*settings, *ONCE, *more])


def test_the_table_knows_every_setting():
    """A new one is entered, or this fails."""
    assert set(every_setting()) == ALWAYS | set(EFFECTS)
    assert not ALWAYS & set(EFFECTS)
    assert set(every_setting()) == set(OTHER) | NOT_ONE_NUMBER
    assert set(BACKWARD) | RESOLVED <= set(EFFECTS)
    assert all(set(effect.by) <= set(every_setting()) for effect in EFFECTS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_effect_is_refused_in_one_line(kind, places):
    """All settings, in every kind of experiment, by `-s`."""
    plain, refused = of_kind(kind, places), 0
    for key, value in OTHER.items():
        text = value if isinstance(value, str) else str(value).lower()
        section, _, name = key.partition(".")
        idle = key in EFFECTS and not EFFECTS[key].when(plain)
        if not idle:
            continue
        with pytest.raises(SettingsError) as error:
            of_kind(kind, places, f"{key}={text}")
        lines = str(error.value).splitlines()
        assert any(f"-s {key}={text}: [{section}] {name} = " in line for line in lines), lines
        refused += 1
    assert refused >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_table_admits_is_read(kind, places, runs, monkeypatch):
    """While a run of the kind is made, each setting that is said to have an effect is looked at."""
    experiment = of_kind(kind, places)
    seen = defaultdict(set)
    plain = Section.__getattribute__

    def look(self, name):
        if not name.startswith("_"):
            seen[type(self)].add(name)
        return plain(self, name)

    monkeypatch.setattr(Section, "__getattribute__", look)
    launch(experiment, runs, kind)
    monkeypatch.undo()
    unread = []
    for key, effect in EFFECTS.items():
        section, _, name = key.partition(".")
        if section != "attack" and effect.when(experiment):
            of = Experiment.model_fields[section].annotation
            unread += [key] * (name not in seen[of])
    assert not unread


def test_a_part_that_is_put_out_of_force_takes_its_settings_with_it(tmp_path):
    """A file of a promise, without it; and a run's own file, again."""
    mine = tmp_path / "mine.toml"
    mine.write_text("[budget]\nepsilon = 2.0\nclip = 0.3\n[training]\nmomentum = 0.5\n")
    free = load_experiment(str(mine), ["budget.unit=none"])
    assert free.budget.epsilon is None
    assert free.budget.clip == default_of("budget.clip")
    assert free.training.momentum == 0.5
    again = tmp_path / "again.toml"
    again.write_text(free.resolve().for_records(900, 0).to_toml())
    assert load_experiment(str(again)).training.noise == "seeded"
    mine.write_text("[budget]\nunit = 'none'\nclip = 0.3\n")
    with pytest.raises(SettingsError, match=r"mine.toml: \[budget\] clip = 0.3: would change noth"):
        load_experiment(str(mine))


def test_axes_of_a_sweep_may_put_each_other_out_of_force():
    """The promise of one axis has no clip under the other's `none`; asked by `-s` it is refused."""
    free = load_experiment("tiny", [], ["budget.clip=0.2", "budget.unit=none"])
    assert (free.budget.unit, free.budget.clip) == ("none", 1.0)
    with pytest.raises(SettingsError, match="would change nothing"):
        load_experiment("tiny", ["budget.unit=none"], ["budget.clip=0.2"])
