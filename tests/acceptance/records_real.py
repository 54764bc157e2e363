"""What real records teach: a figure on test records, held against what is asked of it.

run as: python tests/acceptance/records_real.py [--seeds 1] [--all] [ROW ...]

Reads `../shared/data`, whose records are not ours to give away. A row is skipped by name where its
records or weights are not here; rows that compute features for many minutes, once, are run when
they are named, or with --all. Prints JSON; exit status 1 if a row's mean is below what is asked.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from accuracy import ROOT, privet

from clients.data.sets import cache_folder

DATA = ROOT.parent / "shared" / "data"
SETTINGS = Path(__file__).parent / "settings"
# EfficientNet-Lite0's public weights as safetensors; tests/README.md tells how they are made.
WEIGHTS_VARIABLE = "PRIVET_EFFICIENTNET_LITE0"
WEIGHTS_SHA256 = "f46ec1c3cb680f7b6e592fd971a28f301ca2deef2db22f51ce7d8e69c6b5d28e"


class Row(NamedTuple):
    """One figure.

    Attributes:
        settings: the experiment, a file in `SETTINGS`.
        records: the file in `DATA` that it reads.
        asked, aim: least `figure`, in percent.
        over: settings that stand over the file's.
        dear: its features take many minutes on first use.
    """

    settings: str
    records: str
    asked: float
    aim: float
    figure: str = "accuracy"
    over: tuple[str, ...] = ()
    dear: bool = False


WITHOUT = (
    *("budget.unit=none", "data.windows.step=64", "data.held_out=0"),
    *("federation.rounds=1200", "federation.evaluate_every=1200"),
)
SQUARES = (  # three layers that CKKS computes
    *("model.name=perceptron", "model.front=backbone", "model.hidden=[64,32]"),
    *("model.activation=square", "budget.unit=none"),
    *("training.learning_rate=0.05", "training.gradient_norm=1.0"),
)
ROWS = {
    "activity": Row("activity", "hapt.csv.gz", 95, 96.5, over=WITHOUT),
    "activity-dp": Row("activity", "hapt.csv.gz", 86, 90),
    "census": Row("census", "census_income_train.csv.gz", 94.3, 95.0, "AUROC"),
    "census-industries": Row(
        "census-industries", "census_income_train.csv.gz", 93.8, 94.5, "AUROC"
    ),
    "spoken": Row("spoken", "fsdd.tar", 97, 98.5),
    "cifar10-scatter": Row("cifar10-scatter", "cifar10.tar", 63, 67, dear=True),
    "cifar10-head": Row("cifar10-head", "cifar10.tar", 80, 86, dear=True),
    "cifar10-squares": Row("cifar10-head", "cifar10.tar", 60, 83, over=SQUARES, dear=True),
}


def weights() -> Path:
    """Where the backbone's weights are, if they are here."""
    kept = cache_folder() / "weights" / f"{WEIGHTS_SHA256}.safetensors"
    return Path(os.environ.get(WEIGHTS_VARIABLE) or kept)


def lacks(row: Row) -> str:
    """What is not here of what a row reads; empty if all is."""
    if not (DATA / row.records).is_file():
        return f"{DATA / row.records} is not here"
    if row.settings == "cifar10-head" and not weights().is_file():
        return f"no weights: set {WEIGHTS_VARIABLE} to their .safetensors file"
    return ""


def measure(row: Row, seed: int, runs: Path) -> float:
    """The figure of the last round on the whole test set, in percent."""
    settings = [f"seed={seed}", *row.over]
    if row.settings == "cifar10-head":
        settings.append(f"model.weights={weights()}")
    words = [word for setting in settings for word in ("-s", setting)]
    path = Path(privet(runs, "run", str(SETTINGS / f"{row.settings}.toml"), *words).strip())
    last = json.loads((path / "rounds.jsonl").read_text().splitlines()[-1])
    return 100 * float(last[row.figure] if row.figure in last else last["figures"][row.figure])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args()
    if unknown := sorted({*given.rows} - {*ROWS}):
        parser.error(f"{unknown[0]}: not a row; known: {', '.join(ROWS)}")
    found: dict[str, dict[str, object]] = {}
    for name, row in ROWS.items():
        if name not in (given.rows or ROWS):
            continue
        wanted = given.all or bool(given.rows) or not row.dear
        if reason := lacks(row) or ("" if wanted else "takes long: name it, or say --all"):
            print(f"{name}: skipped: {reason}", file=sys.stderr)
            found[name] = {"skipped": reason}
            continue
        with tempfile.TemporaryDirectory() as runs:
            each = [measure(row, seed, Path(runs)) for seed in range(given.seeds)]
        found[name] = {
            "figure": row.figure,
            "asked_percent": row.asked,
            "aim_percent": row.aim,
            "measured_percent": [round(one, 2) for one in each],
            "mean_percent": round(mean(each), 2),
            "holds": mean(each) >= row.asked,
        }
    print(json.dumps(found))
    return 0 if all(one.get("holds", True) for one in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
