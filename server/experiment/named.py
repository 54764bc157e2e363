"""The ready experiments by name: nothing of them is parsed."""

from pathlib import Path

READY = Path(__file__).parent / "ready"


def ready_experiments() -> dict[str, str]:
    """Name and first comment line of each experiment in `server/experiment/ready/`."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(READY.glob("*.toml"))
    }
