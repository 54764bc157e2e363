"""compose/pins.py: every wheel by its hash, and no known fault without an answer."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ("constraints.txt", "pins.txt", "pins-dev.txt", "advisories.toml", "pins.py")


@pytest.fixture
def house(tmp_path):
    """What the check reads, to be damaged."""
    (tmp_path / "compose").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in FILES:
        shutil.copy(ROOT / "compose" / name, tmp_path / "compose")
    return tmp_path


def check(house):
    asked = [sys.executable, str(house / "compose/pins.py"), "check"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.returncode, done.stderr


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_files_agree_and_every_known_fault_is_answered():
    assert check(ROOT) == (0, "")


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("compose/constraints.txt", "jinja2==3.1.6", "jinja2==3.1.5", "constraints.txt says other"),
        ("compose/constraints.txt", "jinja2==3.1.6", "jinja2==3.1.5", "CVE-2025-27516"),
        ("compose/pins.txt", "jinja2==3.1.6", "jinja2>=3.1.6", "constraints.txt says otherwise"),
        ("compose/pins.txt", "tomli-w==", "tomli-v==", "tomli-w: not among the pins"),
        ("compose/pins.txt", "sha256:", "md5:", "without a hash"),
        ("pyproject.toml", '"mpmath",', '"mpmath", "leftpad",', "leftpad: not among the pins"),
        ("compose/advisories.toml", "harmless = ", "hope = ", "CVE-2025-32434 of torch: 2.3.1"),
        ("compose/advisories.toml", '"<2.6.0"', '"<2.0"', "no such version is pinned"),
        ("compose/advisories.toml", 'harmless = "torch', 'harmless = ""\nx = "', "say why"),
    ],
)
def test_a_pin_that_does_not_hold_is_named(house, name, old, new, told):
    change(house / name, old, new)
    status, text = check(house)
    assert status == 1
    assert told in text


def test_what_installs_takes_wheels_with_hashes_and_nothing_else():
    """Both recipes: the pins first, then privet itself, of which nothing is resolved or fetched."""
    for recipe in ("Makefile", "compose/Dockerfile"):
        text = (ROOT / recipe).read_text().replace("\\\n", " ")
        install = re.search(r"^INSTALL := (.*)$", text, re.MULTILINE)
        text = text.replace("$(INSTALL)", install[1] if install else "")
        calls = re.findall(r"^(?!INSTALL).*pip install(.*)$", text, re.MULTILINE)
        pins, own = calls
        assert "--no-deps" in pins
        assert "--require-hashes --only-binary :all: -r compose/pins.txt" in pins
        assert "--no-deps" in own
        assert "--no-build-isolation" in own
        assert "pip check" in text


def test_pip_refuses_a_wheel_with_another_hash(tmp_path):
    """By the options that ship, on a wheel of our own: no index is asked."""
    wheel = tmp_path / "planted-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("planted.py", "")
        for name, text in about.items():
            out.writestr(f"planted-1.0.dist-info/{name}", text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for told, status in ((digest, 0), ("0" * 64, 1)):
        pins = tmp_path / "pins.txt"
        pins.write_text(f"planted==1.0 --hash=sha256:{told}\n")
        asked = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(pins)]
        place = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "there")]
        pip = [sys.executable, "-m", "pip", "--isolated", "install", "--upgrade"]
        done = subprocess.run([*pip, *asked, *place], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert status == 0 or "DO NOT MATCH THE HASHES" in done.stderr


def test_no_file_calls_what_an_answer_says_is_not_called():
    """The answers in advisories.toml, of which each is a claim about our own sources."""
    never = re.compile(
        r"jsonpickle|skops|mkldnn_max_pool|ctc_loss|torch\.distributed|easy_install|setuptools|"
        r"pkg_resources|external_data"
    )
    rooms = [
        path
        for room in ("privacy", "clients", "attacks", "server")
        for path in (ROOT / room).rglob("*.py")
    ]
    assert rooms
    assert not [path for path in rooms if never.search(path.read_text())]
