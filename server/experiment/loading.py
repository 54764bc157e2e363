"""An experiment from its file: the ready ones in `ready/`, and everybody's own."""

from pathlib import Path

from clients.data.bounds import Schema
from privacy.errors import SettingsError
from privacy.files import is_file, require_name
from privacy.settings import Tables, override, parse, read_toml, suggest
from server.experiment.experiment import Experiment
from server.experiment.idle import in_force, keys_of
from server.experiment.secrecy import OF_THE_MEAN, require_sums_only

READY = Path(__file__).parent / "ready"


def load_experiment(
    name: str, assignments: list[str] | None = None, axes: list[str] | None = None
) -> Experiment:
    """Read an experiment by its name in `server/experiment/ready/`, or by the path of a TOML file.

    Args:
        assignments: `section.key=value`, from the command line.
        axes: the same, of a sweep's axes: they may put settings out of force, each other's too.

    Raises:
        SettingsError: no such experiment, or something wrong in it: one line for each.
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
    tables = _of_file(tables, path)
    experiment: Experiment = parse(Experiment, tables, path.name, layers[1] | layers[2])
    require_name(f"{(layers[1] | layers[2]).get('title', path.name)}: title", experiment.title)
    experiment = in_force(_found_from_anywhere(experiment), layers, path.name)
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


def _of_file(tables: Tables, path: Path) -> Tables:
    """[data] with a path and no name is a file, and its schema is read where the setting points.

    Raises:
        SettingsError: the schema is not there, or is none.
    """
    data = tables.get("data")
    if not isinstance(data, dict) or not data.get("path"):
        return tables
    told = data.get("schema")
    beside = next((file for file in _beside(Path(str(data["path"]))) if is_file(file)), None)
    if "name" not in data and (told or beside or not Path(str(data["path"])).is_dir()):
        data = data | {"name": "file"}
    if data.get("name") != "file":
        return tables | {"data": data}
    if isinstance(told, str):
        near = [Path(told).expanduser(), path.parent / told]
        beside = next((file for file in near if is_file(file)), near[0])
    if beside is not None and not isinstance(told, dict):
        schema = parse(Schema, read_toml(beside), str(beside))
        data = data | {"schema": schema.model_dump(mode="json", exclude_unset=True)}
    return tables | {"data": data}


def _beside(path: Path) -> list[Path]:
    """Where the schema of records may lie."""
    path = path.expanduser()
    return [
        path / "schema.toml",
        path.with_name(f"{path.name.split('.')[0]}.schema.toml"),
        path.parent / "schema.toml",
    ]


def _found_from_anywhere(experiment: Experiment) -> Experiment:
    """A run is looked at from other folders than it was begun in: its data's path is absolute."""
    if not experiment.data.path:
        return experiment
    paths = {
        key: str(Path(value).expanduser().absolute())
        for key in ("path", "test_path")
        if (value := getattr(experiment.data, key))
    }
    data = experiment.data.model_copy(update=paths)
    return experiment.model_copy(update={"data": data})


def ready_experiments() -> dict[str, str]:
    """Name and first comment line of each experiment in `server/experiment/ready/`."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(READY.glob("*.toml"))
    }
