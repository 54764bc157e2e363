"""A lesson of encrypted learning from its file, and what it is as the settings of a run."""

from pathlib import Path

from clients.learning.settings import Learning, Lesson
from clients.training.job import Training
from privacy.errors import SettingsError
from privacy.files import is_file
from privacy.settings import override, parse, read_toml
from server.experiment.experiment import Experiment, Federation
from server.experiment.loading import absolute, tables_of_file, with_weights


def load_lesson(name: str, assignments: list[str] | None = None) -> Lesson:
    """Read a lesson by the path of its TOML file.

    Args:
        assignments: `section.key=value`, from the command line.

    Raises:
        SettingsError: no such file, or something wrong in it: one line for each.
    """
    path = Path(name)
    if not is_file(path):
        raise SettingsError(f"{name}: no such file; a lesson is a TOML file: [data], [budget]")
    tables, origins = override(read_toml(path), assignments or [])
    lesson = parse(Lesson, tables_of_file(tables, path), path.name, origins)
    model = with_weights(lesson.model, path.parent, origins, path.name)
    return lesson.model_copy(update={"data": absolute(lesson.data), "model": model})


class Learnt(Experiment):
    """The settings of the run that a lesson leaves: one client's steps, each on all its records.

    Attributes:
        learning: the lesson's.
    """

    learning: Learning

    @classmethod
    def by(cls, lesson: Lesson, sensitivity: float, records: int) -> "Learnt":
        """Those of a lesson.

        Args:
            sensitivity: the most that one record adds to a step, in norm.
            records: by which sums were divided.
        """
        learning, budget = lesson.learning, lesson.resolve().budget
        if budget.unit == "record":
            budget = budget.model_copy(update={"clip": sensitivity})
        told = {"held_out": 0.0, "nominal_records": records}
        return cls(
            title="lesson",
            data=lesson.data.model_copy(update=told),
            model=lesson.model,
            training=Training(
                sample_rate=1.0,
                local_steps=learning.steps,
                learning_rate=learning.rate,
                noise="secure",
            ),
            federation=Federation(clients=1, rounds=1),
            budget=budget,
            learning=learning,
        )


def settings_of_run(path: Path) -> Experiment:
    """A run's own file: of an experiment, or of a lesson; raises SettingsError."""
    tables = read_toml(path)
    return parse(Learnt if "learning" in tables else Experiment, tables, str(path))
