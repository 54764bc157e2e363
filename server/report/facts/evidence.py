"""leakage.json, audit.json, cost.json and inference.json -> findings.

Each function raises KeyError, TypeError or ValueError on a document that is not what it should be;
the caller then names the part as damaged.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from server.report.facts.findings import (
    Adversary,
    Audit,
    Bound,
    Check,
    Cost,
    Encrypted,
    Interval,
    Leakage,
    Likeness,
    Phase,
    Preparation,
    Round,
    Step,
)

Document = Mapping[str, Any]
Bytes = Callable[[str], bytes]  # a picture by its name in the run directory

ADVERSARIES = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")
GENERATORS = ("malicious_client", "server")
TIMES = ("key_generation", "key_upload", "encrypt", "upload", "server", "download", "decrypt")
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def number(value: object) -> float:
    """A finite number.

    Raises:
        TypeError, ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite")
    return float(value)


def maybe(value: object) -> float | None:
    """A number, or None."""
    return None if value is None else number(value)


def interval(about: Any) -> Interval | None:
    """{"value", "low", "high"}, or None."""
    if about is None:
        return None
    return Interval(number(about["value"]), number(about["low"]), number(about["high"]))


# ---- leakage


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
    )


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
        for key, title in (("psnr_db", "PSNR, dB"), ("ssim", "SSIM"))
        if any(key in about[name] for name in names)
    ]
    return Likeness(
        name="inversion",
        method=str(about["method"]),
        victims=int(about["victims"]),
        controls=("nearest stranger of the class", "mean of the class"),
        measures=tuple(measures),
        p_value=maybe(about["p_nearer_than_strangers"]),
        picture=str(about["picture"]),
        png=picture(str(about["picture"])),
        rows=tuple(map(str, about["rows"])),
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


# ---- audit


def audit(found: Document) -> Audit:
    """audit.json."""
    return Audit(
        passed=found["passed"] is True,
        epsilon=number(found["epsilon"]),
        steps=int(found["steps"]),
        checks=tuple(
            Check(
                str(c["name"]),
                c["passed"] is True,
                str(c["measured"]),
                str(c["expected"]),
                str(c["meaning"]),
            )
            for c in found["checks"]
        ),
        bounds=tuple(
            Bound(str(b["name"]), number(b["epsilon"]), str(b["assumes"])) for b in found["bounds"]
        ),
        not_examined=tuple(str(line) for line in found.get("not_examined", ())),
    )


# ---- cost


def cost(found: Document) -> Cost:
    """One report of cost.json."""
    about, transform, before = map(found.get, ("round", "transform", "preparation"))
    return Cost(
        chip=str(found["chip"]),
        arithmetic=_numbers(found["arithmetic"]),
        inference=_step(found["inference"]),
        step=_step(found["step"]),
        round=about and _round(about),
        transform=_numbers(transform) if transform else "",
        preparation=before and _preparation(before),
        notes=tuple(map(str, found.get("notes", ()))),
    )


def _numbers(about: Document) -> str:
    length = about.get("stream_length")
    return f"{about['kind']}, " + (f"L = {length}" if length else f"{about['weight_bits']} bit")


def _preparation(about: Document) -> Preparation:
    held = about["block"]["memory"]
    return Preparation(
        records=int(about["records"]),
        latency_s=number(about["latency_s"]),
        energy_j=number(about["energy_j"]),
        peak_bytes=number(held["peak_bytes"]),
        fits=held["fits"] is True,
        kept_bytes=number(about["kept_bytes"]),
    )


def _round(about: Document) -> Round:
    names = [
        "latency_s",
        "latency_99_s",
        "energy_j",
        "upload_bytes",
        "download_bytes",
        "radio_s",
        "radio_j",
    ]
    return Round(int(about["steps"]), *(number(about[name]) for name in names))


def _step(about: Document) -> Step:
    rows, memory = about["rows"], about["memory"]
    # The chip's limits are not in the file, but follow from any row: utilisation is a rate over
    # the greatest rate, and the time of DRAM is bytes over its bandwidth.
    peaks = [
        2 * r["macs"] / (r["performance_efficiency"] * r["latency_s"])
        for r in rows
        if r["macs"] and r["performance_efficiency"] and r["latency_s"]
    ]
    widths = [r["traffic_bytes"]["dram"] / r["dram_s"] for r in rows if r["dram_s"]]
    return Step(
        batch=int(about["batch"]),
        latency_s=number(about["latency_s"]),
        energy_j=number(about["energy_j"]),
        energy_parts_j=_parts(about["energy_parts_j"]),
        peak_bytes=number(memory["peak_bytes"]),
        limit_bytes=number(memory["limit_bytes"]),
        fits=memory["fits"] is True,
        phases=tuple(_phase(row) for row in rows),
        peak_operations_per_s=number(max(peaks)) if peaks else None,
        dram_bytes_per_s=number(max(widths)) if widths else None,
    )


def _phase(row: Document) -> Phase:
    moved, macs, latency_s = (
        number(row["traffic_bytes"]["dram"]),
        number(row["macs"]),
        number(row["latency_s"]),
    )
    return Phase(
        layer=str(row["layer"]),
        phase=str(row["phase"]),
        latency_s=latency_s,
        energy_j=_parts(row["energy_j"]),
        dram_bytes=moved,
        macs=macs,
        utilisation=number(row["utilisation"]),
        bound=str(row["bound"]),
        intensity=2 * macs / moved if macs and moved else None,
        operations_per_s=2 * macs / latency_s if latency_s else 0.0,
    )


def _parts(about: Document) -> tuple[tuple[str, float], ...]:
    return tuple((str(part), number(joules)) for part, joules in about.items())


# ---- encrypted inference


def encrypted(scheme: str, found: Document) -> Encrypted:
    """One scheme of inference.json: what `privet infer --evaluate` told."""

    def share(name: str) -> Interval | None:
        if name not in found:
            return None
        low, high = found[f"{name}_interval"]
        return Interval(number(found[name]), number(low), number(high))

    return Encrypted(
        scheme=scheme,
        security=str(found.get("security", "")),
        images=int(found["images"]),
        timed_images=int(found.get("timed_images", found["images"])),
        versions=tuple((str(k), str(v)) for k, v in found.get("versions", {}).items()),
        encrypted_accuracy=share("encrypted_accuracy"),
        plain_accuracy=share("plain_accuracy"),
        agreement=share("agreement"),
        times_ms=tuple((n, number(found[f"{n}_ms"])) for n in TIMES if f"{n}_ms" in found),
        total_ms=number(found["total_ms"]),
        keys_bytes=number(found["keys_bytes"]),
        upload_bytes=number(found["upload_bytes"]),
        download_bytes=number(found["download_bytes"]),
    )
