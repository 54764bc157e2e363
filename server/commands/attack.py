"""`privet attack`: what five adversaries learn from a run, and one from any finished model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.documents import to_json
from privacy.errors import SettingsError
from privacy.text import told_apart
from server.commands.options import (
    AsJson,
    Classes,
    Members,
    NonMembers,
    References,
    RunName,
    Runs,
    Settings,
    Task,
    Tasks,
    Trust,
    Weights,
    finished,
    open_run,
    refuse_idle,
)

if TYPE_CHECKING:
    from rich.table import Table

    from server.adversary.strangers.finished import Subject


def attack(
    run: RunName,
    model: Annotated[
        str, typer.Argument(help="After the word model: FILE.py:NAME or FILE.onnx of your own")
    ] = "",
    members: Members = None,
    non_members: NonMembers = None,
    weights: Weights = None,
    reference: References = None,
    task: Task = Tasks.CLASSES,
    classes: Classes = None,
    as_json: AsJson = False,
    s: Settings = None,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Attack a finished run, and write leakage.json into it; it can be interrupted, and goes on.

    Or, as `attack model FILE`, a finished model that privet did not train.
    """
    if model:
        if run != "model":
            raise SettingsError(f"{model}: one run at a time, or: privet attack model {model}")
        refuse_idle(dict.fromkeys(("runs", "trust"), "a model's files are your own"))
        _attack_model(
            finished(model, members, non_members, weights, reference, task, classes, s), as_json
        )
        return
    refuse_idle(dict.fromkeys(MODELS_OWN, f"{run} is a run, which has its own; leave it out"))
    from server.adversary.adversaries import attack as attack_run
    from server.adversary.adversaries import settings_of
    from server.console import err, out

    found_run = open_run(run, runs, trust)
    found = attack_run(found_run, settings_of(found_run, s), lambda line: err.print(line))
    if as_json:
        print(to_json(found, indent=1))
        return
    out.print(membership_table(found))
    if (drawn := reconstruction_table(found)).row_count:
        out.print(drawn)
    for name, one in found["generators"].items():
        if isinstance(one, dict) and "warning" in one:
            told = f"generator, {name.replace('_', ' ')}, {one['warning']}"
            err.print(told, highlight=False)
    if "columns" in found.get("attributes", {}):
        out.print(attribute_table(found["attributes"]))
    if "robustness" not in found["left_out"]:
        out.print(robustness_table(found["robustness"]))
    for name, reason in found["left_out"].items():
        err.print(f"left out: {name}: {reason}", highlight=False)


MODELS_OWN = ("members", "non_members", "weights", "reference", "task", "classes")


def _attack_model(subject: "Subject", as_json: bool) -> None:
    """A finished model of the user's."""
    from server.adversary.strangers.finished import attack_model
    from server.console import Columns, err, out

    found = attack_model(subject)
    if as_json:
        print(to_json(found, indent=1))
        return
    title = f"Membership, 95 % intervals: {found['members']} members, {found['non_members']} others"
    table = Columns("attack", "AUC", "TPR at 1 % FPR", "epsilon is at least", title=title)
    for name, one in found["attacks"].items():
        figures = (_interval(one["auc"], 1, 3), _interval(one["tpr_at_1_percent"], 100, 1))
        table.add_row(name, *figures, f"{one['epsilon']:.2f}")
    if "auc" in (persons := found.get("persons", {})):
        told = f"persons, {persons['members']} and {persons['non_members']}"
        table.add_row(told, _interval(persons["auc"], 1, 3), "", "")
    table.add_row("no model asked", _interval(found["without_model"]["auc"], 1, 3), "", "")
    out.print(table)
    for line in found["notes"]:
        err.print(f"note: {line}", highlight=False)
    for name, reason in found["left_out"].items():
        err.print(f"left out: {name}: {reason}", highlight=False)


def membership_table(found: dict[str, Any]) -> "Table":
    """One line for each adversary: the attack that was reported, and its figures."""
    from server.console import Columns

    table = Columns(
        "adversary", "attack", "AUC", "TPR at 1 % FPR", title="Membership, 95 % intervals"
    )
    for name in ("final_model", "all_rounds", "server", "secure_sum", "malicious_client"):
        about = found[name]
        if "left_out" in about:
            continue
        if "chosen_on_shadows" in about:
            attacks = [about["chosen_on_shadows"][key] for key in ("auc", "tpr")]
            figures = [about["attacks"][a] for a in attacks]
        else:
            attacks = [about["reported"]] * 2
            figures = [about[about["reported"]]] * 2
        table.add_row(
            name.replace("_", " "),
            " / ".join(dict.fromkeys(attacks)),
            _interval(figures[0]["auc"], 1, 3),
            _interval(figures[1]["tpr_at_1_percent"], 100, 1),
        )
        if "auc" in (persons := about.get("persons", {})):
            told = f"persons, {persons['members']} and {persons['non_members']}"
            table.add_row("", told, _interval(persons["auc"], 1, 3), "")
    return table


FIGURES = {
    "psnr_db": "PSNR in dB",
    "ssim": "SSIM",
    "correlation": "correlation over time",
    "samples": "share of samples recovered",
    "spectrogram": "correlation of log spectrograms",
    "columns": "share of columns recovered",
    "features": "correlation of features",
}


def reconstruction_table(found: dict[str, Any]) -> "Table":
    """One line for each way to draw a victim's records: how near they come to whose, of how many
    victims (of a generator: federations), and by how much nearer than the better control."""
    from server.console import Columns

    rows: dict[str, tuple[Any, ...]] = {}
    for name in ("inversion", "inversion_of_features"):
        if "reconstruction" in (drawn := found.get(name, {})):
            figure, ahead = drawn["figure"], drawn.get("nearer_by")
            near, far = (drawn[key][figure] for key in ("reconstruction", "nearest_stranger"))
            chance = drawn["p_nearer_than_strangers"]
            rows[f"{name}, {drawn['method']}"] = figure, near, far, drawn["victims"], ahead, chance
    for name, one in found["generators"].items():
        if "psnr_db_to_victim" in one:
            likeness = one["psnr_db_to_victim"], one["psnr_db_to_strangers"]
            num, chance = one["federations"], one["p_own_victim_nearer"]
            rows[f"generator, {name}"] = "psnr_db", *likeness, num, None, chance
    columns = ("by", "how near", "to the victim's", "to strangers'", "of", "nearer by", "p")
    drawn = any(figure in ("psnr_db", "ssim") for figure, *_ in rows.values())
    table = Columns(*columns, title="Reconstruction" + "; pictures are in attack/" * drawn)
    for name, (figure, near, far, num, ahead, chance) in rows.items():
        digits = 1 if figure == "psnr_db" else 3
        told = _interval(ahead, 1, digits) if ahead else ""
        figures = (f"{near:.{digits}f}", f"{far:.{digits}f}", str(num), told, f"{chance:.3f}")
        table.add_row(name.replace("_", " "), FIGURES[figure], *figures)
    return table


def attribute_table(attributes: dict[str, Any]) -> "Table":
    """One line for each hidden column: what the model adds to guessing it, in points of 100."""
    from server.console import Columns

    title = "A hidden column guessed with the model, more often than without it, points"
    table = Columns("column", "of members", "of others", "of members over others", title=title)
    every = {name: attributes[name] for name in ("members", "non_members", "of_membership")}
    rows = {"all, on the mean": every} | {
        name: {
            "members": about["members"]["advantage"],
            "non_members": about["non_members"]["advantage"],
            "of_membership": about["of_membership"],
        }
        for name, about in attributes["columns"].items()
    }
    for name, figures in zip(told_apart(list(rows)), rows.values(), strict=True):
        table.add_row(name, *(_interval(figures[key], 100, 1) for key in every))
    return table


def robustness_table(robustness: dict[str, Any]) -> "Table":
    """Accuracy on adversarial examples, one line for each form of the model."""
    from server.console import Columns

    kinds = robustness["as trained"]
    table = Columns("form", *kinds, title="Accuracy on adversarial examples, %")
    for form, figures in robustness.items():
        table.add_row(form, *(f"{100 * figures[kind]['value']:.1f}" for kind in kinds))
    return table


def _interval(figure: dict[str, float], scale: float, digits: int) -> str:
    value, low, high = (figure[key] * scale for key in ("value", "low", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
