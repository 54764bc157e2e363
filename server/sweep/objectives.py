"""What a search can look for in a run, and what it can demand of the chip model beforehand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from clients.chip import load_chip
from privacy.errors import RunError, SettingsError
from privacy.settings import suggest
from server.cost import Report
from server.run.directory import Run
from server.run.summary import measured, summarise

Direction = Literal["minimize", "maximize"]

# What the chip model says of an experiment before it is trained.
FIGURES: dict[str, Callable[[Report], float]] = {
    "latency_s": lambda report: report.inference.latency_s,
    "energy_j": lambda report: report.inference.energy_j,
    "round_latency_s": lambda report: _round(report).latency_s,
    "round_energy_j": lambda report: _round(report).energy_j,
    "peak_bytes": lambda report: report.peak_bytes,
    "upload_bytes": lambda report: _round(report).upload_bytes,
}


def _round(report: Report) -> Any:
    assert report.round is not None
    return report.round


class Objective(NamedTuple):
    """What is sought: `maximize` or `minimize` what is read from a run, or a figure of the chip."""

    direction: Direction
    read: Callable[[Run], float] | None = None
    figure: str = ""


def _accuracy(run: Run) -> float:
    found = summarise(run).accuracy
    if found is None:
        raise RunError(f"{run.path}: its last round was not evaluated")
    return found


def auc_of(run: Run) -> float | None:
    """How well members are told by the models of all rounds; None before an attack, or if
    leakage.json is damaged."""
    try:
        found = run.leakage["all_rounds"]["auc"]["value"]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, float) and 0 <= found <= 1 else None


def _leakage(run: Run) -> float:
    found = auc_of(run)
    if found is None:
        raise RunError(
            f"{run.path}/leakage.json: has no figure of all rounds; run: "
            f"privet attack {run.path.name}"
        )
    return found


def _epsilon(run: Run) -> float:
    found = summarise(run).epsilon
    if found is None:
        raise RunError(f"{run.path}: epsilon is no objective where nothing is promised")
    return found


def _encrypted_ms(run: Run) -> float:
    """Median of an answer on ciphertexts, by the faster scheme that was asked for."""
    found = [about.get("total_ms") for scheme in run.inference if (about := measured(run, scheme))]
    timed = [ms for ms in found if isinstance(ms, float) and 0 < ms < math.inf]
    if not timed:
        raise RunError(
            f"{run.path}/inference.json: has no time of an answer; run: privet infer "
            f"{run.path.name} --evaluate 10"
        )
    return min(timed)


OBJECTIVES: dict[str, Objective] = {
    "accuracy": Objective("maximize", _accuracy),
    "leakage": Objective("minimize", _leakage),
    "epsilon": Objective("minimize", _epsilon),
    "encrypted-latency": Objective("minimize", _encrypted_ms),
    "latency": Objective("minimize", figure="latency_s"),
    "energy": Objective("minimize", figure="energy_j"),
    "round-latency": Objective("minimize", figure="round_latency_s"),
    "round-energy": Objective("minimize", figure="round_energy_j"),
    "memory": Objective("minimize", figure="peak_bytes"),
}


@dataclass(frozen=True)
class Limit:
    """`latency_s=0.5@stm32h743`: what a candidate may cost on a chip."""

    figure: str
    bound: float
    chip: str

    def __str__(self) -> str:
        return f"{self.figure}={self.bound:g}@{self.chip}"


def parse_limit(text: str, chips: Sequence[str]) -> Limit:
    """Read one `--limit`; without `@CHIP` it is of the first of `chips`.

    Raises:
        SettingsError: it is none.
    """
    what, _, chip = text.partition("@")
    figure, _, bound = what.partition("=")
    if figure not in FIGURES:
        raise SettingsError(f"--limit {text}: unknown figure{suggest(figure, FIGURES)}")
    try:
        limit = Limit(figure, float(bound), chip or chips[0])
    except ValueError:
        limit = Limit(figure, math.nan, "")
    except IndexError:
        raise SettingsError(f"--limit {text}: of which chip? {text}@stm32h743") from None
    if not 0 < limit.bound < math.inf:
        raise SettingsError(f"--limit {text}: must be {figure}=NUMBER@CHIP, above 0 and finite")
    load_chip(limit.chip)
    return limit
