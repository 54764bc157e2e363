"""Which nets can be cut out of a run's supernet, and what each needs on a chip."""

import random
from typing import NamedTuple

from clients.chip import Chip, Memory, Workload, estimate
from clients.training.smaller.supernet import Variant, nets_of
from privacy.errors import SettingsError
from server.cost.subjects import arithmetic_of, subject_of
from server.experiment.experiment import Experiment

MOST = 256  # nets that are priced; of more, so many are drawn


class Limits(NamedTuple):
    """What a device has at most; 0 is no limit but the chip's own memory."""

    latency_ms: float = 0.0
    memory_kb: float = 0.0


class Candidate(NamedTuple):
    """A net, and an inference of one record with it.

    Attributes:
        net: which of the supernet's.
        weights: trained words. macs: products of a record.
        memory_kb: at the worst moment. weights_kb: of which a microcontroller has those in flash.
        short: what the chip has too little of, and how many times as much is needed.
    """

    net: Variant
    weights: int
    macs: int
    latency_ms: float
    energy_mj: float
    memory_kb: float
    weights_kb: float
    short: dict[str, float]

    def fits(self, limits: Limits) -> bool:
        """Does it keep to them?"""
        return not self.short and not over(self, limits)


def candidates_of(experiment: Experiment, chip: Chip) -> tuple[list[Candidate], int]:
    """Nets priced on a chip, the whole one first, and how many there are in all.

    Of more than `MOST` those are drawn at random, with the whole and the smallest among them.
    """
    nets = nets_of(experiment.supernet, experiment.model)
    some = nets
    if len(nets) > MOST:
        inner = random.Random(0).sample(range(1, len(nets) - 1), MOST - 2)
        some = [nets[0], *(nets[i] for i in sorted(inner)), nets[-1]]
    return [_priced(experiment, net, chip) for net in some], len(nets)


def _priced(experiment: Experiment, net: Variant, chip: Chip) -> Candidate:
    smaller = experiment.model_copy(update=net._asdict())
    network = subject_of(smaller).network
    cost = estimate(network, chip, Workload(), arithmetic_of(smaller, chip), 1)
    return Candidate(
        net=net,
        weights=network.parameters,
        macs=network.macs,
        latency_ms=cost.latency_s * 1e3,
        energy_mj=cost.energy_j * 1e3,
        memory_kb=cost.memory.peak_bytes / 1e3,
        weights_kb=cost.memory.weight_bytes / 1e3,
        short=_short(cost.memory, chip),
    )


def _short(memory: Memory, chip: Chip) -> dict[str, float]:
    rooms = {"memory": (memory.peak_bytes, memory.limit_bytes)}
    if chip.microcontroller:
        rooms["flash"] = (memory.weight_bytes, chip.memory.dram_bytes)
    return {
        f"its own {name} of {room / 1e3:.4g} kB": held / room
        for name, (held, room) in rooms.items()
        if room and held > room
    }


def over(candidate: Candidate, limits: Limits) -> dict[str, float]:
    """Of each limit that is broken, how many times."""
    needs = {"latency_ms": candidate.latency_ms, "memory_kb": candidate.memory_kb}
    return {
        name: needs[name] / bound
        for name, bound in limits._asdict().items()
        if bound and needs[name] > bound
    }


def require_one(candidates: list[Candidate], limits: Limits, chip: str) -> list[Candidate]:
    """Those that fit.

    Raises:
        SettingsError: none does; it says what binds, and what the nearest needs.
    """
    if found := [c for c in candidates if c.fits(limits)]:
        return found
    nearest = min(
        candidates,
        key=lambda c: (bool(c.short), max([*c.short.values(), *over(c, limits).values()])),
    )
    binds = [
        f"--{name.replace('_', '-')} {getattr(limits, name):g}" for name in over(nearest, limits)
    ] + list(nearest.short)
    needs = f"{nearest.latency_ms:.4g} ms and {nearest.memory_kb:.4g} kB"
    if any("flash" in what for what in nearest.short):
        needs += f", {nearest.weights_kb:.4g} kB of flash"
    raise SettingsError(
        f"--chip {chip}: no net fits: {' and '.join(binds)} bind{'s' * (len(binds) < 2)}; the "
        f"nearest needs {needs} ({told(nearest.net)})"
    )


def told(net: Variant) -> str:
    """What tells a net from the others of its supernet."""
    model, arithmetic = net
    shape: dict[str, object] = {"width": model.width, "depth": model.depth, "trim": model.trim}
    if model.name == "perceptron":
        shape = {"hidden": list(model.hidden)}
    if arithmetic.name != "float":
        shape["bits"] = arithmetic.bits
    return ", ".join(f"{key} = {value}" for key, value in shape.items() if value) or "the whole"
