"""The page: one file without a network, whose script and style the policy names by their hashes.

It holds no word of a run: these come as events, and the script shows them as text.
"""

import base64
import hashlib
from pathlib import Path

PARTS = Path(__file__).parent / "templates"


def _read(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_SCRIPT, _STYLE = _read("page.js"), _read("page.css")
POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page() -> str:
    """The whole of it."""
    return _read("page.html").replace("/* style */", _STYLE).replace("/* script */", _SCRIPT)
