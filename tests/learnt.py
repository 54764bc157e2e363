"""A small lesson, its service and its owner, for the tests of learning on encrypted records."""

import contextlib

import numpy as np
from starlette.testclient import TestClient

from clients.learning.course import Teaching
from clients.learning.desk import LEDGER, Desk
from clients.learning.settings import Lesson
from privacy.dp.journal import Journal
from server.experiment.lessons import load_lesson
from server.inference.gate.stores import scratch
from server.inference.learning.service import LEARNING_LIMITS, LearningService


def write_lesson(folder, extra="", num=60, classes=2):
    """Records of four numbers in classes, as arrays; the lesson's file."""
    rng = np.random.default_rng(0)
    data = folder / "records"
    data.mkdir()
    for part, size in (("train", num), ("test", 40)):
        y = rng.integers(0, classes, size)
        means = np.array([[-0.5, 0.5, -0.2, 0], [0.5, -0.5, 0.2, 0], [0.5, 0.5, -1, 0], [0] * 4])
        x = np.clip(rng.normal(0, 0.3, (size, 4)) + means[y], -2, 2)
        np.save(data / f"{part}_x.npy", x)
        np.save(data / f"{part}_y.npy", y)
    bounds = "".join(f"[columns.{n}]\nlow = -2.0\nhigh = 2.0\n" for n in range(4))
    labels = [str(label) for label in range(classes)]
    (data / "schema.toml").write_text(f"labels = {labels}\n{bounds}")
    path = folder / "lesson.toml"
    path.write_text(f'data.path = "{data}"\nlearning = {{ steps = 4 }}\n{extra}')
    return path


@contextlib.contextmanager
def serving(folder, place, tokens=None, refusal_s=0.0):
    """A service whose courses lie in `folder`, and an HTTP client of it in this process."""
    changed = {"memory_bytes": 0, "answer_s": 120.0, "refusal_s": refusal_s}
    limits = LEARNING_LIMITS.model_copy(update=changed)
    with scratch("privet-arriving-", place) as theirs:
        service = LearningService(folder, theirs, limits, tokens)
        with TestClient(service.app(), raise_server_exceptions=False) as http:
            yield service, http


def teach(path, to, http, *assignments):
    """An owner at the desk `to`."""
    lesson: Lesson = load_lesson(str(path), list(assignments))
    to.mkdir(exist_ok=True)
    return Teaching(lesson, Desk(to, lesson), http, Journal(to / LEDGER))


def descended(z, t, lesson, num):
    """The oracle: the same polynomial and steps, in numpy, without noise; weights [1, D].

    Prepared records [N, D], targets [N], and by how many the sums are divided.
    """
    residual = lesson.learning.residual(1)
    w = v = np.zeros((1, z.shape[1]))
    for k in range(lesson.learning.steps):
        m = z @ v[0]
        g = (residual.slope * m - residual.cubic * m**3 - t) @ z / num
        new = residual.project(v - lesson.learning.rate * g)
        v = residual.project(new + k / (k + 3) * (new - w))
        w = new
    return w
