"""audit.json, cost.json and inference.json -> findings, and how a document's numbers are read.

Each function raises KeyError, TypeError or ValueError on a document that is not what it should be;
the caller then names the part as damaged.
"""

import math
from collections.abc import Mapping
from typing import Any

from server.report.facts.findings import (
    Audit,
    Bound,
    Check,
    Cost,
    Encrypted,
    Interval,
    Phase,
    Preparation,
    Round,
    Step,
)

Document = Mapping[str, Any]

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
