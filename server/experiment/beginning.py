"""A first experiment on somebody's own records: a draft of its schema, and ten lines."""

from pathlib import Path

from clients.data.files import KINDS, files_of, kind_of
from clients.data.settings import is_hub
from clients.data.sources import drafts
from clients.data.sources.arrays import are_pictures, open_arrays
from clients.data.sources.hub import tests_of
from clients.data.sources.members import has_parts
from clients.data.sources.rows import names_in_table
from privacy.documents import to_json
from privacy.errors import DataError, SettingsError
from privacy.files import require_name, write_atomically
from privacy.settings import suggest

LEAST_SIDE = 20  # of pictures for a convnet


def draft_schema(
    path: Path, target: str = "", person: str = "", pattern: str = "", task: str = "classes"
) -> str:
    """A schema as TOML.

    Args:
        target: the column that a model is to say, or columns, with commas between; empty is
            guessed.
        task: as in [data].

    Raises:
        DataError: the records cannot be read.
    """
    kind = kind_of(path)
    if kind == "table":
        targets, person = _columns(path, target, person, task)
        lines = drafts.draft_table(path, targets, person, task)
    elif kind == "arrays":
        lines = drafts.draft_arrays(path, task)
    else:
        if not is_hub(path):
            pattern = pattern or drafts.guess_pattern(path, KINDS[kind])
        stream = files_of(path, kind, pattern, _split(target))
        lines = drafts.draft_files(path, stream, kind, task)
    return "\n".join([*lines, ""])


def _split(target: str) -> list[str]:
    return [name.strip() for name in target.split(",") if name.strip()]


def _columns(path: Path, target: str, person: str, task: str) -> tuple[list[str], str]:
    """Of a table: what a model is to say, and whose a record is; guessed where nobody says.

    Raises:
        DataError: it has no such column.
    """
    names = names_in_table(path)
    targets = _split(target)
    if not targets and task != "itself":
        targets = [drafts.guess(names, drafts.TARGETS, names[-1])]
    person = person or drafts.guess(names, drafts.PERSONS)
    for name in [*targets, person] if person else targets:
        if name not in names:
            raise DataError(
                f"{path}: column {name} is not there{suggest(name, [one[:40] for one in names])}"
            )
    return targets, person


def begin(
    name: str,
    path: Path,
    model: str = "",
    target: str = "",
    person: str = "",
    task: str = "classes",
) -> tuple[Path, Path]:
    """Write `NAME.toml` and `NAME.schema.toml` here.

    Returns:
        Their paths.

    Raises:
        SettingsError: a file of that name is there already.
        DataError: see `draft_schema`.
    """
    require_name("NAME", name)
    experiment, schema = Path(f"{name}.toml"), Path(f"{name}.schema.toml")
    for file in (experiment, schema):
        if file.exists():
            raise SettingsError(f"{file}: is there already; choose another NAME, or take it away")
    kind, far = kind_of(path), is_hub(path)
    data = [
        f"data.path = {to_json(str(path))}  # the records",
        f"data.schema = {to_json(str(schema))}  # what is public of the records: read it first",
    ]
    clients = "federation = { clients = 5, rounds = 20 }  # devices among whom records are spread"
    if kind == "table":
        targets, person = _columns(path, target, person, task)
        told = targets[0] if len(targets) == 1 else targets
        if targets:
            data.append(f"data.target = {to_json(told)}  # what the model is to say")
        if person:
            data.append(f"data.person = {to_json(person)}  # whose a record is")
        if person and task == "classes" and drafts.looks_recorded(path, targets[0], person):
            data.append("data.windows = { length = 128, step = 128 }  # samples of a record")
    elif kind in KINDS and not far and (pattern := drafts.guess_pattern(path, KINDS[kind])):
        data.append(f"data.pattern = {to_json(pattern)}  # what the names of files tell")
        person = person or "person"
        if f"{{{person}}}" not in pattern:
            raise SettingsError(
                f"--person {person}: names of files tell {pattern}; use one of these, or leave it "
                "out"
            )
        data.append(f"data.person = {to_json(person)}  # whose a record is")
    if person:
        data.append('data.partition = "person"  # devices hold whole persons')
    if kind in KINDS and far and target:
        data.append(f"data.target = {to_json(target)}  # what the model is to say")
    if task != "classes":
        data.append(f"data.task = {to_json(task)}  # what kind of answer that is")
    if not _has_tests(path, kind):
        data.append("data.test_share = 0.2  # of the persons, or records: never trained on")
    lines = [
        f"# {name}: a first experiment; see what it promises: privet plan {experiment}",
        *data,
        f"model.name = {to_json(model or _model_for(path, kind))}  # what is trained",
        clients,
        'budget = { unit = "record", epsilon = 8.0 }  # for each record, over all rounds',
        "training = { sample_rate = 0.1, local_steps = 10, learning_rate = 0.5 }  # of a round",
    ]
    drafted = draft_schema(path, target, person, task=task)
    for file, text in ((schema, drafted), (experiment, "\n".join([*lines, ""]))):
        with write_atomically(file) as out:
            out.write(text.encode())
    return experiment, schema


def _has_tests(path: Path, kind: str) -> bool:
    """Does it keep records for tests itself?"""
    if kind == "arrays":
        return "test_x" in open_arrays(path)
    return tests_of(path) is not None if is_hub(path) else kind in KINDS and has_parts(path)


def _model_for(path: Path, kind: str) -> str:
    """A ready model for records of a kind."""
    if kind == "arrays":
        x = open_arrays(path)["train_x"]
        sides = x.shape[1:3] if x.shape[-1] == 3 else x.shape[-2:]
        if (are_pictures(x) or x.ndim == 4) and min(sides) >= LEAST_SIDE:
            kind = "pictures"
    return "convnet" if kind == "pictures" else "perceptron"
