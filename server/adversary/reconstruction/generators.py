"""Generators against a victim's updates, trained by another client or by the server."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.reconstruction.generator import Spy
from attacks.reconstruction.likeness import (
    WINDOW,
    frechet,
    image_features,
    nearest,
    pairwise_ssim,
    sign_flip_p,
)
from attacks.reconstruction.pictures import png
from attacks.reconstruction.strangers import likeness_of
from attacks.tape import Nature, Tape
from clients.data.sets import load
from clients.node.app import identify
from clients.protocol import Form
from clients.training.gpu import where_there_is_one
from clients.training.net import build, fill
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.text import shown
from server.adversary.reconstruction.victims import Found, open_ended
from server.adversary.replay import reply, simulate
from server.experiment.experiment import Experiment, Federation
from server.run.directory import Run
from server.run.merit import names_of

# With five pairs of swapped victims, the permutation test can find p = 1 / 32.
GAN_ROUNDS, GAN_RECORDS, GAN_PAIRS, GAN_IMAGES = 24, 400, 5, 200
JUDGES = 2000  # strangers, by whose class what an image shows is judged
FAKE_STEPS = 6  # of a search, for what a malicious client calls fake
ALIKE = 0.1  # of mean pairwise SSIM: as far from the victim's own is as diverse


def play_generators(run: Run, tape: Tape, adversaries: tuple[str, ...], seed: int) -> Found:
    """Two victims who swap places, several times, for each of the adversaries."""
    found: Found = {}
    names = names_of(load(run.experiment.data))
    for adversary in adversaries:
        pairs = [_swap(run.experiment, tape, adversary, seed + i) for i in range(GAN_PAIRS)]
        figures = {key: [v[key] for pair in pairs for v in pair[0]] for key in pairs[0][0][0]}
        differences = np.array([pair[1] for pair in pairs])
        run.keep_bytes(f"attack/generator-{adversary}.png", png(pairs[0][2]))
        found[adversary] = {
            "federations": 2 * GAN_PAIRS,
            **(means := {key: float(np.mean(values)) for key, values in figures.items()}),
            **warned(means),
            "runs": figures,
            "p_own_victim_nearer": sign_flip_p(differences),
            "picture": f"attack/generator-{adversary}.png",
            "exhibits": {"classes": [names[_cast(tape, seed).target]]},
        }
    return {**found, "rows": ["victim's images", "generated", "own records it began at",
             "nearest strangers"]}  # fmt: skip


def warned(means: dict[str, float]) -> dict[str, str]:
    """What is to be said of a generator whose images are not as unlike as the victim's."""
    ours, theirs = (means.get(f"pairwise_ssim_{who}", 0.0) for who in ("generated", "victim"))
    if abs(ours - theirs) <= ALIKE:
        return {}
    how = "collapsed: its images are more" if ours > theirs else "scattered: its images are less"
    return {
        "warning": f"{how} alike than the victim's, mean SSIM of two {ours:.2f} against "
        f"{theirs:.2f}"
    }


def _swap(
    experiment: Experiment, tape: Tape, adversary: str, seed: int
) -> tuple[list[dict[str, float]], float, list[Tensor]]:
    """Figures for each of two victims, how much nearer each generator is to its own, pictures."""
    cast = _cast(tape, seed)
    images, strangers = cast.images, cast.strangers
    mine = tape.reference.inputs(cast.mine)
    figures, nearer, made = [], 0.0, []
    for which in (0, 1):
        spy = Spy(mine, cast.target, seed)
        _play(experiment, tape, spy, adversary, cast.victims[which], cast.mine, seed)
        fakes = spy.images(GAN_IMAGES)
        own, swapped = images[which], images[1 - which]
        figures.append(
            {
                "frechet_to_victim": _distance(fakes, own),
                "frechet_to_strangers": _distance(fakes, strangers),
                "frechet_victim_to_strangers": _distance(own, strangers),
                "frechet_own_records_to_victim": _distance(mine, own),
                "nearest_to_victim": float(nearest(fakes, own)[0].mean()),
                "nearest_to_strangers": float(nearest(fakes, strangers[: len(own)])[0].mean()),
                "nearest_stranger_to_victim": float(nearest(strangers, own)[0].mean()),
                "nearest_own_record_to_victim": float(nearest(mine, own)[0].mean()),
                **_diversity(generated=fakes, victim=own, strangers=strangers, own_records=mine),
                **_of_class(tape, cast.target, generated=fakes, victim=own, own_records=mine),
                **_nearest_likeness("victim", fakes, own, tape.nature),
                **_nearest_likeness("strangers", fakes, strangers[: len(own)], tape.nature),
            }
        )
        nearer += _distance(fakes, swapped) - _distance(fakes, own)
        made.append(fakes)
    row = made[0][:12]
    near = strangers[nearest(row, strangers)[1]]
    began = mine[spy.origins(len(row))]
    return figures, nearer, [images[0][:12], row, began, near]


class Cast(NamedTuple):
    """Who plays: the class that is drawn, the spy's records, two victims', and of that class the
    images of either, and of strangers."""

    target: int
    mine: Tensor
    victims: list[Tensor]
    images: list[Tensor]
    strangers: Tensor


def _cast(tape: Tape, seed: int) -> Cast:
    rng = np.random.default_rng(seed)
    half = tape.num_classes // 2
    target = int(rng.integers(half))
    mine = _split(tape.reference.y.numpy() >= half, rng, 1)[0]
    victims = _split(tape.pool.y.numpy() < half, rng, 2)
    images = [tape.pool.originals(v)[tape.pool.y[v] == target] for v in victims]
    strangers = tape.reference.originals(torch.arange(len(tape.reference)))
    return Cast(target, mine, victims, images, strangers[tape.reference.y == target])


def why_not(tape: Tape, seed: int, names: Sequence[str]) -> str:
    """Why the generators cannot play; empty if they can.

    Args:
        names: of the classes.
    """
    nature = tape.nature
    if tape.front:
        return "the model reads fixed features, and a generator draws records"
    if nature.kind != "picture":
        told = {"table": "row of a table"}.get(nature.kind, nature.kind)
        return f"a generator draws pictures, and a record is a {told}"
    if tape.pool.task != "classes":
        return f"[data] task = {tape.pool.task!r}: a generator draws a class, and there is none"
    if tape.num_classes < 2:
        return "there is one class: a generator has none to draw that it does not own"
    for i in range(GAN_PAIRS):
        cast = _cast(tape, seed + i)
        if min(map(len, (*cast.images, cast.strangers))) < 2 or len(cast.mine) < 2:
            told = f"class {shown(names[cast.target])} has too few records"
            return f"{told} for two victims and a stranger"
    return ""


def _nearest_likeness(
    whose: str, fakes: Tensor, others: Tensor, nature: Nature
) -> dict[str, float]:
    """PSNR and SSIM of each image to the nearest of others, on the mean."""
    found = likeness_of(fakes, others[nearest(fakes, others)[1]], nature)
    return {f"{key}_to_{whose}": value for key, value in found.items()}


def _diversity(**sets: Tensor) -> dict[str, float]:
    """Mean SSIM of two images of each set; nothing of images that are too small for it."""
    if min(sets["victim"].shape[-2:]) < WINDOW:
        return {}
    return {f"pairwise_ssim_{who}": pairwise_ssim(images) for who, images in sets.items()}


def _of_class(tape: Tape, target: int, **sets: Tensor) -> dict[str, float]:
    """Of each set, the share whose nearest stranger, of all classes, is of the target class."""
    some = torch.arange(min(len(tape.reference), JUDGES))
    judges, y = tape.reference.originals(some), tape.reference.y[some]
    return {
        f"of_class_{who}": float((y[nearest(images, judges)[1]] == target).double().mean())
        for who, images in sets.items()
    }


def _distance(a: Tensor, b: Tensor) -> float:
    return frechet(image_features(a), image_features(b))


def _split(suitable: NDArray, rng: np.random.Generator, parts: int) -> list[Tensor]:
    """Disjoint sets of suitable records, none larger than `GAN_RECORDS`."""
    order = rng.permutation(np.flatnonzero(suitable))
    size = min(GAN_RECORDS, len(order) // parts)
    return [torch.from_numpy(order[i * size : (i + 1) * size]) for i in range(parts)]


def _play(
    experiment: Experiment,
    tape: Tape,
    spy: Spy,
    adversary: str,
    victim: Tensor,
    mine: Tensor,
    seed: int,
) -> None:
    """A federation of the victim and one other client, with one label more than there are classes.

    The victim trains by the run's own code and budget; the malicious client adds what its
    generator makes, labelled as fake. Against the server that reads the victim's updates, the
    other client is honest.
    """
    fake = tape.num_classes
    shape = tape.nature.shape
    loop = {
        "local_steps": min(experiment.training.local_steps, 12),
        "sample_rate": max(experiment.training.sample_rate, 0.1),
    }
    duel = Experiment(
        seed=seed,
        data=experiment.data,
        model=experiment.model,
        arithmetic=experiment.arithmetic,
        training=experiment.training.model_copy(update=loop),
        budget=open_ended(experiment.budget),
        federation=Federation(clients=2, rounds=GAN_ROUNDS),
    )
    honest = where_there_is_one(duel.job)
    free = honest.model_copy(update={"budget": Budget(unit="none")})
    if (
        experiment.budget.unit == "record"
    ):  # as long steps as the victim's: a net of squares diverges else
        bound = {"gradient_norm": experiment.budget.clip}
        free = free.model_copy(update={"training": free.training.model_copy(update=bound)})
    app = ClientApp()

    def fresh() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            form = Form(shape, fake + 1)
            return build(experiment.model, form, experiment.arithmetic, experiment.pruning)

    @app.train()
    def play(message: Message, context: Context) -> Message:
        client, _ = identify(context)
        model = fresh()
        arrays = message.content.array_records["arrays"]
        fill(model, {name: array.numpy() for name, array in arrays.items()})
        config: dict[str, Any] = dict(message.content.config_records["config"])
        number, rate = int(config["server-round"]), float(config["learning-rate"])
        source, own, job = (
            (tape.pool, victim, honest) if client == 0 else (tape.reference, mine, free)
        )
        x, y = source.inputs(own), source.y[own]
        if client == 0 and adversary == "server":
            spy.see(model)
        if client == 1 and adversary == "malicious_client":
            spy.see(model)
            made = spy.images(max(1, len(own) // 5), FAKE_STEPS)
            x = torch.cat([x, made])
            y = torch.cat([y, torch.full((len(made),), fake)])
        seen, round_ = Records(x, y), Round(number, client, rate)
        train(net_of(model, seen, job), seen, torch.arange(len(y)), job, round_, Ledger())
        if client == 0 and adversary == "server":
            spy.see(model)
        return reply(message, model, len(own))

    start = {k: v.numpy().copy() for k, v in fresh().state_dict().items()}
    for _ in simulate(duel, app, start, seed):
        pass
