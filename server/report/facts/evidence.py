"""audit.json, cost.json, events.json and inference.json -> findings; and environment.json.

Each function raises one of `values.UNREADABLE` on a document that is not what it should be; the
caller then names the part as damaged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from server.report.facts.values import (
    Misread,
    amount,
    count,
    flag,
    interval,
    listed,
    share,
    table,
    text,
    texts,
)

Document = Mapping[str, Any]

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
    parts = ("round", "transform", "preparation", "saved")
    about, transform, before, saved = map(found.get, parts)
    return Cost(
        chip=text(found["chip"]),
        arithmetic=_numbers(found["arithmetic"]),
        inference=_step(found["inference"]),
        step=_step(found["step"]),
        round=None if about is None else _round(about),
        transform="" if transform is None else _numbers(transform),
        preparation=None if before is None else _preparation(before),
        notes=texts(found.get("notes", ())),
        left=None if saved is None else (share(saved["weights"]), share(saved["products"])),
        speed_ups=()
        if saved is None
        else tuple(map(_speed_up, (saved["measured"], *saved["curve"]))),
    )


def _speed_up(about: Document) -> tuple[float, float, float, float]:
    theory, array, inference = (amount(about[key]) for key in ("theory", "array", "inference"))
    return share(about["zeros"]), theory, array, inference


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


# ---- event-driven chips


@dataclass(frozen=True)
class Driven:
    """What `privet cost` found on an event-driven chip, from events counted on test records.

    Attributes:
        records: that were counted; of them energy_j and latency_s are means, of an inference, and
            99 in 100 take no more than energy_99_j and latency_99_s.
        batch: records of a training step. `step_j`, `step_s`: of all of them; None where the chip
            cannot train the net.
        rows: of each layer its neurons, synaptic events and spikes made, and joules by part.
    """

    chip: str
    records: int
    energy_j: float
    energy_99_j: float
    latency_s: float
    latency_99_s: float
    fits: bool
    batch: int
    step_j: float | None
    step_s: float | None
    rows: tuple[tuple[str, int, float, float, tuple[tuple[str, float], ...]], ...]
    notes: tuple[str, ...]

    @property
    def short(self) -> str:
        """The chip's name without its description."""
        return self.chip.partition(":")[0]


def driven(found: Document) -> Driven:
    """One report of events.json."""
    once, step, batch = found["inference"], found["step"], count(found["batch"])
    return Driven(
        chip=text(found["chip"]),
        records=count(once["records"]),
        energy_j=amount(once["energy_j"]),
        energy_99_j=amount(once["energy_99_j"]),
        latency_s=amount(once["latency_s"]),
        latency_99_s=amount(once["latency_99_s"]),
        fits=count(once["cores"]) <= count(once["limit_cores"]),
        batch=batch,
        step_j=None if step is None else amount(batch * amount(step["energy_j"])),
        step_s=None if step is None else amount(batch * amount(step["latency_s"])),
        rows=tuple(_layer(row) for row in listed(once["rows"])),
        notes=texts(found["notes"]),
    )


def _layer(row: Document) -> tuple[str, int, float, float, tuple[tuple[str, float], ...]]:
    counted = amount(row["events"]), amount(row["fired"])
    return text(row["layer"]), count(row["neurons"]), *counted, _parts(row["energy_j"])


# ---- encrypted inference


def encrypted(scheme: str, found: Document, weights: str) -> Encrypted:
    """One scheme of inference.json: what `privet infer --evaluate` told.

    Args:
        weights: SHA-256 of the run's: figures of any others are not its own; empty: there are none.
    """
    if not weights or found.get("weights") != weights:
        raise Misread(found.get("weights"), "the SHA-256 of the run's weights: ask again")

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
