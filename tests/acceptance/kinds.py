"""What the command line is asked, by kind: each draws a few calls, and says what must come of them.

A kind is a function of a `Place`, a folder of its own with runs in it, and a generator.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import settings_drawn
from records_drawn import OTHER, damage, records
from settings_drawn import ATTACK, FIELDS, NONSENSE, READY, SMALL, as_options, document, settings

ARITHMETIC = [key for key in FIELDS if key.startswith("arithmetic.")]
BASE = [f"{section}.{key}" for section, table in SMALL.items() for key in table]
CHIPS = ("eyeriss", "stm32h743", "edgetpu", "tpu", "binary", "integral-sc", "nothing", "", "../tpu")
WORDS = (
    "latest",
    "nothing",
    "",
    ".",
    "..",
    "/",
    "/dev/null",
    "a" * 300,
    "\x00",
    "ü",
    "-",
    "x\ny",
    "~",
)


def strict(text):
    """JSON as any reader takes it."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@dataclass
class Ask:
    """A call of `privet`, and what is wrong with what came of it if it says that it went well.

    Attributes:
        given: the arguments.
        lacks: of stdout, what is not there that was asked for; empty if all is.
        must_do: it may not be refused: what came before said that it is possible.
    """

    given: list[str]
    lacks: Callable[[str], str] = lambda told: "" if told.strip() else "no answer"
    must_do: bool = False


class Place:
    """A folder of its own, where a case happens; runs are copies of a few that are done."""

    def __init__(self, folder, finished):
        self.folder, self.runs, self.finished = folder, folder / "runs", finished

    def run(self, rng, name=""):
        """A finished run, by its name here."""
        path = (
            rng.choice(self.finished)
            if not name
            else next(p for p in self.finished if p.name == name)
        )
        if not (self.runs / path.name).exists():
            shutil.copytree(path, self.runs / path.name)
        return path.name


# ---- what must be there
def is_json(told):
    try:
        strict(told)
    except ValueError as error:
        return f"JSON that does not parse: {error}"
    return ""


def is_run(rounds):
    """The path of a run, which has so many rounds (None: some)."""

    def lacks(told):
        path = Path(told.strip())
        if not (path / "rounds.jsonl").is_file():
            return "no run where it says"
        done = len((path / "rounds.jsonl").read_text().splitlines())
        stopped = (path / "stopped.json").exists()
        return "" if done == rounds or stopped or (rounds is None and done) else f"{done} rounds"

    return lacks


def paths_there(told):
    lines = told.splitlines()
    return "" if lines and all(Path(line).exists() for line in lines) else "no file where it says"


def number(told):
    try:
        float(told.strip().rstrip("%"))
    except ValueError:
        return "no number"
    return ""


def wrote(path, lacks=lambda told: ""):
    """A file, besides what was told."""
    return lambda told: lacks(told) or ("" if path.is_file() else f"no {path.name}")


def rounds_of(found):
    told = found.get("federation.rounds", "1")
    return int(told) if told.isdecimal() else None


# ---- the kinds
def run_settings(place, rng):
    """Settings after -s, over an experiment that takes a moment."""
    (place.folder / "e.toml").write_text(document({}))
    found = settings(rng)
    return [Ask(["run", "e.toml", *as_options(found)], is_run(rounds_of(found)))]


def run_ready(place, rng):
    """A ready experiment, of which one setting is drawn; all else is made small."""
    small = {key: json.dumps(SMALL[key.split(".")[0]][key.split(".")[1]]) for key in BASE}
    kept = {
        key: small[key]
        for key in ("data.limit", "federation.clients", "federation.rounds", "training.local_steps")
    }
    kept |= {"data.name": "digits"} | settings(rng, most=1)
    return [Ask(["run", rng.choice(READY), *as_options(kept)], is_run(rounds_of(kept)))]


def run_file(place, rng):
    """A settings file in any encoding, or none at all."""
    path = place.folder / "e.toml"
    if rng.random() < 0.05:
        path.mkdir()
    elif rng.random() < 0.95:
        path.write_bytes(settings_drawn.settings_file(rng))
    if rng.random() < 0.2:
        return [Ask(["data", "split", "e.toml", "out"], paths_there)]
    return [Ask(["run", "e.toml"], is_run(None))]


def words(place, rng):
    """A command, with words that make no sense to it."""
    commands = ("run", "resume", "show", "evaluate", "list", "cost", "attack", "audit", "infer", "serve",
                "report", "sweep", "ledger", "node", "link", "data", "data fetch", "data list", "data check",
                "data split", "keys", "keys new", "fly", "", "--help", "--version")  # fmt: skip
    command = rng.choice(commands).split(" ")
    pool = (*WORDS, *WORDS, *NONSENSE, "--json", "--name", "--runs", "--over", "-s", "-o", "--chip", "--port",
            "--batch", "--seeds", "--images", "--complete", "--format", "--nodes", "--x", "--delta")  # fmt: skip
    extra = [rng.choice(pool) for _ in range(rng.randint(0, 3))]
    extra = [word for word in extra if "\x00" not in word]  # no process can be given that
    if command == ["data", "fetch"]:  # never from the net
        extra = [rng.choice(("imagenet", "digits", "idx", "")), *extra]
    return [Ask([*command, *extra], lambda told: "")]


def data(place, rng):
    """Records: what `data check` calls usable trains, and is evaluated and priced."""
    records(place.folder / "data", rng)
    more = (
        as_options(settings(rng, [k for k in FIELDS if k.startswith("data.")], 1))
        if rng.random() < 0.2
        else []
    )
    asks = [Ask(["data", "check", str(place.folder / "data"), *(["--json"] if rng.random() < 0.5 else [])])]
    if rng.random() < 0.5:
        (place.folder / "e.toml").write_text(document({}))
        given = {"data.name": "idx", "data.path": "data", "data.limit": "0", "data.held_out": "0.0"}
        given |= {"federation.clients": "1"}
        asks.append(
            Ask(["run", "e.toml", *as_options(given), "--name", "r", *more], is_run(1), not more)
        )
        if rng.random() < 0.5:
            follow = rng.choice((["evaluate", "r"], ["cost", "r", "--json"], ["show", "r", "--json"],
                                 ["attack", "r", *as_options(QUICK)], ["report", "r"]))  # fmt: skip
            asks.append(Ask(follow))
    return asks


AT_ONCE = ("open", "diverged")  # what an audit refuses: of what it does not, it takes long
QUICK = {"attack.shadows": "4", "attack.candidates": "20", "attack.reconstruct": "false"}


def ask_run(place, rng):
    """Each command of a finished run, with options of all sorts."""
    name = place.run(rng)
    return [_of_run(place, name, rng)]


def _of_run(place, name, rng):
    path, as_json = place.runs / name, rng.random() < 0.5
    tail, checked = (["--json"], is_json) if as_json else ([], Ask(given=[]).lacks)
    command = rng.choice(("show",) * 4 + ("list",) * 2 + ("evaluate",) * 6 + ("resume",) * 2 + ("cost",) * 3
                         + ("attack", "audit", "infer", "report", "serve"))  # fmt: skip
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
        more = rng.choice((["--scheme", "x"], ["--images", "0"], ["--evaluate", "-1"], ["--flood", "2"],
                           ["--url", "nowhere"], ["--url", "http://127.0.0.1:9"], ["--key", "."],
                           ["--url", "https://127.0.0.1:9", "--authority", "nothing"], ["--token", "x"],
                           ["--url", "http://127.0.0.1:9", "--token", "/nothing"]))  # fmt: skip
        return Ask(["infer", name, *more])
    if command == "serve":
        more = rng.choice((["--scheme", "x"], ["--host", "0.0.0.0"], ["--port", "70000"], ["--workers", "0"],
                           ["--certificate", "x"], ["--tokens", "nothing"], ["--timeout", "-1"],
                           ["--key", "x", "--certificate", "y"], ["--keys-mb", "0"], ["--proxy", "x y"],
                           ["--host", "nowhere.invalid", "--insecure"]))  # fmt: skip
        return Ask(["serve", name, *more])
    form = rng.choice(("html", "md", "json", "pdf"))
    others = [rng.choice((name, "latest", "nothing")) for _ in range(rng.choice((0, 0, 1)))]
    target = rng.choice(([], ["-o", "p/page"], ["-o", "-"], ["-o", "/dev/null/x"], ["-o", "."]))
    lacks = (
        is_json
        if form == "json" and (not target or target[1] == "-")
        else checked
        if not as_json
        else is_any
    )
    complete = ["--complete"] if rng.random() < 0.2 else []
    return Ask(["report", name, *others, "--format", form, *target, *complete], lacks)


def is_any(told):
    return "" if told.strip() else "no answer"


def damaged(place, rng):
    """Each command of a run in which a file is damaged."""
    name = place.run(rng)
    path = place.runs / name
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".lock")
    for file in rng.sample(files, rng.choice((1, 1, 2))):
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


def sweeps(place, rng):
    """Axes, sound or not."""
    (place.folder / "e.toml").write_text(document({}))
    axes = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        found = settings(rng, most=1)
        key, text = rng.choice(sorted(found.items()))
        axes += ["--over", rng.choice((f"{key}={text}", f"{key}={text},{text}", f"{key}={text}+{key}={text}",
                                       f"{key}", f"x: {key}={text}", f"{key}=0.1..1 log", f"{key}=1..2,3",
                                       "budget.epsilon=1,none", f"=,{text}", f"{key}={text},,", ","))]  # fmt: skip
    more = rng.choice(([], [], ["--seeds", "0"], ["--search", "accuracy"], ["--search", "x"], ["--budget", "1"],
                       ["--limit", "x"], ["--name", "a/b"], ["--cost", "x"], ["--infer", "x"], ["--infer", "ckks=0"],
                       ["--search", "accuracy", "--budget", "1"], ["--json"], ["--limit", "latency_s=1@x"]))  # fmt: skip
    lacks = is_json if "--json" in more else paths_there
    asks = [Ask(["sweep", "e.toml", *axes, *more], lacks)]
    return asks


def machines(place, rng):
    """Nodes, SuperLinks and keys: what they refuse before they reach for the net."""
    records(place.folder / "data", rng)
    (place.folder / "ledger.jsonl").write_bytes(rng.choice((b"", *OTHER)))
    draw = rng.random()
    if draw < 0.2:
        more = rng.choice(
            ([], ["--host", rng.choice(WORDS[1:])], ["--nodes", rng.choice(("0", "1", "-1", "x"))])
        )
        more = [word for word in more if "\x00" not in word]
        return [
            Ask(["keys", "new", rng.choice(("k", "data", "/dev/null/x", "")), *more], paths_there)
        ]
    if draw < 0.4:
        delta = rng.choice(([], ["--delta", rng.choice(("0", "1", "-1", "nan", "1e-5", "x"))]))
        return [Ask(["ledger", rng.choice(("ledger.jsonl", "nothing", ".", "/dev/null")), *delta])]
    if draw < 0.5:
        more = rng.choice(
            ([], ["--port", "70000"], ["--host", "x y"], ["--database", "/dev/null/x"])
        )
        return [Ask(["link", "--keys", rng.choice(("data", "nothing", "ledger.jsonl")), *more])]
    given = {
        "--data": str(place.folder / "data"),
        "--ledger": "l",
        "--client": "0",
        "--of": "1",
        "--link": "127.0.0.1:9",
    }
    wrong = {"--data": ("nothing", "", "ledger.jsonl"), "--client": ("1", "-1", "x"), "--of": ("0", "x"),
             "--link": ("", "x", "x:y", "example.com:1", ":", "127.0.0.1:99999"), "--authority": ("nothing", "data"),
             "--epsilon-limit": ("0", "nan", "-1", "x", "inf"), "--delta": ("0", "1", "nan"), "--key": ("nothing",),
             "--classes": ("0", "1", "257"), "--records": ("0", "1"), "--secure-aggregation": ("x", "masks"),
             "--members": ("nothing", "data"), "--fewest-members": ("2", "9"), "--port": ("70000", "x")}  # fmt: skip
    key = rng.choice(sorted(wrong))
    given |= {"--epsilon-limit": "1"} | {key: rng.choice(wrong[key])}
    if rng.random() < 0.3:
        given.pop(
            rng.choice(("--data", "--ledger", "--client", "--of", "--link", "--epsilon-limit")),
            None,
        )
    given |= {"--authority": given.get("--authority", "nothing")}  # never as far as the net
    return [Ask(["node", *(word for pair in given.items() for word in pair)])]


KINDS = {
    "run -s": (run_settings, 30),
    "run READY -s": (run_ready, 5),
    "settings file": (run_file, 15),
    "words": (words, 15),
    "records": (data, 15),
    "a run": (ask_run, 15),
    "a damaged run": (damaged, 15),
    "sweep": (sweeps, 5),
    "machines": (machines, 10),
}
