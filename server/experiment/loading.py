"""An experiment from its file: the ready ones in `ready/`, and everybody's own."""

from pathlib import Path

from clients.models.sources import admit, is_own, parts
from privacy.errors import ModelError, SettingsError
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
    experiment: Experiment = parse(Experiment, tables, path.name, layers[1] | layers[2])
    require_name(f"{(layers[1] | layers[2]).get('title', path.name)}: title", experiment.title)
    experiment = in_force(_found_from_anywhere(experiment), layers, path.name)
    experiment = _with_own_model(experiment, path.parent, layers[1] | layers[2], path.name)
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
    if data.path and data.name != "idx" and data.partition != "nodes":
        raise SettingsError(
            f"{source}: [data] path = {data.path!r}: a folder is read under name = 'idx' only; say "
            "-s data.name=idx"
        )


def _found_from_anywhere(experiment: Experiment) -> Experiment:
    """A run is looked at from other folders than it was begun in: its data's path is absolute."""
    if not experiment.data.path:
        return experiment
    path = str(Path(experiment.data.path).expanduser().absolute())
    data = experiment.data.model_copy(update={"path": path})
    return experiment.model_copy(update={"data": data})


def _with_own_model(
    experiment: Experiment, folder: Path, origins: dict[str, str], source: str
) -> Experiment:
    """The user's own model by its file's bare name and SHA-256; the file may now be run here.

    It is looked for beside the experiment's file, and else from the current folder; one that the
    command line names, from the current folder first.
    """
    model = experiment.model
    if not is_own(model.name):
        return experiment
    file, name = parts(model.name)
    given = Path(file).expanduser()
    places = [folder / given, given]
    if "model.name" in origins:
        places.reverse()
    path = next((place for place in places if is_file(place)), given)
    where = f"{origins.get('model.name', source)}: [model] name = {model.name!r}"
    try:
        sha256 = admit(path, sha256=model.sha256)
    except OSError as error:
        raise SettingsError(
            f"{where}: {path}: cannot be read: {error.strerror}; it is looked for beside the "
            "experiment's file and from the current folder"
        ) from None
    except ModelError as error:
        raise SettingsError(f"{where}: {error}, or leave [model] sha256 out") from None
    named = {"name": f"{path.name}:{name}", "sha256": sha256}
    return experiment.model_copy(update={"model": model.model_copy(update=named)})


def ready_experiments() -> dict[str, str]:
    """Name and first comment line of each experiment in `server/experiment/ready/`."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(READY.glob("*.toml"))
    }
