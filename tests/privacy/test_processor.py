"""Matrix products run by the kernels that the processor can run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.processor import ASKED, KERNELS, NEEDED, ask

FLAGS = " ".join(sorted(NEEDED))


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        (f"vendor_id\t: AuthenticAMD\nflags\t\t: {FLAGS} sse2\n", KERNELS),
        (f"vendor_id\t: GenuineIntel\nflags\t\t: {FLAGS}\n", None),  # whose names are known
        ("vendor_id\t: AuthenticAMD\nflags\t\t: avx2 fma\n", None),
        ("", None),
    ],
)
def test_kernels_are_asked_for_where_they_run_and_would_not_be_taken(
    tmp_path, monkeypatch, told, asked
):
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.delenv(ASKED, raising=False)
    ask(tmp_path / "cpuinfo")
    assert os.environ.get(ASKED) == asked
    ask(tmp_path / "nowhere")


def test_what_the_user_asked_for_stands(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"AuthenticAMD\nflags : {FLAGS}\n")
    monkeypatch.setenv(ASKED, "Haswell")
    ask(tmp_path / "cpuinfo")
    assert os.environ[ASKED] == "Haswell"


LOADED = """
import {first}, threadpoolctl
for one in threadpoolctl.threadpool_info():
    print(one["internal_api"], one.get("architecture"))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or "avx512vl" not in Path("/proc/cpuinfo").read_text(),
    reason="this processor has no AVX-512",
)
@pytest.mark.parametrize(
    "first", ["privacy.dp.grid", "clients.data.sets", "attacks.tape", "server.run.directory"]
)
def test_every_door_asks_in_time(monkeypatch, first):
    monkeypatch.delenv(ASKED, raising=False)
    command = [sys.executable, "-c", LOADED.format(first=first)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "openblas" in done.stdout
    assert "Haswell" not in done.stdout
