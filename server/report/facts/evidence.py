"""leakage.json, audit.json, cost.json and inference.json -> findings; and environment.json.

Each function raises one of `values.UNREADABLE` on a document that is not what it should be; the
caller then names the part as damaged.
"""

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
from server.report.facts.values import (
    amount,
    count,
    flag,
    interval,
    likeness,
    listed,
    share,
    share_or_none,
    table,
    text,
    texts,
)

Document = Mapping[str, Any]
Bytes = Callable[[str], bytes]  # a picture by its name in the run directory

ADVERSARIES = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")
GENERATORS = ("malicious_client", "server")
TIMES = ("key_generation", "key_upload", "encrypt", "upload", "server", "download", "decrypt")


def environment(found: Document) -> dict[str, Any]:
    """environment.json: what of it a report tells."""
    read: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("created", "platform", "python", "code"), text),
        "cores": lambda cores: cores if cores is None else count(cores),
        "command": texts,
        "versions": lambda versions: {k: text(v) for k, v in table(versions).items()},
    }
    return {key: parse(found[key]) for key, parse in read.items() if key in found}


# ---- leakage


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
    )


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
    told = []
    if "inversion" in found:
        told.append(_inversion(table(found["inversion"]), picture))
    generators = table(found.get("generators", {}))
    if "left_out" in generators:
        return [*told, Likeness("generator", left_out=text(generators["left_out"]))]
    rows = texts(generators.get("rows", ()))
    played = [name for name in GENERATORS if name in generators]
    return told + [_generator(name, table(generators[name]), rows, picture) for name in played]


def _inversion(about: Document, picture: Bytes) -> Likeness:
    if "left_out" in about:
        return Likeness("inversion", left_out=text(about["left_out"]))
    names = ("reconstruction", "nearest_stranger", "class_mean")
    rows = [table(about[name]) for name in names]
    measures = [
        (title, tuple(likeness(row[key]) if key in row else None for row in rows))
        for key, title in (("psnr_db", "PSNR, dB"), ("ssim", "SSIM"))
        if any(key in row for row in rows)
    ]
    return Likeness(
        name="inversion",
        method=text(about["method"]),
        victims=count(about["victims"]),
        controls=("nearest stranger of the class", "mean of the class"),
        measures=tuple(measures),
        p_value=share_or_none(about["p_nearer_than_strangers"]),
        picture=text(about["picture"]),
        png=picture(text(about["picture"])),
        rows=texts(about["rows"]),
    )


def _generator(name: str, about: Document, rows: tuple[str, ...], picture: Bytes) -> Likeness:
    """The control of "how near is what was generated" is how near strangers' images are."""
    frechet = ("frechet_to_victim", "frechet_victim_to_strangers")
    nearest = ("nearest_to_victim", "nearest_stranger_to_victim")
    return Likeness(
        name=f"generator_{name}",
        method="generative network (Hitaj et al. 2017)",
        victims=count(about["federations"]),
        controls=("strangers of the class",),
        measures=(
            ("Fréchet distance to the victim", tuple(amount(about[key]) for key in frechet)),
            ("nearest distance to the victim", tuple(amount(about[key]) for key in nearest)),
        ),
        p_value=share_or_none(about["p_own_victim_nearer"]),
        picture=text(about["picture"]),
        png=picture(text(about["picture"])),
        rows=rows,
    )


# ---- audit


def audit(found: Document) -> Audit:
    """audit.json."""
    return Audit(
        passed=flag(found["passed"]),
        epsilon=amount(found["epsilon"]),
        steps=count(found["steps"]),
        checks=tuple(_check(one) for one in listed(found["checks"])),
        bounds=tuple(
            Bound(text(b["name"]), amount(b["epsilon"]), text(b["assumes"]))
            for b in listed(found["bounds"])
        ),
        not_examined=texts(found.get("not_examined", ())),
    )


def _check(about: Document) -> Check:
    words = (text(about[key]) for key in ("measured", "expected", "meaning"))
    return Check(text(about["name"]), flag(about["passed"]), *words)


# ---- cost


def cost(found: Document) -> Cost:
    """One report of cost.json."""
    about, transform, before = map(found.get, ("round", "transform", "preparation"))
    return Cost(
        chip=text(found["chip"]),
        arithmetic=_numbers(found["arithmetic"]),
        inference=_step(found["inference"]),
        step=_step(found["step"]),
        round=None if about is None else _round(about),
        transform="" if transform is None else _numbers(transform),
        preparation=None if before is None else _preparation(before),
        notes=texts(found.get("notes", ())),
    )


def _numbers(about: Document) -> str:
    length = count(about.get("stream_length", 0))
    digits = f"L = {length}" if length else f"{count(about['weight_bits'])} bit"
    return f"{text(about['kind'])}, {digits}"


def _preparation(about: Document) -> Preparation:
    held = about["block"]["memory"]
    return Preparation(
        records=count(about["records"]),
        latency_s=amount(about["latency_s"]),
        energy_j=amount(about["energy_j"]),
        peak_bytes=amount(held["peak_bytes"]),
        fits=flag(held["fits"]),
        kept_bytes=amount(about["kept_bytes"]),
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
    return Round(count(about["steps"]), *(amount(about[name]) for name in names))


def _step(about: Document) -> Step:
    rows, memory = listed(about["rows"]), about["memory"]
    # The chip's limits are not in the file, but follow from any row: utilisation is a rate over
    # the greatest rate, and the time of DRAM is bytes over its bandwidth.
    peaks, widths = [], []
    for row in rows:
        macs, efficiency, latency_s, dram_s = (
            amount(row[key]) for key in ("macs", "performance_efficiency", "latency_s", "dram_s")
        )
        if macs and efficiency and latency_s:
            peaks.append(2 * macs / (efficiency * latency_s))
        if dram_s:
            widths.append(amount(row["traffic_bytes"]["dram"]) / dram_s)
    return Step(
        batch=count(about["batch"]),
        latency_s=amount(about["latency_s"]),
        energy_j=amount(about["energy_j"]),
        energy_parts_j=_parts(about["energy_parts_j"]),
        peak_bytes=amount(memory["peak_bytes"]),
        limit_bytes=amount(memory["limit_bytes"]),
        fits=flag(memory["fits"]),
        phases=tuple(_phase(row) for row in rows),
        peak_operations_per_s=amount(max(peaks)) if peaks else None,
        dram_bytes_per_s=amount(max(widths)) if widths else None,
    )


def _phase(row: Document) -> Phase:
    moved, macs, latency_s = (
        amount(value) for value in (row["traffic_bytes"]["dram"], row["macs"], row["latency_s"])
    )
    return Phase(
        layer=text(row["layer"]),
        phase=text(row["phase"]),
        latency_s=latency_s,
        energy_j=_parts(row["energy_j"]),
        dram_bytes=moved,
        macs=macs,
        utilisation=share(row["utilisation"]),
        bound=text(row["bound"]),
        intensity=amount(2 * macs / moved) if macs and moved else None,
        operations_per_s=amount(2 * macs / latency_s) if latency_s else 0.0,
    )


def _parts(about: object) -> tuple[tuple[str, float], ...]:
    return tuple((part, amount(joules)) for part, joules in table(about).items())


# ---- encrypted inference


def encrypted(scheme: str, found: Document) -> Encrypted:
    """One scheme of inference.json: what `privet infer --evaluate` told."""

    def measured(name: str) -> Interval | None:
        if name not in found:
            return None
        low, high = found[f"{name}_interval"]
        return interval({"value": found[name], "low": low, "high": high})

    return Encrypted(
        scheme=text(scheme),
        security=text(found.get("security", "")),
        images=count(found["images"]),
        timed_images=count(found.get("timed_images", found["images"])),
        versions=tuple((k, text(v)) for k, v in table(found.get("versions", {})).items()),
        encrypted_accuracy=measured("encrypted_accuracy"),
        plain_accuracy=measured("plain_accuracy"),
        agreement=measured("agreement"),
        times_ms=tuple((n, amount(found[f"{n}_ms"])) for n in TIMES if f"{n}_ms" in found),
        total_ms=amount(found["total_ms"]),
        keys_bytes=amount(found["keys_bytes"]),
        upload_bytes=amount(found["upload_bytes"]),
        download_bytes=amount(found["download_bytes"]),
    )
