"""A lesson of encrypted learning from its file."""

from pathlib import Path

from clients.learning.settings import Lesson
from privacy.errors import SettingsError
from privacy.files import is_file
from privacy.settings import override, parse, read_toml
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
