"""Each ready net in each arithmetic as ONNX, asked by onnxruntime: how far are its answers?

run as: python tests/acceptance/exports.py

Exit status 1 if an export of floats is farther than 1e-4 of the largest answer, if one of words is
other than to the last bit, or if a refusal is no line of privet's.
"""

# ruff: noqa: E402
import json
import sys
import tempfile
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
warnings.simplefilter("ignore")

import torch
from exported import FORMS, Asked

from clients.arithmetic import ARITHMETICS, Arithmetic
from privacy.errors import PrivetError
from server.export import onnx
from server.export.answers import FAR

NUM = 300
NUMBERS = {
    "fixed": tuple({"bits": bits} for bits in range(2, 9)),
    "binary": ({}, {"activation_bits": 1}),
}


def exported(name: str, numbers: Arithmetic, path: Path) -> dict[str, object]:
    """How far each record's answers are, or why there are none."""
    import onnxruntime

    try:
        run = Asked(name, numbers, NUM)
        onnx.to_onnx(run, path)
    except PrivetError as error:
        return {"refused": str(error)}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {"records": run.answers.x.numpy()})
    each = run.answers.distances(torch.from_numpy(said))
    return {"largest": float(each.max()), "other": int((each > 0).sum())}


def main() -> int:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        print(json.dumps({"skipped": "onnxruntime is not installed"}))
        return 0
    torch.set_num_threads(1)
    onnx.answers_of = lambda run: run.answers
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMS:
            for kind in sorted(ARITHMETICS):
                for more in NUMBERS.get(kind, ({},)):
                    told = " ".join([name, kind, *(f"{k}={v}" for k, v in more.items())])
                    numbers = Arithmetic(name=kind, **more)
                    found[told] = exported(name, numbers, Path(folder) / "net.onnx")
    made = {told: one for told, one in found.items() if "refused" not in one}
    floats = [one["largest"] for told, one in made.items() if told.split()[1] == "float"]
    words = [one for told, one in made.items() if told.split()[1] != "float"]
    wrong = [told for told, one in found.items() if "nothing was written" in one.get("refused", "")]
    figures = {
        "exported": len(made),
        "largest_of_floats": max(floats),
        "largest_of_words": max(one["largest"] for one in words),
        "records_of_words": NUM * len(words),
        "wrong": wrong,
        "each": found,
    }
    print(json.dumps(figures, indent=1))
    exact = not any(one["other"] for one in words)
    return 0 if max(floats) <= FAR and exact and len(floats) == len(FORMS) and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
