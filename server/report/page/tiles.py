"""The few numbers beside the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.experiment.promise import BY_CHANCE, EVALUATED
from server.report.facts.facts import Facts, RunFacts
from server.report.facts.findings import Adversary
from server.report.page.devices import SCHEMES
from server.report.words.units import Cell, number, percent, si, text


@dataclass(frozen=True)
class Tile:
    """One number, its name, and of what it is."""

    name: str
    value: Cell
    about: str


def tiles_of(facts: Facts) -> tuple[Tile, ...]:
    """Of one run: a private one, if there is, that was measured most; then the most accurate."""
    subject = subject_of(facts.runs)
    if subject is None:
        return ()
    run = subject
    tiles = [Tile("Accuracy", percent(run.accuracy), f"{run.dataset}, {run.model}, whole test set")]
    if run.private:
        delta = f"δ = {text(number(run.delta))}, for each {run.unit}"
        delta += "".join(f"; {said}" for said in (run.caveat, *run.warnings) if said)
        delta += f"; outside it: {EVALUATED}" * (EVALUATED in run.outside)
        tiles.append(Tile("ε claimed", number(run.epsilon), delta))
        best = run.audit.best if run.audit else None
        more = f"; {BY_CHANCE}" if run.audit and run.audit.by_chance else ""
        tiles.append(
            Tile("ε proven, at least", number(best.epsilon), f"by canaries, 95 % confidence{more}")
            if best
            else Tile("ε proven, at least", "not audited", "")
        )
    if run.leakage and run.leakage.played:
        strongest = run.leakage.strongest
        tiles.append(
            Tile(
                "Leakage, AUC",
                number(strongest.auc.value if strongest.auc else None),
                _about(strongest),
            )
        )
    else:
        tiles.append(Tile("Leakage, AUC", "not attacked", ""))
    if run.costs:
        cost = run.costs[0]
        energy = cost.round.energy_j if cost.round else cost.step.energy_j
        what = "A round on the device" if cost.round else "A step on the device"
        about = f"{text(si(energy, 'J'))}, {cost.short}"
        if before := cost.preparation:
            about += f"; before the first {text(si(before.latency_s, 's'))}"
        tiles.append(Tile(what, si(cost.latency_s, "s"), about))
    else:
        tiles.append(Tile("A round on the device", "not measured", ""))
    asked = [(r, e) for r in facts.runs for e in r.encrypted]
    if asked:
        other, e = min(asked, key=lambda pair: pair[1].total_ms)
        whose = "" if other is run else f", run {other.name}"
        about = f"{SCHEMES.get(e.scheme, e.scheme)}, {other.model}{whose}"
        tiles.append(Tile("An encrypted answer", si(e.total_ms / 1e3, "s"), about))
    return tuple(tiles)


def subject_of(runs: Sequence[RunFacts]) -> RunFacts | None:
    """The run of the tiles."""
    if not runs:
        return None

    def rank(run: RunFacts) -> tuple[bool, int, float]:
        measured = sum(map(bool, (run.audit, run.leakage, run.costs)))
        return run.private and run.finished, measured, run.accuracy or 0.0

    return max(runs, key=rank)


def _about(strongest: Adversary) -> str:
    """The interval alone: the value stands above it."""
    auc = strongest.auc
    return f"{auc.low:.3f} to {auc.high:.3f}; 0.5 is a guess" if auc else ""
