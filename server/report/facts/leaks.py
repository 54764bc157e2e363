"""leakage.json -> findings; the same errors as in `evidence`."""

from collections.abc import Callable, Iterator

from server.report.facts.evidence import Document, interval, maybe, number
from server.report.facts.findings import (
    Adversary,
    Hidden,
    Interval,
    Leakage,
    Likeness,
    Persons,
)

Bytes = Callable[[str], bytes]  # a picture by its name in the run directory

ADVERSARIES = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")
GENERATORS = ("malicious_client", "server")
MEASURES = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "correlation": "correlation over time",
    "columns": "share of columns recovered",
}


def leakage(found: Document, picture: Bytes) -> Leakage:
    """leakage.json."""
    gap = found.get("train_test_gap") or {}
    robustness = found.get("robustness") or {}
    left_out = str(robustness.get("left_out", ""))
    adversaries = tuple(_adversary(name, found[name]) for name in ADVERSARIES if name in found)
    if not adversaries:
        raise ValueError("no adversary is in it")
    return Leakage(
        adversaries=adversaries,
        gap=interval(gap.get("gap")),
        train_accuracy=maybe(gap.get("train_accuracy")),
        test_accuracy=maybe(gap.get("test_accuracy")),
        likenesses=tuple(_likenesses(found, picture)),
        robustness=()
        if left_out
        else tuple(
            (str(form), tuple((str(a), _known(interval(v))) for a, v in attacks.items()))
            for form, attacks in robustness.items()
        ),
        robustness_left_out=left_out,
        persons=_persons(found.get("final_model", {}).get("persons")),
        hidden=tuple(_hidden(found.get("attributes") or {})),
    )


def _persons(about: Document | None) -> Persons | None:
    if not about:
        return None
    if "left_out" in about:
        return Persons(left_out=str(about["left_out"]))
    members, others = int(about["members"]), int(about["non_members"])
    return Persons("", interval(about["auc"]), members, others, str(about["against"]))


def _hidden(about: Document) -> Iterator[Hidden]:
    """All columns on the mean, then each."""
    if "columns" not in about:
        return
    kinds = ("members", "non_members", "of_membership")
    yield Hidden("all, on the mean", *(_known(interval(about[kind])) for kind in kinds))
    for name, column in about["columns"].items():
        gains = (column[kind]["advantage"] for kind in kinds[:2])
        figures = [_known(interval(one)) for one in (*gains, column["of_membership"])]
        yield Hidden(str(name), *figures)


def _known(found: Interval | None) -> Interval:
    if found is None:
        raise ValueError("a figure is missing")
    return found


def _adversary(name: str, about: Document) -> Adversary:
    if "left_out" in about:
        return Adversary(name, left_out=str(about["left_out"]))
    if "chosen_on_shadows" in about:
        chosen, attacks = about["chosen_on_shadows"], about["attacks"]
        by_auc, by_tpr = attacks[chosen["auc"]], attacks[chosen["tpr"]]
        tried = list(attacks.values())
    else:
        by_auc = by_tpr = about[about["reported"]]
        tried = [by_auc]
    proven = [e for e in (maybe(attack.get("epsilon")) for attack in tried) if e is not None]
    return Adversary(
        name=name,
        auc_attack=str(by_auc["attack"]),
        auc=interval(by_auc["auc"]),
        tpr_attack=str(by_tpr["attack"]),
        tpr=interval(by_tpr["tpr_at_1_percent"]),
        epsilon=max(proven, default=None),
        members=int(by_auc["members"]),
        non_members=int(by_auc["non_members"]),
        roc=tuple((number(f), number(t)) for f, t in by_auc["roc"]),
    )


def _likenesses(found: Document, picture: Bytes) -> list[Likeness]:
    told = []
    if about := found.get("inversion"):
        told.append(_inversion(about, picture))
    generators = found.get("generators") or {}
    if "left_out" in generators:
        return [*told, Likeness("generator", left_out=str(generators["left_out"]))]
    rows = tuple(map(str, generators.get("rows", ())))
    played = [name for name in GENERATORS if name in generators]
    return told + [_generator(name, generators[name], rows, picture) for name in played]


def _inversion(about: Document, picture: Bytes) -> Likeness:
    if "left_out" in about:
        return Likeness("inversion", left_out=str(about["left_out"]))
    names = ("reconstruction", "nearest_stranger", "class_mean")
    measures = [
        (title, tuple(maybe(about[name].get(key)) for name in names))
        for key, title in MEASURES.items()
        if any(key in about[name] for name in names)
    ]
    return Likeness(
        name="inversion",
        method=str(about["method"]),
        victims=int(about["victims"]),
        controls=("nearest stranger of the class", "mean of the class"),
        measures=tuple(measures),
        p_value=maybe(about["p_nearer_than_strangers"]),
        picture=(drawn := str(about.get("picture", ""))),
        png=picture(drawn) if drawn else b"",
        rows=tuple(map(str, about.get("rows", ()))),
    )


def _generator(name: str, about: Document, rows: tuple[str, ...], picture: Bytes) -> Likeness:
    """The control of "how near is what was generated" is how near strangers' images are."""
    frechet = ("frechet_to_victim", "frechet_victim_to_strangers")
    nearest = ("nearest_to_victim", "nearest_stranger_to_victim")
    return Likeness(
        name=f"generator_{name}",
        method="generative network (Hitaj et al. 2017)",
        victims=int(about["federations"]),
        controls=("strangers of the class",),
        measures=(
            ("Fréchet distance to the victim", tuple(maybe(about[key]) for key in frechet)),
            ("nearest distance to the victim", tuple(maybe(about[key]) for key in nearest)),
        ),
        p_value=maybe(about["p_own_victim_nearer"]),
        picture=str(about["picture"]),
        png=picture(str(about["picture"])),
        rows=rows,
    )
