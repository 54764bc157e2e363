"""Owner and service as processes, each ended by kill -9: what was done is not done again."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import httpx
import learnt
import numpy as np
from safetensors.numpy import load

from clients.learning.shares import Prepared
from server.experiment.lessons import load_lesson


@contextlib.contextmanager
def service(folder, port=0):
    """`privet serve-learning`; yields its process and URL, and kills it without a warning."""
    command = [sys.executable, "-m", "server", "serve-learning", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def owner(path, to, url, dies_after=None):
    """Train in a process of its own, which may kill itself after a step; its number."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        with httpx.Client(base_url=url, timeout=120.0) as http:
            teaching = learnt.teach(path, to, http)
            teaching.upload()
            state = teaching.train(lambda done, s: done == dies_after and os.kill(os.getpid(), 9))
            (to / "steps.json").write_text(json.dumps([state.step, teaching._link.bytes_up]))
            teaching.finish(state)
            status = 0
    finally:
        os._exit(status)


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_training_goes_on_after_kill_9_of_either_side(tmp_path):
    """The second owner comes while the service is down, and waits for it."""
    path, to = learnt.write_lesson(tmp_path), tmp_path / "model"
    with service(tmp_path / "kept") as url:
        assert status_of(owner(path, to, url, dies_after=2)) == -signal.SIGKILL
    second = owner(path, to, url)
    with service(tmp_path / "kept", url.rpartition(":")[2]):
        assert status_of(second) == 0
    steps, bytes_up = json.loads((to / "steps.json").read_text())
    assert steps == 4
    assert bytes_up < 2 * 4 * 210_000  # weights of two steps: neither records nor keys again
    prepared = Prepared.of_lesson(lesson := load_lesson(str(path)))
    x, t = prepared.inputs, prepared.targets[:, 0]
    expected = learnt.descended(x, t, lesson, len(x))[0]
    found = load((to / "model.safetensors").read_bytes())["weight"]
    centred = expected - expected.mean()
    assert np.abs(found[1] - found[0] - centred).max() < 1e-3 * np.abs(centred).max()
