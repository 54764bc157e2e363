"""The local loop: what one device does in one round, plain to read."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from clients.data.distort import distort
from clients.data.sets import load
from clients.draws import round_key, row_seeds
from clients.protocol import Form
from clients.training import gpu
from clients.training.job import Job
from clients.training.losses import LOSSES, Loss
from clients.training.net import Net, build, without_memory
from clients.training.optimizers import optimizer_of
from clients.training.records import Records
from clients.training.smaller.cutting import Elastics, loss_of
from clients.training.smaller.supernet import Variant, nets_of
from privacy.cipher import Key, Stream
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SEEDED
from privacy.dp.passes import in_pieces
from privacy.dp.training import privatize

_last: tuple[Job | None, str] = None, ""  # of a job its shape, put in one go: any thread may


@dataclass(frozen=True)
class Round:
    """What differs from round to round, and the client's own number.

    Attributes:
        proximal: FedProx's mu.
        plan: by which this federation is known from others of the same job: of seeded runs, they
            have then no noise in common.
    """

    number: int
    client: int
    learning_rate: float
    proximal: float = 0.0
    plan: str = ""


def train(
    net: Net,
    records: Records,
    members: Tensor,
    job: Job,
    round_: Round,
    ledger: Ledger,
) -> float | None:
    """Train `net` in place on the client's own records for one round.

    Args:
        records: the data set, of which `members` int64 [n] are this client's to train on.
        ledger: of this client's data; charged step by step under `unit = "record"`.

    Returns:
        The mean training loss without a budget; under one it is not computed, since it would
        leave the device without noise.

    Raises:
        BudgetExhausted: the round would overspend; nothing was computed.
        ModelError: the model cannot be trained under the budget, or not on a GPU.
    """
    key = _key(net, records, members, job, round_)
    with net.at_work() as there:
        net.begin_round(round_.number)
        optimizer = optimizer_of(net, job, round_.learning_rate)
        kept = _kept(net, job)
        shape = _shape(net, kept, round_.proximal)
        loss = loss_of(job.supernet) if job.supernet.trains else LOSSES[job.data.task]

        def fetch(step: int, piece: Tensor) -> tuple[Tensor, Tensor]:
            chosen, dice = members[piece], key.derive("step", step)
            inputs = records.inputs(chosen)
            if job.training.distortion:
                (word,) = Stream(dice.derive("distortion")).words(1)
                inputs = distort(inputs, job.training.distortion, row_seeds(word, chosen.numpy()))
            net.begin_pass(dice, chosen)
            return inputs.to(there), records.targets(chosen, inputs).to(there)

        if job.budget.unit != "record":
            total = 0.0
            batches = _shuffled(len(members), job, Stream(key.derive("batches")))
            for step, batch in enumerate(batches):
                optimizer.zero_grad()
                for piece in in_pieces(batch, net.piece):
                    total += add_gradient(net, *fetch(step, piece), len(batch), loss)
                shape()
                if job.training.gradient_norm:
                    nn.utils.clip_grad_norm_(net.parameters, job.training.gradient_norm)
                optimizer.step()
                net.constrain()
            return total / job.training.local_steps if job.budget.unit == "none" else None

        private = privatize(
            net.program or net.module,
            optimizer,
            ledger,
            budget=job.budget,
            sample_rate=job.training.sample_rate,
            num_records=len(members),
            nominal_records=nominal_records(job, len(members)),
            sampling=key.derive("batches"),
            noise=key.derive("noise"),
            per_sample="hooks" if job.training.per_sample == "hooks" else "onepass",
            before_update=shape if round_.proximal or kept else None,
            kept=kept,
            piece=net.piece,
        )
        try:
            for step, batch in enumerate(private.batches(job.training.local_steps)):
                private.classify(partial(fetch, step), batch, loss)
                net.constrain()
        finally:
            private.close()
        return None


def _key(net: Net, records: Records, members: Tensor, job: Job, round_: Round) -> Key:
    """Of all that is drawn at random in a round.

    Under record-level DP it is secret, unless the job wants it seeded: who knows the noise can take
    it away, and who knows the batches gains what the accountant takes as hidden.
    """
    if job.budget.unit == "record" and job.training.noise != SEEDED:
        return Key.secret()
    weights = net.take_digest()
    return round_key(job.seed, _shape_of(job), records.digest(members), weights, repr(round_))


def _shape_of(job: Job) -> str:
    """Of its settings what shapes a release, as JSON: written once for the clients of a cohort."""
    global _last
    known, text = _last
    if known is not job:
        no_shape = {
            "data": True, "training": {"per_sample", "device"}, "budget": {"epsilon"},
            "pruning": True,  # which the weights and the model show
        }  # fmt: skip
        text = job.model_dump_json(exclude=no_shape)  # type: ignore[arg-type]
        _last = job, text
    return text


def nominal_records(job: Job, own: int) -> int:
    """What may be told, and divided by, for the number of records: under a budget a public one.

    Args:
        own: how many there are; for jobs that no run has resolved.
    """
    return own if job.budget.unit == "none" else job.data.nominal_records or own


def net_of(model: nn.Module, records: Records, job: Job, form: Form | None = None) -> Net:
    """The model as the job has it trained.

    Args:
        form: of the records, if they are not those that the job names.

    Raises:
        SettingsError: the job is for a GPU, and there is none.
    """
    if job.supernet.trains:
        answers = [len(p) for p in model.parameters() if p.dim() > 1][-1]
        form = (form or load(job.data).form)._replace(outputs=answers)

        @without_memory()
        def smaller(variant: Variant) -> nn.Module:
            return build(variant.model, form, variant.arithmetic, job.pruning)

        nets = nets_of(job.supernet, job.model)
        model = Elastics(model, nets, smaller, job.supernet)
    compiled = job.training.per_sample == "compiled"
    return Net(model, records.shape, compiled=compiled, device=gpu.chosen(job))


def _shuffled(num: int, job: Job, sampling: Stream) -> Iterator[Tensor]:
    """Batches of round(q n) records in shuffled order, shuffled anew when all have been seen."""
    size = min(num, max(1, round(job.training.sample_rate * num)))
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(job.training.local_steps):
        if len(order) < size:
            order = torch.cat([order, torch.from_numpy(sampling.permutation(num))])
        batch, order = order[:size], order[size:]
        yield batch


def _kept(net: Net, job: Job) -> dict[nn.Parameter, Tensor]:
    """Like each parameter, 1 where it is trained and 0 where it is pruned, which is where a weight
    is zero when a round begins; empty without pruning.
    """
    names = {id(p): name for name, p in net.module.named_parameters()}
    own = net.parameters if net.program is None else net.program.parameters
    kept = job.pruning.kept({names[id(p)]: p for p in own})
    if kept and net.program is not None:
        return {net.program.flat: torch.cat([part.flatten() for part in kept])}
    return {p: one for p, one in zip(own, kept, strict=False) if not one.all()}


def _shape(net: Net, kept: Mapping[nn.Parameter, Tensor], proximal: float) -> Callable[[], None]:
    """What is done to each gradient, with its noise, before an update; it knows no record."""
    pull = _proximal_pull(net.parameters, proximal)

    def shape() -> None:
        pull()
        for p, one in kept.items():
            assert p.grad is not None
            p.grad.mul_(one)

    return shape


def _proximal_pull(parameters: list[nn.Parameter], mu: float) -> Callable[[], None]:
    """FedProx (Li et al. 2020): add mu (w - w_global) to the gradient. It knows no record."""
    start = [p.detach().clone() for p in parameters] if mu else []

    def pull() -> None:
        for p, origin in zip(parameters, start, strict=False):
            assert p.grad is not None
            p.grad.add_(p.detach() - origin, alpha=mu)

    return pull


def add_gradient(net: Net, x: Tensor, y: Tensor, num: int, loss_of: Loss) -> float:
    """Add to `p.grad` the gradient of the losses' sum over `num`, the batch's; return the same."""
    if net.program is None:
        share = loss_of(net.module(x), y).sum() / num
        share.backward()
        return share.item()
    total = torch.zeros_like(net.program.flat.data, dtype=torch.float64)
    loss = net.program.add_clipped_sum(x, y, math.inf, total, loss_of)
    mean, flat = total.div_(num).float(), net.program.flat
    flat.grad = mean if flat.grad is None else flat.grad + mean
    return loss / num


def evaluate(
    net: Net, records: Records, indices: Tensor, task: str = "classes"
) -> tuple[float, int]:
    """Summed loss, and the number of right answers, of `net` on some records.

    Under tasks other than classes no answer is right or wrong, and the number is 0.
    """
    total, correct = 0.0, 0
    for batch in indices.split(500):
        inputs = records.inputs(batch)
        outputs, y = net.logits(inputs), records.targets(batch, inputs)
        total += float(LOSSES[task](outputs, y).sum())
        if task == "classes":
            correct += int((outputs.argmax(1) == y).sum())
    return total, correct
