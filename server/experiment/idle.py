"""Settings that would change nothing: refused, or put out of force by later ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from privacy.errors import SettingsError
from server.experiment.effects import EFFECTS, RESOLVED
from server.experiment.experiment import Experiment

AXES = 2  # the depth of a sweep's axes, of which each may decide whether another has an effect


def in_force(
    experiment: Experiment, layers: Sequence[Mapping[str, str]], source: str
) -> Experiment:
    """The experiment, without settings that later ones put out of force.

    A file may say how privacy is to be had, and `-s budget.unit=none` put all of it out of force;
    but nobody may ask for a promise, or a norm, and get none without a word.

    Args:
        layers: by dotted key, where each setting comes from: the file, `-s`, and a sweep's axes.
        source: what to call the file.

    Raises:
        SettingsError: one line for each setting that would change nothing.
    """
    at = {key: depth for depth, layer in enumerate(layers) for key in layer}
    refused, dropped = [], []
    for key in idle_of(experiment, at):
        given = at[key] > 0
        if not given and (key in RESOLVED or value_of(experiment, key) == default_of(key)):
            continue
        deciding = max(at.get(other, -1) for other in EFFECTS[key].by)
        if deciding > at[key] or deciding == at[key] == AXES:
            dropped.append(key)
        else:
            refused.append(_said(experiment, key, layers[at[key]][key] or source))
    if refused:
        raise SettingsError("\n".join(refused))
    return _without(experiment, dropped)


def require_effect(experiment: Experiment, origins: Mapping[str, str]) -> None:
    """Refuse what a command sets of a run and what would change nothing.

    Raises:
        SettingsError: one line for each.
    """
    if idle := idle_of(experiment, origins):
        raise SettingsError("\n".join(_said(experiment, key, origins[key]) for key in idle))


def idle_of(experiment: Experiment, keys: Iterable[str]) -> list[str]:
    """Which of some settings have no effect."""
    return [key for key in keys if key in EFFECTS and not EFFECTS[key].when(experiment)]


def value_of(experiment: Experiment, key: str) -> Any:
    """Of a dotted key."""
    found: Any = experiment
    for name in key.split("."):
        found = getattr(found, name)
    return found


def default_of(key: str) -> Any:
    """Of a dotted key."""
    section, _, name = key.partition(".")
    kind: Any = Experiment.model_fields[section].annotation
    return kind.model_fields[name].get_default(call_default_factory=True)


def keys_of(tables: Mapping[str, Any]) -> Iterator[str]:
    """The dotted keys of TOML tables."""
    for section, table in tables.items():
        if isinstance(table, dict):
            yield from (f"{section}.{key}" for key in table)
        else:
            yield section


def _said(experiment: Experiment, key: str, where: str) -> str:
    section, _, name = key.partition(".")
    value = value_of(experiment, key)
    value = list(value) if isinstance(value, tuple) else value
    return (
        f"{where}: [{section}] {name} = {value!r}: would change nothing: it needs "
        f"{EFFECTS[key].needs}; set that, or leave it out"
    )


def _without(experiment: Experiment, keys: Sequence[str]) -> Experiment:
    for key in keys:
        section, _, name = key.partition(".")
        table = getattr(experiment, section).model_copy(update={name: default_of(key)})
        experiment = experiment.model_copy(update={section: table})
    return experiment
