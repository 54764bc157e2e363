"""Membership inference against every attack of the adversarial-robustness-toolbox (ART).

The toolbox is not a dependency. In an environment of its own, beside ours:
    pip install --no-deps adversarial-robustness-toolbox==1.20.1 six

ART's learned attacks are fitted twice: on our 8 shadows, and on 8 of its own `ShadowModels`,
trained as the targets are. Its scores tie; between tied records its ROC is drawn straight, in its
favour.
"""

import copy
import time
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import nn

from attacks.leakage import tpr_at
from attacks.membership.scores import Portfolio
from attacks.membership.shadows import Shadows
from attacks.membership.signals import scaled_logit

KINDS = ("nn", "rf", "gb", "lr", "dt", "knn", "svm")
SVM_ROWS = 4000  # the fit of a support vector machine grows with their square
SHADOWS, TARGETS = 8, 8
BOUNDARY_RECORDS = 4
EPOCHS, BATCH = 40, 64

Table = tuple[NDArray, NDArray, NDArray]  # images, labels, predictions


def interpolated_tpr(scores: NDArray, member: NDArray, fpr: float = 0.01) -> float:
    """True positive rate at `fpr`, tied records accused by the toss of a coin."""
    false, true, _ = roc_curve(member, scores)
    return float(np.interp(fpr, false, true))


def against_art(kinds: tuple[str, ...] = KINDS) -> dict[str, Any]:
    """TPR at 1 % FPR over `TARGETS` targets; the best of ART is picked on them, ours is not."""
    try:
        import art
        from art.attacks.inference.membership_inference import LabelOnlyGapAttack
    except ImportError as error:
        return {"skipped": f"{error}: see the head of tests/benchmarks/toolbox.py"}
    from adversary import POOL, tape, trained

    warnings.simplefilter("ignore")
    world = tape(None)
    everything = torch.arange(POOL)
    x, y = world.pool.originals(everything).numpy(), world.pool.y.numpy()
    y_hot = np.eye(10, dtype=np.float32)[y]
    pixels = world.pool.inputs(everything).flatten(1)
    logits, member = [], []
    for seed, count in ((1, SHADOWS), (2, TARGETS)):
        stack, has = trained(world, count, seed)
        with torch.no_grad():
            logits.append(stack.forward(pixels)[1][-1])
        member.append(has)
    phi = [scaled_logit(z, world.pool.y).numpy() for z in logits]
    portfolio = Portfolio(Shadows(member[0], phi[0][:, None]), rounds=False)
    chosen = portfolio.choose("tpr")
    found: dict[str, list[float]] = {"ours": []}
    for k in range(TARGETS):
        scores = portfolio.scores(phi[1][k][None])[chosen]
        found["ours"].append(tpr_at(scores, member[1][k], 0.01))
    targets = [z.numpy() for z in logits[1]]
    wrapped = _classifier(world.build(0))
    seconds: dict[str, float] = {}
    tables = {
        "our shadows": [
            (np.concatenate([x[m] for m in side]), np.concatenate([y_hot[m] for m in side]),
             np.concatenate([z[m] for z, m in zip(logits[0].numpy(), side, strict=True)]))
            for side in (member[0], ~member[0])
        ],
        "ART's shadows": _shadow_models(wrapped, x, y_hot),
    }  # fmt: skip
    for origin, (inside, outside) in tables.items():
        for kind in kinds:
            for what in ("prediction", "loss"):
                started = time.perf_counter()
                name = f"{kind} on {what}, {origin}"
                scores_of = _learned(wrapped, kind, what, inside, outside)
                found[name] = [
                    interpolated_tpr(scores_of(x, y_hot, z), m)
                    for z, m in zip(targets, member[1], strict=True)
                ]
                seconds[name] = time.perf_counter() - started
    found["rule-based, which is also the label-only gap"] = [
        interpolated_tpr(LabelOnlyGapAttack(_fixed(wrapped, z)).infer(x, y_hot).ravel(), m)
        for z, m in zip(targets, member[1], strict=True)
    ]
    means = {name: float(np.mean(values)) for name, values in found.items()}
    best = max((n for n in means if n != "ours"), key=lambda n: means[n])
    pairs = np.array([found["ours"], found[best]])
    draws = [
        np.divide(*pairs[:, np.random.default_rng(s).integers(TARGETS, size=TARGETS)].mean(1))
        for s in range(1000)
    ]
    return {
        "art": art.__version__,
        "ratio": means["ours"] / means[best],
        "ratio_interval": [float(v) for v in np.quantile(draws, [0.025, 0.975])],
        "ours_is": chosen,
        "best_of_art": best,
        "means": means,
        "by_target": {"ours": found["ours"], best: found[best]},
        "seconds": seconds,
        "boundary_seconds_a_record": _boundary(wrapped, x, y_hot),
    }


def _classifier(model: nn.Module) -> Any:
    """ART's wrapper, whose `fit` trains as the targets were trained."""
    from art.estimators.classification import PyTorchClassifier

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        def fit(self, x: NDArray, y: NDArray, **others: Any) -> None:
            super().fit(x, y, batch_size=BATCH, nb_epochs=EPOCHS, **others)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Classifier(model, nn.CrossEntropyLoss(), (28, 28), 10, optimizer, clip_values=(0, 1))


def _fixed(wrapped: Any, logits: NDArray) -> Any:
    """A classifier that says again what it was found to say, so that it is asked once."""
    twin = copy.copy(wrapped)
    twin.predict = lambda x, **_: logits
    return twin


def _shadow_models(wrapped: Any, x: NDArray, y_hot: NDArray) -> list[Table]:
    from art.attacks.inference.membership_inference import ShadowModels

    shadows = ShadowModels(wrapped, num_shadow_models=SHADOWS, random_state=0)
    for model in shadows.get_shadow_models():  # clones of one model: give each its own start
        for layer in model.model.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    return list(shadows.generate_shadow_dataset(x, y_hot))


def _learned(wrapped: Any, kind: str, what: str, inside: Table, outside: Table) -> Any:
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

    if kind == "svm":
        chosen = np.random.default_rng(0).permutation(len(inside[0]))[: SVM_ROWS // 2]
        again = np.random.default_rng(1).permutation(len(outside[0]))[: SVM_ROWS // 2]
        inside = tuple(part[chosen] for part in inside)  # type: ignore[assignment]
        outside = tuple(part[again] for part in outside)  # type: ignore[assignment]
    peer = MembershipInferenceBlackBox(wrapped, what, kind)
    peer.fit(
        x=inside[0], y=inside[1], test_x=outside[0], test_y=outside[1],
        pred=inside[2], test_pred=outside[2],
    )  # fmt: skip

    def scores(x: NDArray, y_hot: NDArray, logits: NDArray) -> NDArray:
        said = peer.infer(x, y_hot, pred=logits, probabilities=True)
        return np.asarray(said).reshape(len(x), -1)[:, -1]

    return scores


def _boundary(wrapped: Any, x: NDArray, y_hot: NDArray) -> float:
    """What one record costs `LabelOnlyDecisionBoundary` at HopSkipJump's own settings."""
    from art.attacks.inference.membership_inference import LabelOnlyDecisionBoundary

    started = time.perf_counter()
    peer = LabelOnlyDecisionBoundary(wrapped, distance_threshold_tau=1.0)
    some = slice(0, BOUNDARY_RECORDS)
    peer.infer(x[some].astype(np.float32), y_hot[some], verbose=False)
    return (time.perf_counter() - started) / BOUNDARY_RECORDS


def run() -> dict[str, Any]:
    """The one part."""
    return against_art()
