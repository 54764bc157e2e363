"""What a server gives up that is to see sums only: settings that it refuses, and the terms."""

import secrets
from collections.abc import Iterator, Mapping

from privacy.errors import ModelError, SecureSumFailed, SettingsError
from privacy.sums.fixed_point import most_of, weighted_scale
from privacy.sums.terms import FEWEST, Terms, degree_for, parts_needed
from server.experiment.experiment import Experiment
from server.experiment.strategy import STRATEGIES

FEWEST_GROUPS = 3  # that can be compared

# They take the mean of all updates, whatever they then do with it.
OF_THE_MEAN = tuple(name for name, known in STRATEGIES.items() if known.linear)


def require_sums_only(experiment: Experiment, source: str) -> None:
    """Refuse settings that need what a server behind secure aggregation does not have.

    Raises:
        SettingsError: one line for each.
    """
    scheme = experiment.federation.secure_aggregation
    lines = [] if scheme == "none" else list(_refusals(experiment, scheme))
    if experiment.record.masked and scheme != "masks":
        lines.append("[record] masked = true: there are masked updates under 'masks' only")
    if lines:
        raise SettingsError("\n".join(f"{source}: {line}" for line in lines))


def require_floats(experiment: Experiment, counters: Mapping[str, str]) -> None:
    """Refuse a model that counts, where updates are summed as numbers of a grid, or need noise:
    counters leave the one and cannot have the other.

    Args:
        counters: the type of each of its arrays that is not of floats, by name.

    Raises:
        ModelError: names the array.
    """
    central = experiment.budget.unit == "client"
    if counters and (central or experiment.federation.secure_aggregation != "none"):
        under = "[budget] unit = 'client'" if central else "secure_aggregation"
        name, kind = next(iter(counters.items()))
        raise ModelError(
            f"{name} is {kind}: integers among the weights cannot be summed under {under}; use "
            "[model] norm = 'group' or 'none', and in a model of your own GroupNorm"
        )


def _refusals(experiment: Experiment, scheme: str) -> Iterator[str]:
    secure, members = experiment.secure, experiment.federation.cohort_size
    why = f"under secure_aggregation = {scheme!r} the server sees the sum of all updates only"
    if experiment.record.updates:
        yield f"[record] updates = true: {why}; record.masked = true keeps what it does see"
    compares = secure.groups >= FEWEST_GROUPS
    if experiment.strategy.name not in OF_THE_MEAN and not compares:
        name = experiment.strategy.name
        yield (
            f"[strategy] name = {name!r}: it compares single updates, and {why}; "
            f"use one of {', '.join(OF_THE_MEAN)}, or compare sums: [secure] groups"
        )
    if experiment.strategy.norm_bound is not None and not compares:
        yield (
            f"[strategy] norm_bound: it scales single updates down, and {why}; leave it out, or "
            "compare sums: [secure] groups"
        )
    if secure.groups > 1:
        yield from _refused_groups(experiment, members // secure.groups)
    elif secure.neighbours and secure.neighbours < (least := degree_for(members, 0.5)):
        yield (
            f"[secure] neighbours = {secure.neighbours}: clients accept no fewer than {least} "
            f"among {members}; use that, or 0"
        )
    if experiment.federation.client_evaluation:
        yield "[federation] client_evaluation = true: it tells figures of single clients; set false"
    if experiment.compression.bits != 32:
        yield (
            f"[compression] bits = {experiment.compression.bits}: masked numbers cannot be packed; "
            "use bits = 32"
        )
    if members < FEWEST:
        yield f"[federation] a cohort of {members}: a sum hides a client among {FEWEST} or more"
    if secure.honest(members) < 1:
        yield f"[secure] dishonest = {secure.dishonest}: no honest survivor is left to count on"
    if scheme == "ckks" and secure.bits != 32:
        yield f"[secure] bits = {secure.bits}: a slot of CKKS holds 32; use bits = 32"
    if members * secure.most_examples >= 1 << 32:
        yield f"[secure] most_examples = {secure.most_examples}: the sum of weights would wrap"
    try:
        if experiment.budget.unit != "client":
            weighted_scale(secure.bits, members, secure.value_range, weight_limit(experiment))
    except SecureSumFailed as error:
        yield f"[secure] {error}"


def _refused_groups(experiment: Experiment, size: int) -> Iterator[str]:
    secure = experiment.secure
    told = f"[secure] groups = {secure.groups}"
    if secure.groups < FEWEST_GROUPS:
        yield f"{told}: two cannot tell which of them lies; use {FEWEST_GROUPS} or more, or 1"
    if size < FEWEST:
        yield f"{told}: of {size} clients each; a sum hides a client among {FEWEST} or more"
    if experiment.budget.unit == "client":
        yield f"{told}: under unit = 'client' the noise is of one sum of all; use 1"
    if secure.neighbours:
        yield f"{told}: neighbours are then chosen by the size of a group; use neighbours = 0"


def weight_limit(experiment: Experiment) -> int:
    """The largest weight of a client: one where each client is protected as a whole."""
    return 1 if experiment.budget.unit == "client" else experiment.secure.most_examples


def terms_of(
    experiment: Experiment, run: str, number: int, length: int, task: str, members: list[int]
) -> Terms:
    """The terms of a sum in round `number` of an experiment that is resolved.

    Args:
        run: its name.
        length: numbers of an update.
        task: what all members are sent to train: `clients.node.secure.task_of`.
    """
    secure, budget, num = experiment.secure, experiment.budget, len(members)
    degree = secure.degree(num)
    deviation, clip = 0, 0.0
    value_range = secure.value_range
    if budget.unit == "client":
        clip = value_range = budget.clip
    if clip and (z := budget.noise_multiplier):
        from privacy.dp.discrete import deviation_of_each

        honest = secure.honest(num)
        deviation = deviation_of_each(secure.bits, num, honest, z)
        scale = deviation * honest**0.5 / (z * clip)
    elif clip:
        scale = most_of(secure.bits, num) / clip
    else:
        scale = weighted_scale(secure.bits, num, value_range, secure.most_examples)
    return Terms(
        scheme="ckks" if experiment.federation.secure_aggregation == "ckks" else "masks",
        run=run,
        round=number,
        nonce=secrets.token_hex(16),
        task=task,
        members=tuple(sorted(members)),
        degree=degree,
        needed=parts_needed(degree + 1, secure.threshold),
        survivors=secure.fewest(num),
        length=length,
        bits=secure.bits,
        value_range=value_range,
        most_examples=weight_limit(experiment),
        clip=clip,
        deviation=deviation,
        scale=scale,
    )
