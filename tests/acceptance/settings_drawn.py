"""Settings, and their files, as a person may hand them to the command line; drawn by a seed.

Settings come from the fields of `Experiment` themselves: within their ranges, at the ends, just
beyond, and of other kinds altogether. A setting is `(section.key, text of a TOML value)`.
"""

import json
import math
import typing

from annotated import leaves
from records_drawn import ENCODINGS, damage

from attacks.settings import Attack
from clients.arithmetic.settings import ARITHMETICS
from clients.models import MODELS
from privacy.settings import Range, Section
from server.experiment.experiment import Experiment
from server.experiment.loading import ready_experiments
from server.experiment.strategy import STRATEGIES

NONSENSE = (
    '""', "''", '"x"', "none", "null", "nan", "inf", "-inf", "-0.0", "1e400", "1e-400", "true",
    "[]", "{}", "[[]]", "[1, 'a']", "1979-05-27", "07:32:00", "0x10", "1_000",
    "999999999999999999999999", "-1", "0", "1.5", "ünïcode", "\udcff", "\x00", "a" * 5000,
    "[bold]", "=", "'''", "{a = 1}", " ", "[" * 2000, "1" * 5000, "-9223372036854775809",
    "18446744073709551616", "%s", "../x", "\n", "🙂",
)  # fmt: skip
NAMES = {
    "model.name": sorted(MODELS),
    "arithmetic.name": sorted(ARITHMETICS),
    "strategy.name": sorted(STRATEGIES),
}
# Within these a round takes a moment; beyond what is allowed is drawn as of any other.
BRIEF = {
    "data.limit": (0, 10, 40, 60), "federation.clients": (1, 2, 3, 4), "federation.rounds": (1, 2),
    "training.local_steps": (1, 2, 3), "model.hidden": ("[4]", "[]", "[4, 3]"),
    "model.channels": (1, 2), "model.kernel": (1, 3, 7, 9), "attack.shadows": (4, 6),
    "attack.candidates": (20, 30), "federation.timeout_s": (5.0, 60.0), "data.shards": (1, 2),
    "federation.workers": (0, 1), "arithmetic.stream_length": (1, 2, 16, 64),
    "federation.engine": ("cohort", "superlink"), "data.name": ("digits", "mnist", "idx"),
    "training.sample_rate": (1e-9, 1e-3, 0.25, 0.5, 1.0), "data.path": ('"nowhere"', '"."', '""'),
    "strategy.name": ("fedavg", "fedavgm", "fedadam", "fedmedian", "krum", "bulyan", "qfedavg"),
}  # fmt: skip


def ends(metadata):
    """The least and the most of a number, as far as its field says."""
    least, most = -math.inf, math.inf
    for one in metadata:
        if isinstance(one, Range):
            least, most = one.least, one.most
        for name in ("ge", "gt"):
            least = getattr(one, name, None) if getattr(one, name, None) is not None else least
        for name in ("le", "lt"):
            most = getattr(one, name, None) if getattr(one, name, None) is not None else most
    return least, most


def numbers(kind, metadata, rng):
    """Within a range, at its ends, and just beyond."""
    least, most = ends(metadata)
    low, high = max(least, -1e3), min(most, 1e9)
    within = math.exp(rng.uniform(math.log(max(low, 1e-12)), math.log(max(high, 1e-11))))
    found = [least, most, within, within, low + (high - low) * rng.random(), 0, 1]
    step = 1 if kind is int else max(abs(least), 1e-12) * 1e-3
    found += [least - step, most + step, most * 1.001]
    found = [x for x in found if math.isfinite(x)]
    return [str(int(x)) if kind is int else repr(float(x)) for x in found]


def fields():
    """Every setting of an experiment: its dotted key, and its field."""
    for name, field in Experiment.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for key, inner in field.annotation.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


FIELDS = dict(fields())
ATTACK = [f"attack.{key}" for key in Attack.model_fields]


def value(key, rng):
    """Text of a value of a setting: three of four are of its kind."""
    if rng.random() < 0.2:
        return rng.choice(NONSENSE)
    field = FIELDS[key]
    kind, metadata = rng.choice(leaves(field.annotation, tuple(field.metadata)))
    if key in BRIEF:
        least, most = ends(metadata)
        beyond = [str(x) for x in (least - 1, most + 1) if math.isfinite(x)]
        return rng.choice([*map(str, BRIEF[key]), *map(str, BRIEF[key]), *beyond])
    if key in NAMES:
        return rng.choice(NAMES[key])
    if typing.get_origin(kind) is typing.Literal:
        return str(rng.choice(typing.get_args(kind)))
    if kind is bool:
        return rng.choice(("true", "false"))
    if kind in (int, float):
        return rng.choice(numbers(kind, metadata, rng))
    return rng.choice(NONSENSE)


def settings(rng, keys=tuple(FIELDS), most=3):
    """A few settings, by key."""
    chosen = rng.sample(list(keys), min(len(keys), rng.randint(1, most)))
    found = {key: value(key, rng) for key in chosen}
    if rng.random() < 0.05:  # one that is not there
        key = rng.choice(list(FIELDS))
        found[rng.choice((key + "x", key[1:], key.upper(), "a.b.c", "", ".", f"{key}.x"))] = "1"
    return found


def as_options(found):
    """`-s key=value`, as often as needed."""
    can_be_given = [f"{key}={text}" for key, text in found.items() if "\x00" not in text]
    return [part for given in can_be_given for part in ("-s", given)]


# ---- settings files
SMALL = {
    "data": {"limit": 40},
    "model": {"hidden": [4]},
    "training": {"sample_rate": 0.25, "local_steps": 1, "learning_rate": 0.5},
    "budget": {"epsilon": 8.0},
    "federation": {"clients": 2, "rounds": 1},
}


def document(found):
    """A settings file of an experiment that takes a moment, with these settings in it."""
    tables = {name: {k: json.dumps(v) for k, v in table.items()} for name, table in SMALL.items()}
    top = {}
    for key, text in found.items():
        section, _, name = key.rpartition(".")
        (tables.setdefault(section, {}) if section else top)[name or "''"] = text
    lines = [f"{key} = {text}" for key, text in top.items()]
    for section, table in tables.items():
        lines += [f"[{section}]", *(f"{key} = {text}" for key, text in table.items())]
    return "\n".join(lines) + "\n"


JUNK = (
    b"", b"\n", b"\xff\xfe", b"\x00" * 100, b"[budget]\n", b"budget = 3\n",
    b"[[budget]]\nepsilon=1\n", b"[budget.epsilon]\nx=1\n", b"a = "+b"[" * 5000, b"x" * 100_000,
    b"{}", b"- yaml: 1\n", b"[a]\n[a]\n", b"a.b.c.d = 1\n",
    b"[budget]\nepsilon = 1\nepsilon = 2\n", b"'' = 1\n", b"seed = "+b"9" * 5000,
    b"[data]\n'a b' = 1\n", b"title = \"\\u0000\"\n", b"title = \"a\\nb\"\n",
    b"[model]\nhidden = 3\n", b"[model]\nhidden = [[4]]\n", b"[federation]\nclients = 1e999\n",
    b"[training]\n[training.x]\n", b"data = [{name='idx'}]\n", b"# only a remark",
    b"[budget]\nepsilon = 1979-05-27\n", b"a = {" * 3000,
)  # fmt: skip


def settings_file(rng):
    """Bytes that are meant to be a settings file."""
    kind = rng.choice((*["whole"] * 6, "junk", "junk", "cut", "bits", "lines"))
    if kind == "junk":
        return rng.choice(JUNK)
    text = document(settings(rng, most=1)).replace("\udcff", "?")
    if kind == "lines":
        text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\u2028", ",")))
    content = text.encode(rng.choice(ENCODINGS), errors="replace")
    return damage(content, rng) if kind in ("cut", "bits") else content


READY = tuple(ready_experiments())
