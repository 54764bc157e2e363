"""An experiment from its file: the ready ones in `ready/`, and everybody's own."""

from pathlib import Path

from clients.data.bounds import Schema
from clients.data.settings import Data, is_hub
from clients.models.settings import Model
from clients.models.sources import admit, is_own, parts
from clients.models.weights import keep, recall
from privacy.dp.budget import Budget
from privacy.errors import ModelError, SettingsError
from privacy.files import is_file, require_name
from privacy.settings import Section, Tables, override, parse, read_toml, suggest
from server.experiment.experiment import Experiment
from server.experiment.idle import in_force, keys_of, require_effect
from server.experiment.named import READY
from server.experiment.named import ready_experiments as ready_experiments
from server.experiment.secrecy import OF_THE_MEAN, require_sums_only

MODEL = "model.py"  # as a run keeps it
PLACES = "it is looked for beside the experiment's file and from the current folder"


def load_experiment(
    name: str, assignments: list[str] | None = None, axes: list[str] | None = None
) -> Experiment:
    """Read an experiment by its name in `server/experiment/ready/`, or by the path of a TOML file.

    Args:
        assignments: `section.key=value`, from the command line.
        axes: the same, of a sweep's axes: they may put settings out of force, each other's too.

    Raises:
        SettingsError: no such experiment, or something wrong in it: one line for each; or it is for
            a GPU, and none is here.
    """
    path = Path(name) if name.endswith(".toml") else READY / f"{name}.toml"
    if not is_file(path):
        if name.endswith(".toml"):
            raise SettingsError(f"{name}: no such file")
        raise SettingsError(f"{name}: no such experiment{suggest(name, ready_experiments())}")
    tables: Tables = read_toml(path)
    layers: list[dict[str, str]] = [dict.fromkeys(keys_of(tables), "")]
    for given in (assignments, axes):
        tables, origins = override(tables, given or [])
        layers.append(origins)
    tables.setdefault("title", path.stem)
    tables = tables_of_file(tables, path)
    experiment: Experiment = parse(Experiment, tables, path.name, layers[1] | layers[2])
    require_name(f"{(layers[1] | layers[2]).get('title', path.name)}: title", experiment.title)
    experiment = in_force(_found_from_anywhere(experiment), layers, path.name)
    origins = layers[1] | layers[2]
    experiment = _with_own_model(experiment, path.parent, origins, path.name)
    model = with_weights(experiment.model, path.parent, origins, path.name)
    experiment = experiment.model_copy(update={"model": model})
    if experiment.budget.unit == "client" and experiment.strategy.name not in OF_THE_MEAN:
        raise SettingsError(
            f"{path.name}: [strategy] name = {experiment.strategy.name!r}: it compares single "
            "updates, and under [budget] unit = 'client' the noisy mean alone is released; use one "
            f"of {', '.join(OF_THE_MEAN)}"
        )
    if experiment.budget.unit != "none" and experiment.strategy.name == "qfedavg":
        raise SettingsError(
            f"{path.name}: [strategy] name = 'qfedavg': it needs each client's training loss, "
            "which is not noised; use it with [budget] unit = 'none'"
        )
    require_sums_only(experiment, path.name)
    if experiment.training.device == "cuda" and experiment.federation.engine != "superlink":
        from clients.training.gpu import require_here

        require_here(experiment, origins.get("training.device", path.name))
    _require_own_name(experiment, (layers[1] | layers[2]).get("data.path", path.name))
    return experiment


def _require_own_name(experiment: Experiment, source: str) -> None:
    """Somebody's own records under a data set's name would be scaled, and reported, as that one.

    On devices of their own they may: what a job is rehearsed with there is a split of it.
    """
    data = experiment.data
    if data.path and data.name not in ("idx", "file") and data.partition != "nodes":
        raise SettingsError(
            f"{source}: [data] path = {data.path!r}: read under name = 'idx' (a folder of grey "
            "pictures as IDX, npz or CSV) or 'file' only; say -s data.name=idx, or file"
        )


class _Own(Section):
    data: Data


def load_source(path: Path, schema: Path | None, assignments: list[str] | None = None) -> Data:
    """[data] of somebody's own file, whose schema lies beside it if none is named.

    Args:
        assignments: `data.key=value`, from the command line.

    Raises:
        SettingsError: something in it is wrong.
    """
    given = {"path": str(path)} | ({} if schema is None else {"schema": str(schema)})
    tables, origins = override({"data": given}, assignments or [])
    data = parse(_Own, tables_of_file(tables, path), str(path), origins).data
    require_effect(Experiment(data=data, budget=Budget(epsilon=1.0)), origins)
    return absolute(data)


def tables_of_file(tables: Tables, path: Path) -> Tables:
    """[data] with a path and no name is a file, and its schema is read where the setting points.

    Raises:
        SettingsError: the schema is not there, or is none.
    """
    data = tables.get("data")
    if not isinstance(data, dict):
        return tables
    there = data.get("path") or data.get("test_path") or ""
    told, records = data.get("schema"), Path(str(there))
    if not there and not told:
        return tables
    beside = next((file for file in _schemas_of(records) if is_file(file)), None)
    if there and "name" not in data and (told or beside or not records.is_dir()):
        data = data | {"name": "file"}
    if data.get("name") != "file":
        if isinstance(told, str):  # a path, which is read of a file alone
            raise SettingsError(
                f"{path}: [data] schema = {told!r}: would change nothing: it needs [data] name = "
                f"'file', with a path; set that, or leave it out"
            )
        return tables | {"data": data}
    if isinstance(told, str):
        near = [Path(told).expanduser(), path.parent / told]
        beside = next((file for file in near if is_file(file)), near[0])
    if beside is not None and not isinstance(told, dict):
        schema = parse(Schema, read_toml(beside), str(beside))
        data = data | {"schema": schema.model_dump(mode="json", exclude_unset=True)}
    return tables | {"data": data}


def _schemas_of(path: Path) -> list[Path]:
    """Where the schema of records may lie."""
    path = path.expanduser().absolute()  # `.` has no name of its own
    return [
        path / "schema.toml",
        path.parent / f"{path.name.split('.')[0]}.schema.toml",
        path.parent / "schema.toml",
    ]


def _found_from_anywhere(experiment: Experiment) -> Experiment:
    """A run is looked at from other folders than it was begun in: its data's path is absolute."""
    return experiment.model_copy(update={"data": absolute(experiment.data)})


def absolute(data: Data) -> Data:
    """Where its files lie, from wherever it is looked at."""
    paths = {
        key: value if is_hub(value) else str(Path(value).expanduser().absolute())
        for key in ("path", "test_path")
        if (value := getattr(data, key))
    }
    return data.model_copy(update=paths)


def _with_own_model(
    experiment: Experiment, folder: Path, origins: dict[str, str], source: str
) -> Experiment:
    """The user's own model by its file's bare name and SHA-256; the file may now be run here."""
    model = experiment.model
    if not is_own(model.name):
        return experiment
    file, name = parts(model.name)
    path = _place(file, folder, "model.name" in origins)
    if not is_file(path) and model.sha256 and is_file(folder / MODEL):
        path = folder / MODEL  # a run's own file of settings, again
    where = f"{origins.get('model.name', source)}: [model] name = {model.name!r}"
    try:
        sha256 = admit(path, sha256=model.sha256)
    except OSError as error:
        raise SettingsError(
            f"{where}: {path}: cannot be read: {error.strerror}; {PLACES}"
        ) from None
    except ModelError as error:
        raise SettingsError(f"{where}: {error}, or leave [model] sha256 out") from None
    named = {"name": f"{Path(file).name}:{name}", "sha256": sha256}
    return experiment.model_copy(update={"model": model.model_copy(update=named)})


def with_weights(model: Model, folder: Path, origins: dict[str, str], source: str) -> Model:
    """A backbone's weights by their file's bare name and SHA-256; the cache keeps a copy.

    Args:
        folder: of the settings' file, source: its name. origins: what the command line set.

    Raises:
        SettingsError: they are not there, or other than they should be.
    """
    if not model.weights:
        return model
    path = _place(model.weights, folder, "model.weights" in origins)
    if not is_file(path) and recall(model.weights_sha256):
        return model
    where = f"{origins.get('model.weights', source)}: [model] weights"
    try:
        sha256 = keep(path)
    except ModelError as error:
        told = "" if is_file(path) else f"; {PLACES}"
        raise SettingsError(f"{where}: {error}{told}") from None
    if model.weights_sha256 not in ("", sha256):
        raise SettingsError(
            f"{where}: {path} has SHA-256 {sha256[:12]}..., not that of weights_sha256; bring that "
            "file, or leave weights_sha256 out"
        )
    return model.model_copy(update={"weights": path.name, "weights_sha256": sha256})


def _place(file: str, folder: Path, here_first: bool) -> Path:
    """A file beside the experiment's, or else from the current folder; what the command line names
    is looked for from the current folder first."""
    given = Path(file).expanduser()
    places = [folder / given, given]
    if here_first:
        places.reverse()
    return next((place for place in places if is_file(place)), given)
