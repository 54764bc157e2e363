"""Encrypted answers are those of the same weights in the clear, of every net that is served.

run as: python tests/acceptance/encrypted.py [--images 1000] [--kinds linear,...]

Each net is trained on MNIST under epsilon 3, and asked through a service of its own. Where
quadratics stand for an activation, answers are held against the net with quadratics, and what they
lose is told. Prints JSON; exit status 1 if fewer than 99.8 % of a net's answers are those in the
clear.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LEAST = 0.998
SLOW = {"convnet": 10, "cnn1d": 10, "boolean": 10}  # asked so many times fewer
PIXELS = ["data.crop=0", "data.limit=6000", "record.updates=false"]
MEANS = ["model.pooling=mean", "model.norm=none", "training.learning_rate=0.5"]
KINDS = {
    "linear": ["model.name=linear", "training.learning_rate=0.5"],
    "scatter": ["model.name=scatter", "training.learning_rate=4", "budget.clip=0.1"],
    "square": [],
    "relu": ["model.activation=relu"],
    "tanh": ["model.activation=tanh"],
    "strided": ["model.name=strided", "training.learning_rate=0.5"],
    "convnet": ["model.name=convnet", "model.activation=square", *MEANS],
    "cnn1d": ["model.name=cnn1d", "model.activation=square", "model.width=8", *MEANS],
    "boolean": [],
}


def asked(kind: str, images: int, runs: Path) -> dict[str, float]:
    """Train a net and ask it: shares, and milliseconds an answer."""
    scheme = "boolean" if kind == "boolean" else "ckks"
    settings = [] if kind == "boolean" else [*PIXELS, *KINDS[kind]]
    given = [word for setting in settings for word in ("-s", setting)]
    experiment = "story-binary" if kind == "boolean" else "story"
    path = privet(runs, "run", experiment, *given).strip().splitlines()[-1]
    number = str(max(1, images // SLOW.get(kind, 1)))
    told = privet(runs, "infer", path, "--scheme", scheme, "--evaluate", number, "--json")
    found = json.loads(told)
    wanted = ("agreement", "polynomial_agreement", "polynomial_accuracy", "total_ms", "images")
    names = ("encrypted_accuracy", "plain_accuracy", *wanted)
    return {name: found[name] for name in names if name in found}


def privet(runs: Path, *words: str) -> str:
    """What a command says on stdout."""
    environment = os.environ | {"PRIVET_RUNS": str(runs)}
    command = [sys.executable, "-m", "server", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    done.check_returncode()
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds = chosen.kinds.split(",")
        found = {kind: asked(kind, chosen.images, Path(folder)) for kind in kinds}
    print(json.dumps(found, indent=1))
    same = [one.get("polynomial_agreement", one["agreement"]) for one in found.values()]
    return 0 if min(same) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
