"""tests/acceptance/containers.py reads a Dockerfile as Docker does; what needs root is not here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ACCEPTANCE = ROOT / "tests" / "acceptance"

TRIAL = """
import json, sys
from pathlib import Path
sys.path.insert(0, {acceptance!r})
import containers
containers._run = lambda image, command: ran.append([image.place, command])
ran, here = [], Path({folder!r})
(here / "base/etc").mkdir(parents=True)
image = containers.build(Path({root!r}) / "compose/Dockerfile", Path({root!r}), here / "base", here)
print(json.dumps([ran, image.variables, image.place, image.user, image.entry, image.root.name]))
"""


def test_the_dockerfile_is_done_stage_by_stage(tmp_path):
    (tmp_path / "stage-0/opt/privet").mkdir(parents=True)  # what the steps, left out here, make
    (tmp_path / "stage-0/opt/privet/made").write_text("")
    told = {"acceptance": str(ACCEPTANCE), "folder": str(tmp_path), "root": str(ROOT)}
    words = [sys.executable, "-c", TRIAL.format(**told)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran, variables, place, user, entry, root = json.loads(done.stdout)
    assert [where for where, _ in ran] == ["/source", "/source"]
    assert "--require-hashes" in ran[0][1]
    assert variables["PATH"].startswith("/opt/privet/bin:/usr/local/sbin:")
    assert (place, user, entry, root) == ("/tmp", "10001:10001", ["privet"], "stage-1")
    assert (tmp_path / "stage-1/opt/privet/made").is_file()


def test_a_machine_that_cannot_is_told_so_by_name(tmp_path):
    """Without the tools nothing is built, and the part is skipped, not passed."""
    words = [sys.executable, str(ACCEPTANCE), "image"]
    done = subprocess.run(words, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image"]["skipped"] == "mmdebstrap is not installed"
    assert "image: skipped: mmdebstrap is not installed" in done.stderr
