"""What is asked of a finished run, whole or damaged."""

import json
import shlex

from asks import Ask, is_any, is_json, is_run, number, wrote
from records_drawn import damage
from settings_drawn import ATTACK, FIELDS, as_options, settings

ARITHMETIC = [key for key in FIELDS if key.startswith("arithmetic.")]
CHIPS = ("eyeriss", "stm32h743", "edgetpu", "tpu", "binary", "integral-sc", "nothing", "", "../tpu")
COMMANDS = (
    *["show"] * 4, *["list"] * 2, *["evaluate"] * 6, *["resume"] * 2, *["cost"] * 3,
    "attack", "audit", "infer", "report", "serve",
)  # fmt: skip
# What is refused at once: an answer takes seconds, and a service does not end.
NO_INFERENCE = [
    shlex.split(words)
    for words in (
        "--scheme x", "--images 0", "--evaluate -1", "--flood 2", "--url nowhere",
        "--url http://127.0.0.1:9", "--key .", "--url https://127.0.0.1:9 --authority nothing",
        "--token x", "--url http://127.0.0.1:9 --token /nothing",
    )
]  # fmt: skip
NO_SERVICE = [
    shlex.split(words)
    for words in (
        "--scheme x", "--host 0.0.0.0", "--port 70000", "--workers 0", "--certificate x",
        "--tokens nothing", "--timeout -1", "--key x --certificate y", "--keys-mb 0",
        "--proxy 'x y'", "--host nowhere.invalid --insecure",
    )
]  # fmt: skip
AT_ONCE = ("open", "diverged")  # what an audit refuses: of what it does not, it takes long
FOUND = ("leakage.json", "audit.json", "cost.json", "inference.json", "attack/*.json", "env*.json")
QUICK = {"attack.shadows": "4", "attack.candidates": "20", "attack.reconstruct": "false"}


def ask_run(place, rng):
    """Each command of a finished run, with options of all sorts."""
    name = place.run(rng)
    return [_of_run(place, name, rng)]


def _of_run(place, name, rng):
    path, as_json = place.runs / name, rng.random() < 0.5
    tail, checked = (["--json"], is_json) if as_json else ([], is_any)
    command = rng.choice(COMMANDS)
    if command == "list":
        return Ask(["list", *tail], checked)
    if command == "evaluate":
        more = as_options(settings(rng, ARITHMETIC, 2)) if rng.random() < 0.8 else []
        return Ask(["evaluate", name, *more, *tail], is_json if as_json else number)
    if command == "resume":
        return Ask(["resume", name], is_run(None))
    if command == "cost":
        more = ["--chip", rng.choice(CHIPS)] if rng.random() < 0.8 else []
        more += ["--batch", rng.choice(("1", "0", "x", "9999999999"))] if rng.random() < 0.2 else []
        subject = rng.choice((name, name, "perceptron", "convnet", "scatter", "strided", "nothing"))
        return Ask(["cost", subject, *more, *tail], checked)
    if command == "attack":
        given = QUICK | settings(rng, ATTACK, 2)
        return Ask(
            ["attack", name, *as_options(given), *tail], wrote(path / "leakage.json", checked)
        )
    if command == "audit":
        subject = name if rng.random() < 0.1 or name in AT_ONCE else "nothing"
        return Ask(["audit", subject, *tail], checked)
    if command == "infer":  # what it refuses: an answer takes seconds
        more = rng.choice(NO_INFERENCE)
        return Ask(["infer", name, *more])
    if command == "serve":
        more = rng.choice(NO_SERVICE)
        return Ask(["serve", name, *more])
    form = rng.choice(("html", "md", "json", "pdf"))
    others = [rng.choice((name, "latest", "nothing")) for _ in range(rng.choice((0, 0, 1)))]
    target = rng.choice(([], ["-o", "p/page"], ["-o", "-"], ["-o", "/dev/null/x"], ["-o", "."]))
    shown = form == "json" and target in ([], ["-o", "-"])
    lacks = is_json if shown else is_any
    complete = ["--complete"] if rng.random() < 0.2 else []
    return Ask(["report", name, *others, "--format", form, *target, *complete], lacks)


def damaged(place, rng):
    """Each command of a run in which a file is damaged."""
    name = place.run(rng)
    path = place.runs / name
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".lock")
    for file in rng.sample(files, min(len(files), rng.choice((1, 1, 2)))):
        how = rng.random()
        if how < 0.15:
            file.unlink()
        elif how < 0.2:
            file.unlink()
            file.mkdir()
        elif how < 0.5 and file.suffix in (".json", ".jsonl"):
            file.write_bytes(_altered(file.read_bytes(), rng))
        else:
            file.write_bytes(damage(file.read_bytes(), rng))
    return [_of_run(place, name, rng)]


def damaged_findings(place, rng):
    """What attack, audit, cost and infer left in a run, of which a file is damaged."""
    name = place.run(rng, "measured")
    path = place.runs / name
    files = [file for pattern in FOUND for file in sorted(path.glob(pattern))]
    for file in rng.sample(files, rng.choice((1, 1, 1, 2))):
        content = file.read_bytes()
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            content = _altered(content, rng)
        file.write_bytes(content if rng.random() < 0.8 else damage(content, rng))
    form = rng.choice(("html", "md", "json"))
    again = rng.choice(
        (["list", "--json"], ["show", name], ["cost", name], ["attack", name, *as_options(QUICK)])
    )
    report = Ask(
        ["report", name, "--format", form, "-o", "-"], is_json if form == "json" else is_any
    )
    return [report, Ask(again), report]


def _altered(content, rng):
    """A JSON document, or a line of one, in which a value is of another kind, or is gone."""
    try:
        lines = [json.loads(line) for line in content.splitlines()] or [{}]
        whole = False
    except ValueError:
        lines, whole = [json.loads(content)], True
    node, key = {"": lines[0]}, ""
    while isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
        node = node[key]
        key = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if rng.random() < 0.2 and key:
        del node[key]
    else:
        node[key] = rng.choice((None, -1, 1e308, "x", [], {}, True, [1], {"a": 1}, 10**30))
        lines[0] = lines[0] if key else node[key]
    return (
        "\n".join(json.dumps(line, indent=1 if whole else None) for line in lines) + "\n"
    ).encode()
