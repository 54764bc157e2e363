"""What `privet infer` shows and keeps in the run: images, answers, times and bytes."""

import math
import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import metadata
from typing import Any

import numpy as np
import torch
from rich.progress import track
from rich.text import Text
from torch import Tensor

from clients.data.sets import load
from clients.node.query import Answer, Client, connect
from clients.training.records import records
from privacy.encrypted.keys import flood as flood_logits
from privacy.encrypted.net import Array, Net, logits_of, pool_images
from privacy.errors import DataError, ServiceError
from server.console import Columns, err, fact_table, out
from server.inference.layers import has_replaced
from server.inference.loopback import loopback
from server.inference.program import drawn_inputs, served_net, trained_model
from server.run.directory import Run
from server.run.summary import measured, weights_sha256

SHADES = " .:-=+*#%@"
NORMAL_97_5 = 1.959963984540054
MOST_DIFFERING = 20  # answers, of which the margin is told
LIBRARIES = {"ckks": ("tenseal",), "boolean": ("concrete-python",)}
SHARES = {  # of two labels, how often they are the same; polynomial: with quadratics, in the clear
    "encrypted_accuracy": ("encrypted", "truth"),
    "polynomial_accuracy": ("polynomial", "truth"),
    "plain_accuracy": ("plain", "truth"),
    "agreement": ("encrypted", "plain"),
    "polynomial_agreement": ("encrypted", "polynomial"),
}


def require_images(run: Run) -> None:
    """Refuse to ask about a data set of which there is nothing to ask.

    Raises:
        DataError: it has no test set.
    """
    if not len(load(run.experiment.data).test_x):
        raise DataError(f"{run.path}: no test set: there is no record to ask about")


def measure(run: Run, scheme: str, images: int, url: str = "") -> dict[str, Any]:
    """What `privet infer --evaluate IMAGES` does, for programs: ask, tell, keep it in the run.

    Args:
        url: of a service of this run's model; without, one is started here.

    Returns:
        `run.inference[scheme]`.
    """
    require_images(run)
    with nullcontext(url) if url else loopback(run.path, scheme) as at:
        Demo(run, connect(at)).evaluate(images)
    kept: dict[str, Any] = run.inference[scheme]
    return kept


class Demo:
    """A client of a service, and the same model in the clear to compare with."""

    def __init__(self, run: Run, client: Client) -> None:
        """Compare what a service answers with a run.

        Raises:
            ServiceError: it serves other weights.
        """
        self._run = run
        self._weights = weights_sha256(run)
        if client.offer.weights != self._weights:
            raise ServiceError(
                f"the service serves other weights ({client.offer.weights[:12] or 'unnamed'}) than "
                f"those of {run.path} ({self._weights[:12]}); name the run that it serves"
            )
        self._dataset = load(run.experiment.data)
        _, self._tests = records(run.experiment.data, run.experiment.model)
        self._client = client
        self._model = trained_model(run)
        self._net: Net | None = None
        self.replaced: list[str] = []
        if client.offer.scheme == "ckks" and has_replaced(self._model):
            self._net, self.replaced = served_net(run, drawn_inputs(run.experiment))

    def _inputs(self, index: int) -> Tensor:
        """What the model reads of a record [1, ...]."""
        return self._tests.inputs(torch.tensor([index]))

    def _shown(self, index: int) -> Text:
        """A picture, or the number of what is none."""
        record = self._dataset.test_x[index]
        if self._dataset.kind != "picture" or record.ndim < 2:
            return Text(f"test record {index}")
        planes = record.reshape(-1, *record.shape[-2:]) / self._dataset.scale
        return draw(planes.mean(0), colour=out.color_system is not None)

    def _name(self, label: int) -> str:
        names = self._dataset.names
        return names[label] if names else str(label)

    def show(self, number: int, logits: bool, flood: int, quiet: bool) -> dict[str, Any]:
        """Ask for a few images, one after another, and print each as its answer comes."""
        answers, rows = [], []
        for index in range(min(number, len(self._tests))):
            answer, row = self._ask(index)
            if logits:
                flooded = flood_logits(answer.logits, self._client.offer, flood)
                row["logits"] = flooded.round(3).tolist()
            answers.append(answer)
            rows.append(row)
            if not quiet:
                out.print(self._shown(index))
                answered = (self._name(row["encrypted"]), "bold")
                plain, truth = self._name(row["plain"]), self._name(row["truth"])
                rest = f", in the clear {plain}, it is {truth}"
                out.print(Text.assemble("encrypted answer ", answered, rest))
                if logits:
                    out.print("logits", row["logits"])
        if not quiet:
            self._print_costs(answers)
        return {"answers": rows, **self._keep(answers, rows)}

    def evaluate(self, number: int, batch: bool = False) -> dict[str, Any]:
        """Encrypted accuracy and agreement with the plain model, with 95 % Wilson intervals.

        Args:
            batch: ask many at once. What that tells stays out of the run, whose figures are of
                images that were asked one by one.

        Raises:
            ModelError: the service takes no batches.
        """
        if batch:
            return self._evaluate_batches(min(number, len(self._tests)))
        indices = range(min(number, len(self._tests)))
        shown = track(indices, "encrypted images", console=err, transient=True)
        answers, rows = zip(*map(self._ask, shown), strict=True)
        return self._keep(answers, rows) | {"differing": _differing(rows)}

    def _evaluate_batches(self, number: int) -> dict[str, Any]:
        size, rows, seconds = self._client.batch_images, [], 0.0
        for first in range(0, number, size):
            indices = range(first, min(first + size, number))
            labels, times_s = self._client.ask_batch(np.concatenate([*map(self._image, indices)]))
            rows += [self._row(i, int(label)) for i, label in zip(indices, labels, strict=True)]
            seconds += sum(times_s.values())
        return {
            "images": number,
            "batch_images": min(size, number),
            **_shares(rows),
            "differing": _differing(rows),
            "image_ms": seconds / number * 1e3,
        }

    def _image(self, index: int) -> Array:
        """A record as a client takes it [1, H, W]."""
        inputs: Array = self._inputs(index).numpy().reshape(1, *self._client.offer.shape)
        return inputs

    def _ask(self, index: int) -> tuple[Answer, dict[str, Any]]:
        answer = self._client.ask(self._image(index)[0])
        return answer, self._row(index, answer.label)

    def _row(self, index: int, label: int) -> dict[str, Any]:
        """An encrypted answer beside those in the clear; where it is another than that of the
        weights that were encrypted, by how much their best logit is ahead of the next."""
        inputs = self._inputs(index)
        with torch.no_grad():
            logits = self._model(inputs)[0].double().numpy()
        row: dict[str, Any] = {"image": index, "encrypted": label, "plain": int(logits.argmax())}
        if self._net:
            plane = inputs.double().numpy().reshape(1, *self._net.shape)
            pooled = pool_images(plane, self._net.pool).reshape(1, -1)
            logits = logits_of(self._net, pooled)[0]
            row["polynomial"] = int(logits.argmax())
        if label != logits.argmax():
            second, best = np.sort(logits)[-2:]
            row["margin"] = float(best - second)
        return row | {"truth": int(self._tests.y[index])}

    def _keep(self, answers: Sequence[Answer], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The figures of these answers; they go into the run.

        Shares that were measured on more images of the same weights stay: what is shown of three
        images tells the time, and nothing of the accuracy.
        """
        told = {
            "round": len(self._run.rounds),
            "weights": self._weights,
            **({"replaced": self.replaced} if self.replaced else {}),
            "images": len(rows),
            **_shares(rows),
            "timed_images": len(rows),
            **self._costs(answers),
        }
        scheme, kept = self._client.offer.scheme, self._run.inference
        before = measured(self._run, scheme)
        now = told | {"versions": {name: metadata.version(name) for name in LIBRARIES[scheme]}}
        names = ("images", *_shares(rows))
        of_more = before.get("images", 0) > len(rows) and all(name in before for name in names)
        if of_more and before.get("round") == told["round"]:
            now |= {name: before[name] for name in names}
        self._run.keep("inference.json", kept | {scheme: now})
        return told

    def print_evaluation(self, told: dict[str, Any]) -> None:
        """The shares with their intervals, then the costs."""
        table = Columns("on " + str(told["images"]) + " test images", "share", "95 % interval")
        for name in filter(told.__contains__, SHARES):
            low, high = told[f"{name}_interval"]
            table.add_row(name.replace("_", " "), f"{told[name]:.2%}", f"{low:.2%} to {high:.2%}")
        out.print(table)
        if self.replaced:
            out.print(f"{', '.join(self.replaced)}: quadratics stand for them under encryption")
        out.print(fact_table("", {k: _rounded(v) for k, v in told.items() if k.endswith("_ms")}))

    def _costs(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Medians over answers, times in milliseconds."""
        client, offer = self._client, self._client.offer
        costs: dict[str, Any] = {"key_generation_ms": client.key_generation_s * 1e3}
        costs["key_upload_ms"] = client.key_upload_s * 1e3
        for name in answers[0].times_s:
            costs[f"{name}_ms"] = statistics.median(a.times_s[name] for a in answers) * 1e3
        costs["total_ms"] = statistics.median(sum(a.times_s.values()) for a in answers) * 1e3
        return costs | {
            "keys_bytes": client.keys_bytes,
            "upload_bytes": answers[0].bytes_up,
            "download_bytes": answers[0].bytes_down,
            "scheme": offer.scheme,
            "security": offer.security,
            "calibration": offer.calibration,
        }

    def _print_costs(self, answers: Sequence[Answer]) -> None:
        costs = self._costs(answers)
        sent = {
            "key upload": costs["keys_bytes"],
            "upload": costs["upload_bytes"],
            "download": costs["download_bytes"],
        }
        table = Columns("step", "ms, median", "bytes", title=costs["security"])
        for name, value in costs.items():
            if name.endswith("_ms"):
                step = name.removesuffix("_ms").replace("_", " ")
                table.add_row(step, f"{value:.2f}", f"{sent[step]:,}" if step in sent else "")
        out.print(table)


def draw(image: Array, *, colour: bool) -> Text:
    """An image [H, W] in [0, 1]: two pixels a half-block, or a shade where there is no colour."""
    grey = np.clip(image * 255, 0, 255).astype(int)
    if len(grey) % 2:
        grey = np.vstack([grey, np.zeros_like(grey[:1])])
    text = Text()
    for top, bottom in zip(grey[::2], grey[1::2], strict=True):
        for a, b in zip(top, bottom, strict=True):
            if colour:
                text.append("▀", f"rgb({a},{a},{a}) on rgb({b},{b},{b})")
            else:
                text.append(SHADES[(int(a) + int(b)) * (len(SHADES) - 1) // 510])
        text.append("\n")
    return text


def _shares(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares of the rows, each with its 95 % interval."""
    shares: dict[str, Any] = {}
    for name, (one, other) in SHARES.items():
        if one not in rows[0] or other not in rows[0]:
            continue
        same = sum(row[one] == row[other] for row in rows)
        shares[name] = same / len(rows)
        shares[f"{name}_interval"] = wilson(same, len(rows))
    return shares


def _differing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first answers that are not those of the same weights in the clear."""
    return [row for row in rows if "margin" in row][:MOST_DIFFERING]


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z2 = NORMAL_97_5**2 / trials
    share = successes / trials
    centre = share + z2 / 2
    width = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low, high = (centre - width) / (1 + z2), (centre + width) / (1 + z2)
    return max(0.0, low), min(1.0, high)


def _rounded(value: float) -> str:
    return f"{value:.2f}"
