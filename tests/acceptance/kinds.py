"""What the command line is asked, by kind: each draws a few calls, and says what must come of them.

A kind is a function of a `Place`, a folder of its own with runs in it, and a generator.
"""

import json
import shlex

import settings_drawn
from asks import Ask, are_events, is_run, paths_there
from kinds_of_owned import own
from kinds_of_runs import QUICK, ask_run, damaged, damaged_findings
from records_drawn import OTHER, records
from settings_drawn import FIELDS, NONSENSE, READY, SMALL, as_options, document, settings

BASE = [f"{section}.{key}" for section, table in SMALL.items() for key in table]
WORDS = (
    "latest", "nothing", "", ".", "..", "/", "/dev/null", "a" * 300, "\x00", "ü", "-", "x\ny", "~",
)  # fmt: skip
COMMANDS = (
    "run", "resume", "show", "evaluate", "list", "cost", "attack", "audit", "infer", "serve",
    "report", "sweep", "ledger", "node", "link", "data", "data fetch", "data list", "data check",
    "data split", "keys", "keys new", "fly", "", "--help", "--version",
)  # fmt: skip
OPTIONS = (
    "--json", "--name", "--runs", "--over", "-s", "-o", "--chip", "--port", "--batch", "--seeds",
    "--images", "--complete", "--format", "--nodes", "--x", "--delta",
)  # fmt: skip
AFTER = [
    shlex.split(words)
    for words in ("evaluate r", "cost r --json", "show r --json", "attack r", "report r")
]
AXES = (  # of a key K and a value V
    "K=V", "K=V,V", "K=V+K=V", "K", "x: K=V", "K=0.1..1 log", "K=1..2,3", "budget.epsilon=1,none",
    "=,V", "K=V,,", ",",
)  # fmt: skip
OF_SWEEPS = [
    shlex.split(words)
    for words in (
        "", "", "--seeds 0", "--search accuracy", "--search x", "--budget 1", "--limit x",
        "--name a/b", "--cost x", "--infer x", "--infer ckks=0", "--search accuracy --budget 1",
        "--json", "--limit latency_s=1@x",
    )
]  # fmt: skip
WRONG = {  # of a node
    "--data": ("nothing", "", "ledger.jsonl"), "--client": ("1", "-1", "x"), "--of": ("0", "x"),
    "--link": ("", "x", "x:y", "example.com:1", ":", "127.0.0.1:99999"),
    "--authority": ("nothing", "data"), "--epsilon-limit": ("0", "nan", "-1", "x", "inf"),
    "--delta": ("0", "1", "nan"), "--key": ("nothing",), "--classes": ("0", "1", "257"),
    "--records": ("0", "1"), "--secure-aggregation": ("x", "masks"), "--port": ("70000", "x"),
    "--members": ("nothing", "data"), "--fewest-members": ("2", "9"),
}  # fmt: skip


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
    command = rng.choice(COMMANDS).split(" ")
    pool = (*WORDS, *WORDS, *NONSENSE, *OPTIONS)
    extra = [rng.choice(pool) for _ in range(rng.randint(0, 3))]
    extra = [word for word in extra if "\x00" not in word]  # no process can be given that
    if command == ["keys", "new"]:  # nowhere but here
        extra = [word for word in extra if not word.startswith(("/", ".."))]
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
    asks = [
        Ask(
            [
                "data",
                "check",
                str(place.folder / "data"),
                *(["--json"] if rng.random() < 0.5 else []),
            ]
        )
    ]
    if rng.random() < 0.5:
        (place.folder / "e.toml").write_text(document({}))
        given = {"data.name": "idx", "data.path": "data", "data.limit": "0", "data.held_out": "0.0"}
        given |= {"federation.clients": "1"}
        asks.append(
            Ask(["run", "e.toml", *as_options(given), "--name", "r", *more], is_run(1), not more)
        )
        if rng.random() < 0.5:
            follow = rng.choice(AFTER)
            quick = as_options(QUICK) if follow[0] == "attack" else []
            asks.append(Ask([*follow, *quick]))
    return asks


def sweeps(place, rng):
    """Axes, sound or not."""
    (place.folder / "e.toml").write_text(document({}))
    axes = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        found = settings(rng, most=1)
        key, text = rng.choice(sorted(found.items()))
        axes += ["--over", rng.choice(AXES).replace("K", key).replace("V", text)]
    more = rng.choice(OF_SWEEPS)
    lacks = are_events if "--json" in more else paths_there
    return [Ask(["sweep", "e.toml", *axes, *more], lacks)]


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
    key = rng.choice(sorted(WRONG))
    given |= {"--epsilon-limit": "1"} | {key: rng.choice(WRONG[key])}
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
    "own records": (own, 15),
    "a run": (ask_run, 15),
    "a damaged run": (damaged, 15),
    "damaged findings": (damaged_findings, 10),
    "sweep": (sweeps, 5),
    "machines": (machines, 10),
}
