"""Encrypted answers are those of the same weights in the clear, of every net that is served.

run as: python tests/acceptance/encrypted.py [--images 1000] [--kinds linear,...]

Each net is trained under epsilon 3, on MNIST or on a table that is drawn here, and asked through
services of its own, two nets at a time: image by image, and nets of one hidden layer in batches
too. Convolutions are narrow, so that a thousand answers are minutes; the circuit, of both cores, is
asked fewer, of which the number is told. Where quadratics stand for an activation, answers are held
against the net with quadratics, and what they lose is told. Prints JSON, with the margin of the
best logit in the clear wherever an answer is another; exit status 1 if fewer than 99.8 % of a net's
answers are those in the clear, or if a net has learnt so little that this says nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
LEAST = 0.998
CIRCUITS = 40  # fewer are asked of a circuit, so many times
LEARNT = 0.3  # of the records right: answers of a net that says one class are the same by chance
PIXELS = ["data.crop=0", "data.limit=6000", "record.updates=false"]
SMALL = ["data.crop=4", "model.width=4", "model.activation=relu"]  # 20x20, of few channels
MEANS = ["model.pooling=mean", "model.norm=none", "training.learning_rate=0.5"]
TABLE = ["model.name=tabular", "model.activation=square", "model.hidden=[16]"]
KINDS = {
    "cnn1d": ["record.updates=false", "model.name=cnn1d", "model.depth=2", *SMALL, *MEANS],
    "convnet": ["record.updates=false", "model.name=convnet", *SMALL, *MEANS],
    "strided": [*PIXELS, "model.name=strided", "training.learning_rate=0.5"],
    "tanh": [*PIXELS, "model.activation=tanh"],
    "relu": [*PIXELS, "model.activation=relu"],
    "scatter": [*PIXELS, "model.name=scatter", "training.learning_rate=4", "budget.clip=0.1"],
    "square": PIXELS,
    "linear": [*PIXELS, "model.name=linear", "training.learning_rate=0.5"],
    "tabular": [*TABLE, "record.updates=false", "data.limit=0", "training.learning_rate=0.5"],
}
BATCHED = ("square", "relu", "tanh", "tabular")
SHARES = ("agreement", "polynomial_agreement", "encrypted_accuracy", "polynomial_accuracy")
NAMES = ("images", *SHARES, "plain_accuracy", "differing", "total_ms", "image_ms")


def asked(kind: str, images: int, folder: Path) -> dict[str, object]:
    """Train a net and ask it, one by one and in batches: shares, and milliseconds an answer."""
    settings = KINDS[kind] + (table(folder) if kind == "tabular" else [])
    path = trained("story", settings, folder)
    singly = inferred(path, folder, images, "ckks")
    if kind not in BATCHED:
        return singly
    return singly | {"in batches": inferred(path, folder, images, "ckks", "--batch")}


def circuit(images: int, folder: Path) -> dict[str, object]:
    """The same of a binarized perceptron as a circuit."""
    return inferred(trained("story-binary", [], folder), folder, images, "boolean")


def trained(experiment: str, settings: list[str], folder: Path) -> str:
    """The path of a run."""
    given = [word for setting in settings for word in ("-s", setting)]
    return privet(folder, "run", experiment, *given).strip().splitlines()[-1]


def inferred(path: str, folder: Path, images: int, scheme: str, *how: str) -> dict[str, object]:
    """What `privet infer --evaluate` tells."""
    words = ("infer", path, "--scheme", scheme, "--evaluate", str(images), "--json", *how)
    found = json.loads(privet(folder, *words))
    return {name: found[name] for name in NAMES if name in found}


def table(folder: Path) -> list[str]:
    """Rows of eight numbers and one of three labels, by quadratics of them; the settings."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (6000, 8)).round(4)
    y = ((x @ rng.normal(size=(8, 3))) + np.square(x) @ rng.normal(size=(8, 3))).argmax(1)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True)]
    names = [f"x{n}" for n in range(8)]
    (folder / "rows.csv").write_text("\n".join([",".join([*names, "label"]), *lines, ""]))
    bounds = "".join(f"[columns.{name}]\nlow = -1.0\nhigh = 1.0\n" for name in names)
    (folder / "rows.schema.toml").write_text("labels = [0, 1, 2]\n" + bounds)
    named = ["data.name=file", "data.target=label", "data.test_share=0.2"]
    return [
        *named,
        f"data.path={folder / 'rows.csv'}",
        f"data.schema={folder / 'rows.schema.toml'}",
    ]


def privet(folder: Path, *words: str) -> str:
    """What a command says on stdout."""
    environment = os.environ | {"PRIVET_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "server", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    done.check_returncode()
    return done.stdout


def same(found: dict[str, object]) -> float:
    """The least share of answers that are those of the weights which were encrypted."""
    own = found.get("polynomial_agreement", found["agreement"])
    told = [float(str(own))]
    if isinstance(batches := found.get("in batches"), dict):
        told.append(same(batches))
    return min(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kinds", default=",".join([*KINDS, "boolean"]))
    chosen = parser.parse_args()
    kinds = [kind for kind in chosen.kinds.split(",") if kind != "boolean"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ThreadPoolExecutor(2) as pool:
            told = pool.map(lambda kind: asked(kind, chosen.images, folder), kinds)
            found = dict(zip(kinds, told, strict=True))
        if "boolean" in chosen.kinds.split(","):
            found["boolean"] = circuit(max(1, chosen.images // CIRCUITS), folder)
    print(json.dumps(found, indent=1))
    learnt = min(float(str(one["encrypted_accuracy"])) for one in found.values())
    return 0 if min(map(same, found.values())) >= LEAST and learnt >= LEARNT else 1


if __name__ == "__main__":
    sys.exit(main())
