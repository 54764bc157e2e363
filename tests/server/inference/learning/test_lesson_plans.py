"""What a lesson's file may ask for: what is refused, and where; a softmax, all the way."""

import json

import learnt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from clients.learning.desk import STATE
from clients.learning.refreshes import column_bytes, refreshes
from clients.learning.shares import Prepared
from privacy.encrypted.learning.course import Course
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.learning.steps import Steps
from privacy.encrypted.wire import Frame
from privacy.errors import ModelError, RunError

COURSE = "privacy.encrypted.learning.course"


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("[model]\nname = 'convnet'\n", "has four levels"),
        ("[model]\nname = 'linear'\nhidden = [3]\n", "[model] hidden: would change nothing"),
        ("[budget]\nunit = 'client'\nepsilon = 1\n", "an owner protects each record"),
        ("[budget]\nepsilon = 1\nclip = 2.0\n", "[budget] clip: would change nothing"),
        ("[learning2]\nsteps = 1\n", "unknown key"),
        ("loss = 'squared'\nreach = 3.0\n", "reach: loss = 'squared' has no cubic"),
        ("letters = 'each'\nlink_mbit = 9.0\n", "link_mbit: letters = 'each' asks for no"),
    ],
)
def test_what_cannot_be_learnt_is_said(tmp_path, privet, extra, text):
    path = learnt.write_lesson(tmp_path, extra)
    if not extra.startswith(("[", "budget")):
        path.write_text(path.read_text().replace("learning = { steps = 4 }", "[learning]"))
    status, _, err = privet("learn", str(path), "--to", str(tmp_path / "model"))
    assert status == 2
    assert text in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_a_lesson_that_does_not_fit_leaves_its_folder_to_another(tmp_path, privet):
    path, to = learnt.write_lesson(tmp_path), tmp_path / "model"
    softmax = ("-s", "learning.loss=softmax")
    status, _, err = privet(
        "learn", str(path), "--to", str(to), *softmax, "--url", "http://[::1]:1"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "of two classes it is 'logistic'" in err
    assert [file.name for file in to.iterdir()] == [".lock"]


def test_what_a_server_cannot_hold_is_refused_before_anything_is_sent(tmp_path, monkeypatch):
    """By the owner, and by a service that another owner asks."""
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        monkeypatch.setattr(f"{COURSE}.MOST_MEMORY_BYTES", 10**6)
        with pytest.raises(ModelError, match=r"1 blocks of records, of 0.00 GB each.*or fewer"):
            learnt.teach(path, tmp_path / "model", http)
        monkeypatch.undo()
        monkeypatch.setattr(f"{COURSE}.MOST_LETTERS", 3)
        with pytest.raises(ModelError, match="4 ciphertexts of weights, where 3 fit: say letters"):
            learnt.teach(path, tmp_path / "model", http, "learning.letters=each")
        assert [file.name for file in (tmp_path / "model").iterdir()] == []
        monkeypatch.undo()
        large = Course(blocks=64, features=1280, outputs=1, cubic=True, offset=1.0, packed=False)
        parts = (large.model_dump_json().encode(), b"")
        frame = Frame("keys", large.digest, parts).to_bytes()
        answer = http.put(f"/v1/keys/{large.digest.hex()}", content=frame)
        assert answer.status_code == 413, answer.text
        assert "1280 ciphertexts of weights" in answer.text
        assert http.get("/health").status_code == 200


def test_a_desk_that_is_not_as_it_was_left_is_refused(tmp_path, monkeypatch):
    """Other records than the server has, or a state that no step leaves."""
    path, to = learnt.write_lesson(tmp_path), tmp_path / "model"
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        owner = learnt.teach(path, to, http)
        sound = {"step": np.array([1]), "weights": np.zeros((1, 4)), "point": np.zeros((1, 4))}
        for changed, text in [
            ({"point": np.zeros((2, 4))}, "of another model"),
            ({"weights": np.full((1, 4), np.nan)}, "damaged: no such weights"),
            ({"step": np.array([-3])}, "damaged: no such weights"),
            ({"step": np.array([], np.int64)}, "damaged: index 0"),
        ]:
            (to / STATE).write_bytes(save(sound | changed))
            with pytest.raises(RunError, match=text):
                owner._desk.state(1, 4)
        there = owner.share.prepared
        flipped = Prepared(there.inputs, -there.targets)
        monkeypatch.setattr(Prepared, "of_lesson", lambda lesson: flipped)
        with pytest.raises(RunError, match="began with other records, which the server has"):
            learnt.teach(path, to, http)


def test_a_folder_has_one_lesson(tmp_path):
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        learnt.teach(path, tmp_path / "model", http)
        with pytest.raises(RunError, match="another lesson"):
            learnt.teach(path, tmp_path / "model", http, "learning.steps=9")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "file").touch()
        with pytest.raises(RunError, match="is not empty"):
            learnt.teach(path, tmp_path / "other", http)


def test_a_softmax_is_the_plain_one(tmp_path):
    """Three classes, all the way; the oracle goes record by record."""
    path = learnt.write_lesson(tmp_path, classes=3)
    path.write_text(path.read_text().replace("steps = 4", "steps = 2, loss = 'softmax'"))
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        owner = learnt.teach(path, tmp_path / "model", http)
        owner.upload()
        told = owner.finish(owner.train())
    residual, rate = owner.descent.residual, owner.lesson.learning.rate
    x, t = owner.share.prepared.inputs, owner.share.prepared.targets
    w = v = np.zeros((3, 4))
    for k in range(2):
        total = np.zeros((3, 4))
        for record, target in zip(x, t, strict=True):
            m = v @ record
            total += np.outer(m * (residual.slope - residual.cubic * sum(m**2)) - target, record)
        new = v - rate * total / len(x)
        v, w = new + k / (k + 3) * (new - w), new
    found = load((tmp_path / "model" / "model.safetensors").read_bytes())["weight"]
    assert np.linalg.norm(w) < owner.lesson.learning.bound  # no projection takes part
    centred = w - w.mean(1, keepdims=True)
    assert np.abs(found - centred).max() < 1e-3 * np.abs(centred).max()
    assert told["accuracy"] > 0.8


def test_a_plan_says_what_a_lesson_takes_before_it_begins(tmp_path, privet):
    path = learnt.write_lesson(tmp_path, "budget = { unit = 'record', epsilon = 3 }\n")
    status, out, err = privet("learn", str(path), "--plan", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert 2.9 < told["epsilon"] <= 3
    assert [one["steps"] for one in told["refreshes"]] == [1, 2, 3]
    assert "taken: the first" in privet("learn", str(path), "--plan")[1]
    status, _, err = privet("learn", str(path), "--plan", "--to", str(tmp_path / "model"))
    assert (status, "--plan begins nothing" in err) == (2, True)


@given(
    st.integers(1, 64), st.integers(1, 1024), st.integers(1, 128), st.booleans(), st.booleans(),
    st.floats(1e-3, 1e6),
)  # fmt: skip
def test_a_refresh_after_each_step_is_the_cheapest_whatever_is_learnt(
    blocks, features, outputs, cubic, packed, link_mbit
):
    """In time and in bytes, which is why no other is built."""
    course = Course(
        blocks=blocks, features=features, outputs=outputs, cubic=cubic, offset=1.0, packed=packed
    )
    found = refreshes(course, link_mbit)
    assert found[0].steps == 1
    assert found[0].step_bytes == min(one.step_bytes for one in found)


def test_a_plan_s_bytes_are_those_that_are_sent(tmp_path):
    course = Course(blocks=1, features=2, outputs=1, cubic=True, offset=1.0, packed=True)
    owner = Owner(course)
    x = np.full((5, 2), 0.5)
    *columns, target = owner.encrypt_block(0, x, x[:, :1])
    assert len(columns[0]) == pytest.approx(column_bytes(residual=False), rel=0.1)
    assert len(target) == pytest.approx(column_bytes(residual=True), rel=0.1)
    letters = owner.encrypt_weights(np.zeros((1, 2)))
    steps = Steps(course, owner.evaluation())
    steps.add_block(0, (*columns, target))
    sent = sum(map(len, (*letters, *steps.gradient(letters))))
    assert sent == pytest.approx(refreshes(course, 1.0)[0].step_bytes, rel=0.1)
