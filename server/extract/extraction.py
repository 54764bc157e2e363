"""The best net of a supernet that fits a device, cut out as a run directory.

Best is by accuracy on the test set, which a run takes as public: no record that was trained on is
asked, and nothing is spent. Nets are asked, a predictor says of the others how right they will be,
and the most promising of those are asked too: what is chosen was measured.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clients.chip import Chip
from clients.data.sets import load
from clients.training.net import build, fill
from clients.training.smaller.cutting import cut
from clients.training.smaller.supernet import Supernet, Variant
from privacy.errors import RunError
from server.engines.app import test_evaluator
from server.experiment.experiment import Experiment
from server.extract.candidates import Candidate, Limits, candidates_of, require_one, told
from server.extract.features import features_of
from server.predictor import Predictor
from server.run.directory import Run, Weights
from server.run.figures import Score
from server.run.merit import NAME, merit_of
from server.run.origin import EXTRACTED, WHOLE
from server.run.summary import CHARGE, summarise

ASKED = 24  # nets that are asked before there is a predictor
PROMISING = 8  # and after it


@dataclass(frozen=True)
class Extracted:
    """A net that was cut out.

    Attributes:
        facts: what `extracted.json` says.
    """

    run: Run
    facts: dict[str, Any]


def extract(
    run: Run, chip: Chip, name: str, limits: Limits, runs: Path, title: str = ""
) -> Extracted:
    """Cut the best net that fits out of a run's last weights.

    Args:
        name: of the chip. title: of the new run; one with the chip's name if empty.

    Raises:
        RunError: the run trained one net only, or is not finished.
        SettingsError: no net fits; the error says what binds.
    """
    started, whole = time.perf_counter(), run.experiment
    summarise(run)  # what cannot be told of the whole net is not told of a part
    if not whole.supernet.trains:
        raise RunError(
            f"{run.path}: trained one net only; train with [supernet] widths = [0.25, 0.5]"
        )
    if (done := len(run.rounds)) < whole.federation.rounds:
        raise RunError(
            f"{run.path}: {done} of {whole.federation.rounds} rounds are done; go on with: privet "
            f"resume {run.path.name}"
        )
    run.require_same_data()
    priced, total = candidates_of(whole, chip)
    fitting = require_one(priced, limits, name)
    asking = _Asking(run)
    chosen, expected = _best(fitting, asking)
    score = asking.scores[chosen.net]
    facts = {
        "from": run.path.name,
        "from_identity": run.identity,
        "chip": name,
        "limits": limits._asdict(),
        "net": told(chosen.net),
        "nets": {
            "all": total,
            "priced": len(priced),
            "fit": len(fitting),
            "asked": len(asking.scores),
        },
        "needs": {k: v for k, v in chosen._asdict().items() if k not in ("net", "short")},
        "accuracy": score.accuracy,
        "expected": expected,
        "chosen_by": "accuracy on the test set, which is taken as public: no epsilon is spent, and "
        "the accuracy of the best of several is told a little high",
    }
    made = _written(run, chosen, score, runs, title or f"{run.path.name}-{name}")
    facts["seconds"] = time.perf_counter() - started
    made.keep(EXTRACTED, facts)
    return Extracted(made, facts)


class _Asking:
    """Nets on the test set, each once."""

    def __init__(self, run: Run) -> None:
        self._experiment, self._weights = run.experiment, run.weights(len(run.rounds))
        self.scores: dict[Variant, Score] = {}

    def __call__(self, candidate: Candidate) -> float:
        """Its accuracy."""
        net = candidate.net
        if net not in self.scores:
            experiment = self._experiment.model_copy(update=net._asdict())
            weights = _cut(self._experiment, experiment, self._weights)
            self.scores[net] = test_evaluator(experiment)(weights)
        accuracy = self.scores[net].accuracy
        if accuracy is None:
            raise RunError("there is no test set by which a net could be chosen")
        return accuracy


def _best(fitting: list[Candidate], asking: _Asking) -> tuple[Candidate, dict[str, float] | None]:
    """The most accurate; and what the predictor said of it, if it was found by one."""
    if len(fitting) <= ASKED + PROMISING:
        return max(fitting, key=asking), None
    asked = [0, *random.Random(1).sample(range(1, len(fitting)), ASKED - 1)]
    others = [i for i in range(len(fitting)) if i not in asked]
    rows = features_of(fitting)
    expects = Predictor(rows[asked], [asking(fitting[i]) for i in asked])
    mean, deviation = expects(rows[others])
    promising = sorted(range(len(others)), key=lambda k: -mean[k] - deviation[k])[:PROMISING]
    best = max([*asked, *(others[k] for k in promising)], key=lambda i: asking(fitting[i]))
    if best in asked:
        return fitting[best], None
    k = others.index(best)
    return fitting[best], {"accuracy": float(mean[k]), "deviation": float(deviation[k])}


def _cut(whole: Experiment, smaller: Experiment, weights: Weights) -> Weights:
    form = load(whole.data).form
    with torch.random.fork_rng(devices=[]):
        nets = [build(e.model, form, e.arithmetic, e.pruning) for e in (whole, smaller)]
    fill(nets[0], weights)  # which says so if they are another model's
    return cut(weights, *nets)


def _written(run: Run, chosen: Candidate, score: Score, runs: Path, name: str) -> Run:
    """A run of the smaller net: all rounds' weights cut, and the ledgers of those who trained."""
    whole, done = run.experiment, run.rounds
    smaller = whole.model_copy(
        update={
            **chosen.net._asdict(),
            "supernet": Supernet(),
            "record": whole.record.model_copy(update={"updates": False, "masked": False}),
        }
    )
    made = Run.create(smaller, _cut(whole, smaller, run.weights(0)), runs, name)
    made.keep_bytes(WHOLE, whole.to_toml().encode())
    if charge := run.kept(CHARGE):  # of a search that chose the whole net
        made.keep(CHARGE, charge)
    with made.locked():
        for record in done:
            record.accuracy = record.loss = None
            record.figures, record.client_metrics = {}, {}
            if record is done[-1]:
                record.accuracy, record.loss, record.figures = (
                    score.accuracy,
                    score.loss,
                    score.figures,
                )
            made.append(record, _cut(whole, smaller, run.weights(record.round)), {})
        made.save_ledgers(run.ledgers)
    if score.answers:
        made.keep(NAME, merit_of(score.answers, load(whole.data), whole.data, len(done)))
    return made
