"""Reconstruction, played out under a run's own settings: what could be drawn from its updates?

The run's own clients trained on many records at once; here its model, training code and budget are
given victims for whom an attack has the best chance: one record in an update, or a class that only
the victim holds. What comes out is held against held-out people's images of the same class.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.reconstruction.gan import Spy
from attacks.reconstruction.inversion import first_dense, invert, invert_dense
from attacks.reconstruction.likeness import (
    frechet,
    image_features,
    mean_finite,
    nearest,
    psnr,
    sign_flip_p,
    ssim,
)
from attacks.reconstruction.pictures import png
from attacks.settings import Attack
from attacks.tape import Sample, Tape
from clients.layers import MaxPool2d
from clients.models import MODELS, build
from clients.node.app import identify
from clients.training.job import Job
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from server.adversary.replay import reply, simulate
from server.experiment.experiment import Experiment, Federation
from server.run.directory import Run

VICTIMS = {True: 32, False: 4}  # analytic inversion is quick, iterative is not
STRANGERS = 2000
# With five pairs of swapped victims, the permutation test can find p = 1 / 32.
GAN_ROUNDS, GAN_RECORDS, GAN_PAIRS, GAN_IMAGES = 12, 400, 5, 200
ADVERSARIES: tuple[str, ...] = ("malicious_client", "server")
SUMS_ONLY = "behind secure aggregation the server sees no single client's update"

Found = dict[str, Any]
Tell = Callable[[str], None]


def reconstruct(run: Run, tape: Tape, settings: Attack, tell: Tell) -> Found:
    """Inversion by the server, generators by a client and by the server; pictures in the run."""
    experiment = run.experiment
    reason = _why_not(experiment, tape, settings)
    if reason:
        return {"inversion": {"left_out": reason}, "generators": {"left_out": reason}}
    found: Found
    adversaries = ADVERSARIES
    if tape.sums_only:
        found = {"inversion": {"left_out": SUMS_ONLY}, "server_generator": {"left_out": SUMS_ONLY}}
        adversaries = ADVERSARIES[:1]
    else:
        found = {"inversion": _inversion(run, tape, settings.seed)}
    if any(side % 4 for side in _shape(tape)):
        return found | {"generators": {"left_out": "image sides must be multiples of 4"}}
    tell(f"generators: {2 * len(adversaries) * GAN_PAIRS} federations of {GAN_ROUNDS} rounds ...")
    return found | {"generators": _generators(run, tape, adversaries, settings.seed)}


def _why_not(experiment: Experiment, tape: Tape, settings: Attack) -> str | None:
    if not settings.reconstruct:
        return "[attack] reconstruct = false"
    if reason := why_no_gradient(experiment):
        return f"{reason}; attack a perceptron or a convnet, not in streams"
    if experiment.budget.unit == "client":
        return "under unit = 'client' the noise is on the mean of all clients, not on one's update"
    return None


def why_no_gradient(experiment: Experiment) -> str | None:
    """What keeps a gradient from the pixels, if anything does."""
    if MODELS[experiment.model.name].transform is not None:
        return "the model reads fixed features, through which no gradient reaches the pixels"
    if experiment.arithmetic.name == "stochastic":
        return "the model reads streams of bits, through which no gradient reaches the pixels"
    return None


def _shape(tape: Tape) -> tuple[int, int]:
    height, width = tape.pool.images(torch.tensor([0])).shape[1:]
    return int(height), int(width)


# ---- inversion


def _inversion(run: Run, tape: Tape, seed: int) -> Found:
    """Victims with one record each, who release one step of the run's own training."""
    model = tape.build(0)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in tape.weights(0).items()})
    twin = _twice_differentiable(model)
    dense = first_dense(model)
    rng = np.random.default_rng(seed)
    victims = rng.choice(np.flatnonzero(tape.member), VICTIMS[dense is not None], replace=False)
    strangers = _some(tape.reference, STRANGERS, rng)
    shape = _shape(tape)
    made, near, mean = [], [], []
    indices = torch.from_numpy(victims)
    originals = tape.pool.images(indices)
    for number, i in enumerate(indices):
        change = _one_step(run.experiment.job, model, tape.pool, i, number)
        label = int(tape.pool.y[i])
        if dense:
            name = dense[0]
            made.append(invert_dense(change[f"{name}.weight"], change[f"{name}.bias"], shape))
        else:
            target = [change[n] for n, p in model.named_parameters() if p.requires_grad]
            made.append(invert(twin, target, label, shape, seed + number))
        same = strangers[0][strangers[1] == label]
        near.append(same[nearest(originals[number : number + 1], same)[1][0]])
        mean.append(same.mean(0))
    rows = {
        "reconstruction": torch.stack(made),
        "nearest_stranger": torch.stack(near),
        "class_mean": torch.stack(mean),
    }
    scores = {name: _likeness(images, originals) for name, images in rows.items()}
    ahead = psnr(rows["reconstruction"], originals) - psnr(rows["nearest_stranger"], originals)
    pictures = [originals, rows["reconstruction"], rows["nearest_stranger"]]
    run.keep_bytes("attack/inversion.png", png([p[:16] for p in pictures]))
    return {
        "method": "analytic" if dense else "iterative",
        "victims": len(victims),
        "picture": "attack/inversion.png",
        "rows": ["original", "reconstruction", "nearest stranger of the class"],
        **scores,
        "p_nearer_than_strangers": sign_flip_p(ahead.clamp(-100, 100).double().numpy()),
    }


def _likeness(images: Tensor, originals: Tensor) -> Found:
    found: Found = {"psnr_db": mean_finite(psnr(images, originals))}
    if min(originals.shape[1:]) >= 11:
        found["ssim"] = float(ssim(images, originals).mean())
    return found


def _one_step(
    job: Job, model: nn.Module, pool: Sample, i: Tensor, number: int
) -> dict[str, Tensor]:
    """What the release of one record's step tells of its gradient, up to a factor."""
    twin = copy.deepcopy(model)
    one = i.view(1)
    loop = {"local_steps": 1, "sample_rate": 1.0, "momentum": 0.0}
    asked = job.model_copy(
        update={
            "training": job.training.model_copy(update=loop),
            "budget": _open_ended(job.budget),
        }
    )
    round_ = Round(number=number + 1, client=0, learning_rate=job.training.learning_rate)
    mine = Records(pool.inputs(one), pool.y[one])
    train(net_of(twin, mine, asked), mine, torch.arange(1), asked, round_, Ledger())
    after = dict(twin.named_parameters())
    return {n: (p - after[n]).detach() for n, p in model.named_parameters()}


def _open_ended(budget: Budget) -> Budget:
    """The same noise; an experiment's ledger is not the run's."""
    return budget.model_copy(update={"epsilon": None})


def _twice_differentiable(model: nn.Module) -> nn.Module:
    """The same function; our compiled pooling has no second derivative."""
    twin = copy.deepcopy(model)
    for parent in twin.modules():
        for name, child in parent.named_children():
            if type(child) is MaxPool2d:
                setattr(parent, name, nn.MaxPool2d(child.size, child.stride))
    return twin


def _some(sample: Sample, num: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of some records."""
    chosen = torch.from_numpy(rng.permutation(len(sample))[:num])
    return sample.images(chosen), sample.y[chosen]


# ---- generators


def _generators(run: Run, tape: Tape, adversaries: tuple[str, ...], seed: int) -> Found:
    """Two victims who swap places, several times, for each of the adversaries."""
    found: Found = {}
    for adversary in adversaries:
        pairs = [_swap(run.experiment, tape, adversary, seed + i) for i in range(GAN_PAIRS)]
        figures = {key: [v[key] for pair in pairs for v in pair[0]] for key in pairs[0][0][0]}
        differences = np.array([pair[1] for pair in pairs])
        run.keep_bytes(f"attack/generator-{adversary}.png", png(pairs[0][2]))
        found[adversary] = {
            "federations": 2 * GAN_PAIRS,
            **{key: float(np.mean(values)) for key, values in figures.items()},
            "runs": figures,
            "p_own_victim_nearer": sign_flip_p(differences),
            "picture": f"attack/generator-{adversary}.png",
        }
    return {**found, "rows": ["victim's images", "generated", "nearest strangers"]}


def _swap(
    experiment: Experiment, tape: Tape, adversary: str, seed: int
) -> tuple[list[dict[str, float]], float, list[Tensor]]:
    """Figures for each of two victims, how much nearer each generator is to its own, pictures."""
    rng = np.random.default_rng(seed)
    target = int(rng.integers(tape.num_classes // 2))
    half = tape.num_classes // 2
    mine = _split(tape.reference.y.numpy() >= half, rng, 1)[0]
    victims = _split(tape.pool.y.numpy() < half, rng, 2)
    images = [tape.pool.images(v)[tape.pool.y[v] == target] for v in victims]
    strangers = tape.reference.images(torch.arange(len(tape.reference)))
    strangers = strangers[tape.reference.y == target]
    figures, nearer, made = [], 0.0, []
    for which in (0, 1):
        spy = Spy(_shape(tape), target, seed)
        _play(experiment, tape, spy, adversary, victims[which], mine, seed)
        fakes = spy.images(GAN_IMAGES)
        own, swapped = images[which], images[1 - which]
        figures.append(
            {
                "frechet_to_victim": _distance(fakes, own),
                "frechet_to_strangers": _distance(fakes, strangers),
                "frechet_victim_to_strangers": _distance(own, strangers),
                "nearest_to_victim": float(nearest(fakes, own)[0].mean()),
                "nearest_to_strangers": float(nearest(fakes, strangers[: len(own)])[0].mean()),
                "nearest_stranger_to_victim": float(nearest(strangers, own)[0].mean()),
                **_nearest_likeness("victim", fakes, own),
                **_nearest_likeness("strangers", fakes, strangers[: len(own)]),
            }
        )
        nearer += _distance(fakes, swapped) - _distance(fakes, own)
        made.append(fakes)
    row = made[0][:12]
    near = strangers[nearest(row, strangers)[1]]
    return figures, nearer, [images[0][:12], row, near]


def _nearest_likeness(whose: str, fakes: Tensor, others: Tensor) -> dict[str, float]:
    """PSNR and SSIM of each image to the nearest of others, on the mean."""
    found = _likeness(fakes, others[nearest(fakes, others)[1]])
    return {f"{key}_to_{whose}": value for key, value in found.items()}


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
    shape = _shape(tape)
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
        budget=_open_ended(experiment.budget),
        federation=Federation(clients=2, rounds=GAN_ROUNDS),
    )
    honest = duel.job
    free = honest.model_copy(update={"budget": Budget(unit="none")})
    app = ClientApp()

    def fresh() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(experiment.model, shape, fake + 1, experiment.arithmetic)

    @app.train()
    def play(message: Message, context: Context) -> Message:
        client, _ = identify(context)
        model = fresh()
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        config: dict[str, Any] = dict(message.content.config_records["config"])
        number, rate = int(config["server-round"]), float(config["learning-rate"])
        source, own, job = (
            (tape.pool, victim, honest) if client == 0 else (tape.reference, mine, free)
        )
        x, y = source.inputs(own), source.y[own]
        if client == 1 and adversary == "malicious_client":
            spy.learn(copy.deepcopy(model))
            made = spy.images(max(1, len(own) // 5))
            x = torch.cat([x, made])
            y = torch.cat([y, torch.full((len(made),), fake)])
        seen, round_ = Records(x, y), Round(number, client, rate)
        train(net_of(model, seen, job), seen, torch.arange(len(y)), job, round_, Ledger())
        if client == 0 and adversary == "server":
            spy.learn(copy.deepcopy(model))
        return reply(message, model, len(own))

    start = {k: v.numpy().copy() for k, v in fresh().state_dict().items()}
    for _ in simulate(duel, app, start, seed):
        pass
