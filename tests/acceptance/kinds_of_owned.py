"""What is asked of somebody's own records: looked at, planned, trained on, and then the rest."""

import json
import re
import shlex
from pathlib import Path

from asks import Ask, is_any, is_json, is_run, strict
from owned_files_drawn import own_records
from settings_drawn import FIELDS, as_options, settings

PERCEPTRONS = ("linear", "perceptron")
OF_KIND = {  # that fit, mostly
    "table": (*PERCEPTRONS, "tabular", "autoencoder"),
    "window": (*PERCEPTRONS, "cnn1d", "gru", "lstm", "attention", "autoencoder"),
    "picture": (*PERCEPTRONS, "scatter", "strided", "convnet", "autoencoder", "resnet8"),
    "sound": (*PERCEPTRONS, "cnn1d", "ds-cnn", "gru", "attention"),
}
ANY = ("ds-cnn", "mobilenet", "resnet8", "backbone", "convnet", "tabular", "cnn1d", "scatter")
SMALL = {"width": 4, "depth": 1, "hidden": [4], "channels": 2, "kernel": 3, "stride": 1}
READS = {  # by whom each is read
    "width": ("cnn1d", "gru", "lstm", "attention", "ds-cnn", "resnet8", "mobilenet", "autoencoder"),
    "depth": ("cnn1d", "gru", "lstm", "attention", "ds-cnn"),
    "hidden": ("perceptron", "tabular", "strided"),
    "channels": ("strided",), "kernel": ("strided",), "stride": ("strided",),
}  # fmt: skip
OWN = """import math
import torch
from torch import nn


def Net(shape, outputs, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.{layer},
                         nn.Linear(width, outputs))


class Tied(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.inner = nn.Linear(math.prod(shape), 3)
        self.twice = nn.Linear(3, 3)
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(self.twice(self.twice(self.inner(x.flatten(1))).tanh()))


def Bare(shape, outputs, width):
    return Net(shape, outputs, width)


def Wrong(shape, outputs):
    return nn.Linear(3, outputs + 1)


def Raises(shape, outputs):
    raise RuntimeError("no\\nnet")


def Nothing(shape, outputs):
    return 3


class Mixes(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.norm = nn.BatchNorm1d(math.prod(shape))
        self.head = nn.Linear(math.prod(shape), outputs)

    def forward(self, x):
        return self.head(self.norm(x.flatten(1)))


class Late(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.head = nn.Linear(math.prod(shape), outputs)

    def forward(self, x):
        if self.training and len(x) > 1:
            raise ValueError("in training alone")
        return self.head(x.flatten(1))
"""
NETS = ("Net",) * 4 + ("Tied",) * 3 + ("Bare", "Wrong", "Raises", "Nothing", "Mixes", "Late", "no")
LAYERS = ("ReLU()", "Tanh()", "LayerNorm(4)", "GroupNorm(2, 4)", "Dropout(0.5)", "PReLU()")
FOLLOW = [
    shlex.split(words)
    for words in (
        *["evaluate r --json", "evaluate r", "show r", "report r --format json -o -"] * 2,
        "report r --format html -o page.html", "report r --format md -o -", "cost r --json",
        "cost r --chip stm32h743 --json", "resume r", "list --json",
        "evaluate r -s arithmetic.name=fixed --json",
    )
]  # fmt: skip
SLOW = {"attack r --json": 12, "audit r --json": 1, "infer r --images 1 --json": 1}  # in 100
FEW_SHADOWS = {"attack.shadows": "4", "attack.reconstruct": "false"}
# Settings that a person might add, of which any may be wrong for what is there.
MORE = [key for key in FIELDS if key.split(".")[0] in ("data", "model", "training", "budget")]


def is_right(drawn):
    """Of what `show --json` says of a run: each figure is one that can be."""

    def lacks(told):
        if lack := is_json(told):
            return lack
        facts = strict(told)
        for key in ("accuracy", "best_accuracy"):
            if facts[key] is not None and not 0 <= facts[key] <= 1:
                return f"{key} {facts[key]}"
        if drawn.data.get("task", "classes") != "classes" and facts["accuracy"] is not None:
            return f"accuracy {facts['accuracy']} of task {drawn.data['task']}"
        spent, asked = facts["epsilon"], facts["epsilon_target"]
        if spent is not None and (spent < 0 or (asked and spent > asked * (1 + 1e-6))):
            return f"epsilon {spent}, asked {asked}"
        return f"{facts['failures']} failures" if facts["failures"] else ""

    return lacks


def is_counted(drawn):
    """Of what `data check --json` says: all records that were written are there."""

    def lacks(told):
        if lack := is_json(told):
            return lack
        found = re.findall(r"([\d,]+) (?:to train on|for tests)", strict(told)["records"])
        num = sum(int(one.replace(",", "")) for one in found)
        return "" if drawn.flaw or num == drawn.num else f"{num} records of {drawn.num}"

    return lacks


def is_score(told):
    """Of what `evaluate --json` says: a share is one, and an error not negative."""
    if lack := is_json(told):
        return lack
    facts = strict(told)
    for name, figure in facts["figures"].items():
        value = figure and figure["value"]
        if value is not None and not (figure["low"] or value) <= value <= (figure["high"] or value):
            return f"{name} {figure}"
        least = -float("inf") if name == "R2" else 0
        most = float("inf") if name in ("MAE", "RMSE") else 1
        if value is not None and not least <= value <= most:
            return f"{name} {value}"
    return "" if facts["loss"] >= 0 else f"loss {facts['loss']}"


def own(place, rng):
    """A file of somebody's own: checked, planned, trained on; then a command or two more."""
    drawn = own_records(place.folder, rng)
    drawn.write_schema(place.folder / "s.toml")
    path = str(drawn.path)
    if rng.random() < 0.15:
        return _begun(drawn, path, rng)
    if rng.random() < 0.3:
        drawn.data["test_share"] = rng.choice((0.2, 0.5))
    elif rng.random() < 0.2 and "person" in drawn.data:
        drawn.data["test"] = {drawn.data["person"]: rng.choice((["p0"], ["0"], ["p0", "p1"]))}
    elif rng.random() < 0.1:
        drawn.data["test_path"], drawn.flaw = path, drawn.flaw or "twice"
    said = [f"data.{key}={_toml(value)}" for key, value in drawn.data.items()]
    check = ["data", "check", path, "--schema", "s.toml", *_options(said), "--json"]
    plain = rng.random() < 0.2  # nothing but the records can be what is refused
    experiment = _plain() if plain else _experiment(place.folder, drawn, rng)
    tables = {"data.path": path, "data.schema": "s.toml"}
    tables |= {f"data.{key}": value for key, value in drawn.data.items()} | experiment
    (place.folder / "e.toml").write_text(
        "".join(f"{key} = {_toml(value)}\n" for key, value in tables.items())
    )
    more = as_options(settings(rng, MORE, 1)) if not plain and rng.random() < 0.15 else []
    asks = [Ask(check, is_counted(drawn)), Ask(["plan", "e.toml", "--json", *more], is_json, plain)]
    asks.append(Ask(["run", "e.toml", "--name", "r", *more], is_run(None), True))
    asks.append(Ask(["show", "r", "--json"], is_right(drawn), True))
    return asks + _follow(rng)


def _follow(rng):
    asks = []
    for given in rng.sample(FOLLOW, rng.choice((0, 1, 1, 2))):
        lacks = is_score if given[:1] == ["evaluate"] and "--json" in given else is_any
        asks.append(Ask(given, is_json if "json" in given and lacks is is_any else lacks))
    for words, share in SLOW.items():
        if rng.random() < share / 100:
            quick = as_options(FEW_SHADOWS) if words.startswith("attack") else []
            asks.append(Ask([*words.split(), *quick], is_json))
    return asks


def _begun(drawn, path, rng):
    """What `privet new` and `data describe` make of it: what they write is planned, and trains."""
    if rng.random() < 0.3:
        return [Ask(["data", "describe", path])]
    told = [
        part
        for key in ("target", "person")
        if isinstance(drawn.data.get(key), str) and rng.random() < 0.7
        for part in (f"--{key}", drawn.data[key])
    ]
    few = _options(["federation.rounds=1", "federation.clients=1"])
    return [
        Ask(["new", "n", "--data", path, *told]),
        Ask(["plan", "n.toml", "--json", *few], is_json),
        Ask(["run", "n.toml", "--name", "r", *few], is_run(1), True),
    ]


def _plain():
    return {
        "model.name": "linear", "federation.clients": 1, "federation.rounds": 1,
        "budget.unit": "none", "training.local_steps": 1, "data.held_out": 0.0,
    }  # fmt: skip


def _experiment(folder, drawn, rng):
    """Of these records: a model, who holds them, and a promise."""
    found = {"federation.clients": rng.choice((1, 2, 3)), "federation.rounds": rng.choice((1, 2))}
    name = rng.choice(OF_KIND[drawn.kind] if rng.random() < 0.8 else ANY)
    if rng.random() < 0.25:
        (folder / "net.py").write_text(OWN.format(layer=rng.choice(LAYERS)))
        found["model.name"] = f"net.py:{rng.choice(NETS)}"
        if rng.random() < 0.3:
            found["model.options"] = {"width": rng.choice((4, 0, -1, "a", 2.5))}
    else:
        found["model.name"] = name
        found |= {f"model.{key}": SMALL[key] for key, by in READS.items() if name in by}
    if rng.random() < 0.25:
        found["model.adapt"] = rng.choice(("head", "bias", "lora:1", "lora:2", "lora:9999"))
    if rng.random() < 0.2:
        found["model.front"] = rng.choice(("none", "spectrum", "log-mel", "scatter", "spectrum"))
    if drawn.data.get("person") and rng.random() < 0.4:
        found["data.partition"] = "person"
    elif rng.random() < 0.2:
        found["data.partition"] = rng.choice(("dirichlet", "shards"))
    unit = rng.choice(("record", "record", "record", "client", "none"))
    found["budget.unit"] = unit
    if unit != "none":
        found["budget.epsilon"] = rng.choice((0.5, 3.0, 8.0))
    found["training.sample_rate"] = rng.choice((0.1, 0.5, 1.0))
    found["training.local_steps"] = rng.choice((1, 2))
    found["training.learning_rate"] = rng.choice((0.1, 0.5))
    if rng.random() < 0.1:
        found["arithmetic.name"] = rng.choice(("fixed", "ternary", "binary", "stochastic"))
    if rng.random() < 0.06:
        found["federation.secure_aggregation"] = rng.choice(("masks", "ckks"))
    if rng.random() < 0.1:
        found["data.held_out"] = rng.choice((0.0, 0.5, 0.9))
    if rng.random() < 0.1:
        found["record.updates"] = True
    if rng.random() < 0.1:
        found["federation.client_evaluation"] = True
    return found


def _options(said):
    return [part for one in said for part in ("-s", one)]


def _toml(value):
    """As TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(value)
