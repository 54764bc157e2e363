"""A first experiment on somebody's own records: a draft of its schema, and ten lines."""

from pathlib import Path

from clients.data.files import kind_of
from clients.data.sources import drafts, pictures, sounds
from clients.data.sources.members import has_parts
from clients.data.sources.tables import names_in_table
from privacy.documents import to_json
from privacy.errors import DataError, SettingsError
from privacy.files import require_name, write_atomically

ENDS = {"pictures": pictures.ENDS, "sounds": sounds.ENDS}
MODELS = {"table": "perceptron", "pictures": "convnet", "sounds": "perceptron"}


def draft_schema(path: Path, target: str = "", person: str = "", pattern: str = "") -> str:
    """A schema as TOML.

    Raises:
        DataError: the records cannot be read; or are arrays, of which nothing can be guessed.
    """
    kind = kind_of(path)
    if kind == "table":
        names = names_in_table(path)
        target = target or drafts.guess(names, drafts.TARGETS, names[-1])
        person = person or drafts.guess(names, drafts.PERSONS)
        lines = drafts.draft_table(path, target, person)
    elif kind == "arrays":
        raise DataError(
            f"{path}: write its schema by hand: labels = [...], and for "
            "numbers [columns.all] with low = ... and high = ..., for all columns or channels"
        )
    else:
        pattern = pattern or drafts.guess_pattern(path, ENDS[kind])
        lines = drafts.draft_files(path, ENDS[kind], pattern)
    return "\n".join([*lines, ""])


def begin(
    name: str, path: Path, model: str = "", target: str = "", person: str = ""
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
    kind = kind_of(path)
    data = [
        f"data.path = {to_json(str(path))}",
        f"data.schema = {to_json(str(schema))}  # what is public of the records: read it first",
    ]
    clients = "federation = { clients = 5, rounds = 20 }  # devices among whom records are spread"
    if kind == "table":
        names = names_in_table(path)
        target = target or drafts.guess(names, drafts.TARGETS, names[-1])
        person = person or drafts.guess(names, drafts.PERSONS)
        data.append(f"data.target = {to_json(target)}  # what the model is to say")
        if person:
            data.append(f"data.person = {to_json(person)}  # whose a record is")
        if person and drafts.looks_recorded(path, target, person):
            data.append("data.windows = { length = 128, step = 128 }  # samples of a record")
    elif kind in ENDS and (pattern := drafts.guess_pattern(path, ENDS[kind])):
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
    if kind != "arrays" and not (kind == "pictures" and has_parts(path)):
        data.append("data.test_share = 0.2  # of the persons, or records: never trained on")
    lines = [
        f"# {name}: a first experiment; see what it promises: privet plan {experiment}",
        *data,
        f"model.name = {to_json(model or MODELS.get(kind, 'perceptron'))}",
        clients,
        'budget = { unit = "record", epsilon = 8.0 }  # for each record, over all rounds',
        "training = { sample_rate = 0.1, local_steps = 10, learning_rate = 0.5 }  # of a round",
    ]
    drafted = draft_schema(path, target, person)
    for file, text in ((schema, drafted), (experiment, "\n".join([*lines, ""]))):
        with write_atomically(file) as out:
            out.write(text.encode())
    return experiment, schema
