"""leakage.json -> findings; the same errors as in `evidence`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from server.report.facts.findings import (
    Adversary,
    Exhibits,
    Hidden,
    Interval,
    Leakage,
    Likeness,
    Persons,
)
from server.report.facts.values import (
    Misread,
    amount,
    count,
    difference,
    interval,
    likeness,
    listed,
    number,
    share,
    share_or_none,
    table,
    text,
    texts,
)

Document = Mapping[str, Any]
Bytes = Callable[[str], bytes]  # a picture by its name in the run directory

ADVERSARIES = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")
SHOWN = ("original", "reconstruction", "nearest_stranger")
GENERATORS = ("malicious_client", "server")
MEASURES = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "correlation": "correlation over time",
    "samples": "share of samples within 5 % of the range",
    "spectrogram": "correlation of log spectrograms",
    "columns": "share of columns recovered",
    "features": "correlation of features",
}
# Of a generator's images, of strangers', of the adversary's own records.
GENERATED = {
    "Fréchet distance to the victim": (
        "frechet_to_victim", "frechet_victim_to_strangers", "frechet_own_records_to_victim",
    ),
    "nearest distance to the victim": (
        "nearest_to_victim", "nearest_stranger_to_victim", "nearest_own_record_to_victim",
    ),
    "mean SSIM of two of them": (
        "pairwise_ssim_generated", "pairwise_ssim_strangers", "pairwise_ssim_own_records",
    ),
    "share whose nearest stranger is of the class": (
        "of_class_generated", "", "of_class_own_records",  # a stranger is nearest to itself
    ),
}  # fmt: skip
INVERSIONS = ("inversion", "inversion_of_features")


def leakage(found: Document, picture: Bytes) -> Leakage:
    """leakage.json."""
    gap = table(found.get("train_test_gap", {}))
    robustness = table(found.get("robustness", {}))
    left_out = text(robustness.get("left_out", ""))
    adversaries = tuple(_adversary(name, found[name]) for name in ADVERSARIES if name in found)
    if not adversaries:
        raise KeyError(ADVERSARIES[0])
    return Leakage(
        adversaries=adversaries,
        gap=interval(gap["gap"], -1.0) if "gap" in gap else None,
        train_accuracy=share_or_none(gap.get("train_accuracy")),
        test_accuracy=share_or_none(gap.get("test_accuracy")),
        likenesses=tuple(_likenesses(found, picture)),
        robustness=()
        if left_out
        else tuple(
            (form, tuple((name, interval(v)) for name, v in table(attacks).items()))
            for form, attacks in robustness.items()
        ),
        robustness_left_out=left_out,
        persons=_persons(table(found.get("final_model", {}).get("persons", {}))),
        classes=tuple(map(_class, listed(found.get("final_model", {}).get("classes", ())))),
        hidden=tuple(_hidden(table(found.get("attributes", {})))),
    )


def _persons(about: Document) -> Persons | None:
    if not about:
        return None
    if "left_out" in about:
        return Persons(left_out=text(about["left_out"]))
    members, others = count(about["members"]), count(about["non_members"])
    return Persons("", interval(about["auc"]), members, others, text(about["against"]))


def _class(row: object) -> tuple[str, Interval, int, int]:
    about = table(row)
    counts = count(about["members"]), count(about["non_members"])
    return (text(about["class"]), interval(about), *counts)


def _hidden(about: Document) -> Iterator[Hidden]:
    """All columns on the mean, then each."""
    if "columns" not in about:
        return
    kinds = ("members", "non_members", "of_membership")
    yield Hidden("all, on the mean", *(interval(about[kind], -1.0) for kind in kinds))
    for name, column in table(about["columns"]).items():
        gains = (column[kind]["advantage"] for kind in kinds[:2])
        figures = (interval(one, -1.0) for one in (*gains, column["of_membership"]))
        yield Hidden(name, *figures)


def _adversary(name: str, about: Document) -> Adversary:
    if "left_out" in table(about):
        return Adversary(name, left_out=text(about["left_out"]))
    if "chosen_on_shadows" in about:
        chosen, attacks = about["chosen_on_shadows"], about["attacks"]
        by_auc, by_tpr = (table(attacks[chosen[key]]) for key in ("auc", "tpr"))
        tried = [table(attack) for attack in attacks.values()]
    else:
        by_auc = by_tpr = table(about[about["reported"]])
        tried = [by_auc]
    proven = [attack["epsilon"] for attack in tried if attack.get("epsilon") is not None]
    return Adversary(
        name=name,
        auc_attack=text(by_auc["attack"]),
        auc=interval(by_auc["auc"]),
        tpr_attack=text(by_tpr["attack"]),
        tpr=interval(by_tpr["tpr_at_1_percent"]),
        epsilon=max(map(amount, proven), default=None),
        members=count(by_auc["members"]),
        non_members=count(by_auc["non_members"]),
        roc=tuple((share(f), share(t)) for f, t in listed(by_auc["roc"])),
    )


def _likenesses(found: Document, picture: Bytes) -> list[Likeness]:
    told = [_inversion(name, table(found[name]), picture) for name in INVERSIONS if name in found]
    generators = table(found.get("generators", {}))
    if "left_out" in generators:
        return [*told, Likeness("generator", left_out=text(generators["left_out"]))]
    rows = texts(generators.get("rows", ()))
    played = [name for name in GENERATORS if name in generators]
    return told + [_generator(name, table(generators[name]), rows, picture) for name in played]


def _inversion(called: str, about: Document, picture: Bytes) -> Likeness:
    if "left_out" in about:
        return Likeness(called, left_out=text(about["left_out"]))
    names = ("reconstruction", "nearest_stranger", "class_mean")
    rows = [table(about[name]) for name in names]
    told = [key for key in MEASURES if any(key in row for row in rows)]
    told.sort(key=lambda key: key != about.get("figure"))
    measures = [
        (MEASURES[key], tuple(likeness(row[key]) if key in row else None for row in rows))
        for key in told
    ]
    drawn = text(about.get("picture", ""))  # of pictures only
    return Likeness(
        name=called,
        method=text(about["method"]),
        victims=count(about["victims"]),
        controls=("nearest stranger of the class", "mean of the class"),
        measures=tuple(measures),
        nearer_by=difference(about["nearer_by"]) if "nearer_by" in about else None,
        p_value=share_or_none(about["p_nearer_than_strangers"]),
        picture=drawn,
        png=picture(drawn) if drawn else b"",
        rows=texts(about.get("rows", ())),
        exhibits=exhibits(table(about.get("exhibits", {}))),
    )


def exhibits(about: Document) -> Exhibits:
    """Victims' records, and what was drawn of them; nothing of pictures but their classes."""
    columns = listed(about.get("columns", about.get("channels", ())))
    rows = tuple(
        tuple(zip(*(map(_cell, listed(victim[name])) for name in SHOWN), strict=True))
        for victim in listed(about.get("rows", ()))
    )
    curves = tuple(
        tuple(
            tuple(tuple(map(number, listed(line))) for line in listed(victim[name]))
            for name in SHOWN
        )
        for victim in listed(about.get("curves", ()))
    )
    if any(len(one) != len(columns) for one in (*rows, *(c for victim in curves for c in victim))):
        raise Misread(len(columns), "as many columns as there are values")
    seconds = about.get("seconds")
    length = amount(about.get("samples", 0) if seconds is None else seconds)
    return Exhibits(
        classes=texts(about.get("classes", ())),
        columns=tuple((text(c["name"]), text(c["unit"])) for c in columns),
        rows=rows,
        curves=curves,
        length=length,
        unit="samples" if seconds is None else "seconds",
    )


def _cell(value: object) -> str | float:
    return value if isinstance(value, str) and text(value) == value else number(value)


def _generator(name: str, about: Document, rows: tuple[str, ...], picture: Bytes) -> Likeness:
    """The controls of "how near is what was generated": how near strangers' images are, and the
    adversary's own records of other classes, before any model was asked."""
    return Likeness(
        name=f"generator_{name}",
        method="images that models take for the class (after Hitaj et al. 2017)",
        victims=count(about["federations"]),
        controls=("strangers of the class", "the adversary’s own records"),
        measures=tuple(
            (what, tuple(amount(about[key]) if key in about else None for key in keys))
            for what, keys in GENERATED.items()
            if keys[0] in about
        ),
        warning=text(about.get("warning", "")),
        p_value=share_or_none(about["p_own_victim_nearer"]),
        picture=text(about["picture"]),
        png=picture(text(about["picture"])),
        rows=rows,
        exhibits=exhibits(table(about.get("exhibits", {}))),
    )
