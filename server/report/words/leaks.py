"""What an attack found, in a few lines of plain text: membership, persons, columns, records."""

from collections.abc import Iterator

from privacy.text import shown
from server.report.facts.findings import Adversary, Interval, Leakage, Likeness
from server.report.facts.leaks import INVERSIONS

NAMED = 3  # hidden columns that are told by name
MEASURED = {
    "PSNR, dB": "{:.1f} dB PSNR",
    "SSIM": "an SSIM of {:.2f}",
    "correlation over time": "a correlation of {:.2f}",
    "share of columns recovered": "{:.0%} of columns right",
    "share of samples within 5 % of the range": "{:.0%} of samples right",
    "correlation of log spectrograms": "a correlation of spectrograms of {:.2f}",
    "correlation of features": "a correlation of features of {:.2f}",
}


def leaks_of(found: Leakage) -> dict[str, str]:
    """What is told -> one line of it; without what was not looked for."""
    lines = {"membership": _membership(found)}
    if found.persons:
        lines["persons"] = _persons(found)
    if found.hidden:
        lines["hidden columns"] = _hidden(found)
    if drawn := list(_drawn(found)):
        lines["drawn from updates"] = "; ".join(drawn)
    return lines


def _membership(found: Leakage) -> str:
    if not found.played:
        return f"not played: {found.adversaries[0].left_out}"
    worst = found.strongest
    told = f"AUC {_auc(worst.auc)} by the {_who(worst)}, where 0.5 is a guess"
    if worst.tpr:
        told += f"; {worst.tpr.value:.1%} found where 1 % are falsely accused"
    return told


def _who(adversary: Adversary) -> str:
    return {
        "final_model": "last model",
        "all_rounds": "models of all rounds",
        "server": "server that reads updates",
        "secure_sum": "sum of the updates",
        "malicious_client": "client that spies on others",
    }.get(adversary.name, adversary.name)


def _persons(found: Leakage) -> str:
    about = found.persons
    assert about is not None
    if about.left_out:
        return f"not played: {about.left_out}"
    whom = f"{about.members:,} trained on, {about.non_members:,} {about.against}"
    return f"AUC {_auc(about.auc)} ({whom})"


def _hidden(found: Leakage) -> str:
    """Of all columns, and those of which the model gives most away."""
    every, *columns = found.hidden
    most = sorted(columns, key=lambda one: -one.members.value)[:NAMED]
    named = ", ".join(f"{shown(one.column)} {_points(one.members)}" for one in most)
    return (
        f"guessed right {_points(every.members, ' points')} more often with the model than without,"
        f" of members ({_points(every.non_members)} of strangers); most of {named}"
    )


def _drawn(found: Leakage) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for one in found.likenesses:
        if one.left_out:
            reasons.setdefault(one.left_out, []).append(one.name.replace("_", " "))
        elif one.measures:
            yield _inversion(one) if one.name in INVERSIONS else _generated(one)
    for reason, names in reasons.items():
        yield f"no {' or '.join(names)}: {reason}"


def _inversion(one: Likeness) -> str:
    what, (near, *others) = one.measures[0]
    shown = MEASURED.get(what, f"{what} {{:.3g}}")
    control = max((value for value in others if value is not None), default=None)
    told = f"by {one.name.replace('_', ' ')} of {one.victims} victims {shown.format(near)}"
    if control is not None:
        told += f", strangers and the class's mean at best {shown.format(control)}"
    chance = []
    if (nearer := one.nearer_by) is not None:
        ahead, low, high = (f"{x:+.3g}" for x in (nearer.value, nearer.low, nearer.high))
        chance.append(f"nearer by {ahead}, 95 % interval {low} to {high}")
    if one.p_value is not None:
        chance.append(f"p = {one.p_value:.3g}")
    return told + (f" ({'; '.join(chance)})" if chance else "")


def _generated(one: Likeness) -> str:
    what, (ours, *others) = one.measures[0]
    beside = zip(one.controls, others, strict=True)
    controls = [f"{who} {value:.2f}" for who, value in beside if value is not None]
    told = f"by {one.name.replace('_', ' ')} a {what} of {ours:.2f} ({', '.join(controls)})"
    return told + (f", {one.warning}" if one.warning else "")


def _auc(figure: Interval | None) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" if figure else "unknown"


def _points(figure: Interval, unit: str = "") -> str:
    value, low, high = (100 * part for part in (figure.value, figure.low, figure.high))
    return f"{value:+.1f}{unit} ({low:+.1f} to {high:+.1f})"
