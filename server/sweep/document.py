"""sweep.json: what was asked for, and how far each cell came."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from privacy.documents import from_json, to_json

FILE = "sweep.json"
SUFFIX = ".sweep"
TRIALS = "trials"  # in a charged search's folder: its runs, at which nobody may look


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StageState(_Part):
    """How far a stage of a cell came."""

    status: Literal["pending", "done", "failed"] = "pending"
    error: str | None = None


class Cell(_Part):
    """One run of a sweep.

    Attributes:
        settings: by dotted key, what the axes set.
        point: the label of each axis.
        digest: of all settings; its run is named after it.
        run: name of the run directory; None while there is none.
        status: `pruned`: a search did not train it, because it breaks a limit.
        stages: run, and those that were ordered and can be done.
        figures: what a search judged it by.
    """

    settings: dict[str, Any]
    point: dict[str, Any]
    seed: int
    digest: str
    run: str | None = None
    status: Literal["pending", "running", "done", "failed", "pruned"] = "pending"
    error: str | None = None
    stages: dict[str, StageState] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people: the axes' labels and the seed."""
        said = [
            f"{key.rpartition('.')[2]} {label}".removeprefix("name ")
            for key, label in self.point.items()
        ]
        return ", ".join([*said, f"seed {self.seed}"])


class Searched(_Part):
    """What a search looked for, and how, and the cells that nothing it tried is better than."""

    objectives: dict[str, str]
    limits: list[str]
    seeds: int
    by: str = "tpe"
    front: list[str] = Field(default_factory=list)


class Charge(_Part):
    """What a charged search draws and costs.

    While it goes on the cells are all that were drawn, and must not be told; when it has ended
    they are the chosen one, if there is one.

    Attributes:
        law: of the number of trials.
        question: SHA-256 of what the draw depends on.
        epsilon: of the chosen run, search included, at `delta`.
        epsilon_of_a_trial: the most that one may spend, by the accountant of runs.
        said: of the chosen run, in a sentence.
    """

    law: str
    question: str
    delta: float
    epsilon: float
    epsilon_of_a_trial: float
    ended: bool = False
    said: str = ""


class Document(_Part):
    """sweep.json."""

    format: Literal[1] = 1
    experiment: str
    command: list[str]
    fixed: list[str]
    axes: dict[str, list[Any]]
    cells: list[Cell] = Field(default_factory=list)
    search: Searched | None = None
    charge: Charge | None = None

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return to_json(self.model_dump(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Document":
        """Raises ValidationError: the text is not JSON, or not a sweep's."""
        try:
            told = from_json(text)
        except ValueError:
            told = None
        return cls.model_validate(told)
