"""`make accept`: what takes too long for a test, each part by itself, as one JSON document.

run as: python tests/acceptance [PART ...]; without a name all but `LONG`

Exit status 1 if a part broke what it promises. Each part's own words follow on stderr when it is
done, and those of broken parts stand there once more at the end, where a log is read first. What a
machine cannot do is skipped, and the reason stands in the place of its figures.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
TOGETHER = (
    "image",
    "accuracy",
    "records_real",
    "fuzz",
    "firmware",
    "ledger",
)  # two at a time: they time nothing
ALONE = ("commands", "cluster", "soak")
LONG = ("encrypted", "strangers", "exports")  # by name only: beside the others they take too long
PARTS = (*TOGETHER, *LONG, *ALONE)
LAST = 2000  # characters of a broken part's words that are told again


def run(part: str) -> dict[str, object]:
    """One part's figures, and whether it kept its promises."""
    started = time.perf_counter()
    command = [sys.executable, str(HERE / f"{part}.py")]
    done = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True)
    print(done.stderr, end="", file=sys.stderr)
    try:
        figures = json.loads(done.stdout.strip() or "null")
    except ValueError:
        figures = done.stdout
    seconds = round(time.perf_counter() - started, 1)
    if done.returncode == 0 and isinstance(figures, dict) and "skipped" in figures:
        print(f"{part}: skipped: {figures['skipped']}", file=sys.stderr)
        return {"skipped": figures["skipped"], "seconds": seconds}
    if done.returncode == 0:
        return {"holds": True, "seconds": seconds, "figures": figures}
    broken = {"holds": False, "status": done.returncode, "words": done.stderr[-LAST:]}
    return broken | {"seconds": seconds, "figures": figures}


def main() -> int:
    unknown = sorted(set(sys.argv[1:]) - set(PARTS))
    if unknown:
        print(f"{unknown[0]}: not a part; known: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    asked = sys.argv[1:] or (*TOGETHER, *ALONE)
    chosen = [part for part in PARTS if part in asked]
    together = [part for part in chosen if part not in ALONE]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(together, pool.map(run, together), strict=True))
    found |= {part: run(part) for part in chosen if part in ALONE}
    print(json.dumps(found, indent=1))
    broken = {part: one for part, one in found.items() if not one.get("holds", True)}
    for part, one in broken.items():
        print(f"{part}: broken, exit status {one['status']}; its last words:", file=sys.stderr)
        print(one["words"], file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
