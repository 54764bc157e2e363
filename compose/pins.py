"""The pins with their hashes, and what is known against them.

run as: python compose/pins.py lock PYTHON3.11 PYTHON3.12    write pins.txt and pins-dev.txt
        python compose/pins.py check                         status 1 if a pin does not hold

constraints.txt     the versions, chosen by hand
pins.txt            what privet itself needs, with the hash of each wheel: what the image installs
pins-dev.txt        what `make` installs on top
advisories.toml     known faults of what is pinned, and why each does not reach us

`lock` asks pip which packages are needed, and the index that pip is set up for which wheels there
are; no index is named here. `check` reads nothing but files, so that it works anywhere.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

HERE = Path(__file__).parent
CONSTRAINTS = HERE / "constraints.txt"
PINS = {"": HERE / "pins.txt", "dev": HERE / "pins-dev.txt"}  # by the extra that asks for them
ADVISORIES = HERE / "advisories.toml"
ELSEWHERE = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}
BEFORE_312 = 'python_version < "3.12"'
SINCE_312 = 'python_version >= "3.12"'
ON_X86 = 'sys_platform == "linux" and platform_machine == "x86_64"'
TIMEOUT_S = 60

Pin = tuple[str, str]  # name in its canonical form, version
Report = dict[str, Any]


# ---- writing
def resolve(python: str) -> Report:
    """What pip would install for `.[dev]` into an empty environment of that interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        install = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        only = ["--only-binary", ":all:", "--report", str(path), "-c", str(CONSTRAINTS)]
        subprocess.run([*install, *only, f"{HERE.parent}[dev]"], check=True)
        return json.loads(path.read_text())


def needed(report: Report, extra: str, environment: dict[str, str]) -> set[Pin]:
    """The packages that privet (with that extra) asks for, directly or not, in an environment."""
    known = {canonicalize_name(one["metadata"]["name"]): one for one in report["install"]}
    found: set[Pin] = set()
    seen, left = set(), [("privet", extra)]
    while left:
        name, wanted = left.pop()
        if (name, wanted) in seen or name not in known:
            continue
        seen.add((name, wanted))
        about = known[name]["metadata"]
        if name != "privet":
            found.add((name, about["version"]))
        for line in about.get("requires_dist", ()):
            asked = Requirement(line)
            here = {**report["environment"], **environment, "extra": wanted}
            if asked.marker is None or asked.marker.evaluate(here):
                more = canonicalize_name(asked.name)
                left += [(more, ""), *((more, option) for option in asked.extras)]
    return found


def markers(reports: dict[str, Report]) -> dict[str, dict[Pin, str]]:
    """For each extra the pins that it adds, and where each is needed: empty if everywhere."""
    build = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["build-system"]["requires"]
    builders = {canonicalize_name(Requirement(line).name) for line in build}
    chosen = {(pin.name, version_of(pin)) for pin, _ in read_pins(CONSTRAINTS)}
    tools = {pin for pin in chosen if pin[0] in builders}
    places: dict[str, dict[Pin, str]] = {}
    covered: dict[str, set[Pin]] = {version: set() for version in reports}
    for extra in PINS:
        fresh, anywhere = {}, set(tools)
        for version, report in reports.items():
            fresh[version] = (needed(report, extra, {}) | tools) - covered[version]
            covered[version] |= fresh[version]
            anywhere |= needed(report, extra, ELSEWHERE)
        places[extra] = {}
        for pin in set().union(*fresh.values()):
            where = [BEFORE_312] * (pin not in fresh["3.12"])
            where += [SINCE_312] * (pin not in fresh["3.11"]) + [ON_X86] * (pin not in anywhere)
            places[extra][pin] = " and ".join(where)
    return places


def index_url() -> str:
    """The index that pip asks here."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    told = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    if told:
        return told
    from pip._internal.models.index import PyPI  # its default, which pip tells no other way

    return PyPI.simple_url


def hashes(index: str, pin: Pin) -> list[str]:
    """SHA-256 of each wheel of a pin that CPython 3.11 or 3.12 can install on Linux or macOS."""
    asked = urllib.request.Request(
        f"{index.rstrip('/')}/{pin[0]}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        files = json.load(answer)["files"]
    found = {one["hashes"]["sha256"] for one in files if _fits(one["filename"], pin[1])}
    if not found:
        raise SystemExit(f"{pin[0]}=={pin[1]}: the index has no wheel of it")
    return sorted(found)


def _fits(filename: str, version: str) -> bool:
    if not filename.endswith(".whl"):
        return False
    _, found, _, tags = parse_wheel_filename(filename)
    return str(found) == version and any(
        (tag.interpreter in ("py3", "cp311", "cp312") or tag.abi == "abi3")
        and tag.platform.startswith(("any", "manylinux", "linux", "macosx"))
        for tag in tags
    )


def lock(pythons: list[str]) -> None:
    """Write the files of pins."""
    reports = {}
    for report in map(resolve, pythons):
        reports[report["environment"]["python_version"]] = report
    if set(reports) != {"3.11", "3.12"}:
        raise SystemExit("pins.py lock: needs an interpreter of Python 3.11 and one of 3.12")
    index = index_url()
    for extra, places in markers(reports).items():
        text = "# Written by `python compose/pins.py lock`: every wheel by its SHA-256.\n"
        for pin, where in sorted(places.items()):
            lines = [f"{pin[0]}=={pin[1]}" + (f" ; {where}" if where else "")]
            lines += [f"    --hash=sha256:{digest}" for digest in hashes(index, pin)]
            text += " \\\n".join(lines) + "\n"
        PINS[extra].write_text(text)


# ---- checking
def read_pins(path: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Each pin of a file with its hashes."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            pin, *digests = line.split("--hash=")
            yield Requirement(pin.strip()), [digest.strip() for digest in digests]


def version_of(pin: Requirement) -> str:
    """The one version that a pin allows; empty if it allows others."""
    told = str(pin.specifier)
    return told[2:] if told.startswith("==") and "," not in told and "*" not in told else ""


def disagreements() -> Iterator[str]:
    """Where constraints, files of pins and pyproject.toml contradict each other."""
    chosen = {(pin.name, version_of(pin)) for pin, _ in read_pins(CONSTRAINTS)}
    found = set()
    for path in PINS.values():
        for pin, digests in read_pins(path):
            found.add(canonicalize_name(pin.name))
            if (pin.name, version_of(pin)) not in chosen:
                yield f"{path.name}: {pin}: constraints.txt says otherwise; lock again"
            if not digests or any(not digest.startswith("sha256:") for digest in digests):
                yield f"{path.name}: {pin}: without a hash; lock again"
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
    asked += project["build-system"]["requires"]
    for name in sorted({canonicalize_name(Requirement(line).name) for line in asked} - found):
        yield f"pyproject.toml: {name}: not among the pins; lock again"


def faults() -> Iterator[str]:
    """Known faults of what is pinned that nobody has answered, and answers to none."""
    pinned = [(pin.name, version_of(pin)) for pin, _ in read_pins(CONSTRAINTS)]
    for fault in tomllib.loads(ADVISORIES.read_text())["fault"]:
        where = f"advisories.toml: {fault['id']} of {fault['package']}"
        affected = SpecifierSet(fault["affected"])
        hit = [v for name, v in pinned if name == fault["package"] and v in affected]
        if hit and not fault.get("harmless", "").strip():
            yield f"{where}: {hit[0]} is pinned; take {fault['fixed']}, or say why it is `harmless`"
        if not hit and "harmless" in fault:
            yield f"{where}: no such version is pinned; remove `harmless`"


def main(words: list[str]) -> int:
    """Lock or check."""
    if words[:1] == ["lock"] and len(words) == 3:
        lock(words[1:])
    elif words != ["check"]:
        print(__doc__, file=sys.stderr)
        return 2
    wrong = [*disagreements(), *faults()]
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
