"""An owner and a service: the model is the plain one, and what either side loses is made good."""

import json
import os
import random
import signal
import time
from pathlib import Path

import learnt
import numpy as np
import pytest
import served
from restated import require
from safetensors.numpy import load

from clients.learning.course import join
from clients.learning.desk import KEY, LETTER
from clients.learning.shares import Prepared
from clients.training.records import records
from privacy.dp.grid import Grid
from privacy.dp.journal import Journal
from privacy.dp.noise import Noise
from privacy.encrypted.learning.residual import prepare
from privacy.encrypted.wire import HEADER, Frame, _checksum, read_frame
from privacy.errors import BudgetExhausted, CiphertextError, LedgerError, ModelError
from server.experiment.lessons import load_lesson
from server.inference.gate.accounts import read_tokens
from server.inference.gate.tarpit import AT_ONCE

BUDGET = 'budget = { unit = "record", epsilon = 3 }\n'


def bytes_under(folder):
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_the_model_is_the_plain_one_though_both_sides_were_killed(tmp_path):
    """After two steps the worker and the service end, and the owner begins anew from its desk."""
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path) as (service, http):
        owner = learnt.teach(path, tmp_path / "model", http)
        owner.upload()
        os.kill(service.pool.workers[0].pid, signal.SIGKILL)

        def stop(done, seconds):
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            owner.train(stop)
        owner._step(owner._desk.state(1, 4))  # answered, and lost before the owner kept it
    secret = (tmp_path / "model" / KEY).read_bytes()
    kept = bytes_under(tmp_path / "kept")
    assert len(kept) > 10**6
    assert secret[100:164] not in kept
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        again = learnt.teach(path, tmp_path / "model", http)
        again.upload(lambda *_: pytest.fail("the records are there"))
        told = again.finish(again.train())
    train, _ = records(again.lesson.data, again.lesson.model)
    z = prepare(train.x.numpy().astype(float))
    expected = learnt.descended(z, train.y.numpy() - 0.5, again.lesson, len(z))
    found = load((tmp_path / "model" / "model.safetensors").read_bytes())["weight"]
    centred = expected - expected.mean()
    assert np.abs(found[1] - found[0] - centred).max() < 1e-3 * np.abs(centred).max()
    assert told["epsilon"] is None
    assert told["accuracy"] > 0.8
    assert not (tmp_path / "model" / KEY).exists()
    assert not list((tmp_path / "kept" / "courses").iterdir())


def test_weights_that_are_late_replayed_or_under_another_key_change_nothing(tmp_path):
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        owner = learnt.teach(path, tmp_path / "model", http)
        link, course = owner._link, owner._link._path
        owner.upload()
        first = owner._step(owner._desk.state(1, 4))
        letter = (tmp_path / "model" / LETTER).read_bytes()
        frame = read_frame(letter, "weights", owner.course.digest)
        answer = link.gradient(frame)  # the very frame again: the very answer
        assert answer == link.gradient(frame)
        stranger = learnt.teach(path, tmp_path / "stranger", http)._owner

        def post(step, number, parts, keys=None):
            keys, nonce = keys or bytes.fromhex(course[-64:]), number.to_bytes(16, "little")
            frame = Frame("weights", owner.course.digest, parts, keys, nonce)
            return http.post(f"{course}/steps/{step}", content=frame.to_bytes())

        weights = owner._owner.encrypt_weights(first.point)
        for response, status, text in [
            (post(0, 0, weights), 409, "step 0 was answered before, to other weights; step 1"),
            (post(2, 2, weights), 409, "step 2 is not next; step 1 is next"),
            (http.post(f"{course}/steps/1", content=letter), 409, "does not bear the number 1"),
            (post(1, 1, weights, bytes(32)), 409, "under other keys"),
            (post(1, 1, weights[:0]), 422, "0 letters, where 4 belong"),
            (http.post(f"{course}/steps/x", content=letter), 400, "a number belongs here"),
            (http.put(f"{course}/blocks/0", content=letter), 409, "is here already"),
            (http.put(f"{course}/blocks/1", content=letter), 422, "the course has 1"),
            (http.get(course[:-1] + "!"), 404, "no such course"),
        ]:
            assert response.status_code == status, response.text
            assert text in response.text
            assert response.text.count("\n") == 1
        # a stranger's weights that claim to be ours: the answer decrypts to chance, and is refused
        assert http.get(course).json() == {"blocks": [0], "step": 1}
        claimed = post(1, 1, stranger.encrypt_weights(first.point))
        assert claimed.status_code == 200
        parts = read_frame(claimed.content, "gradient", owner.course.digest).parts
        with pytest.raises(CiphertextError, match="another key"):
            owner._owner.decrypt(parts, 1.0)
        owner._desk.keep(first)
        assert owner.train().step == 4  # and nothing was lost


def broken(sound, rng):
    """A frame with one byte altered in its head or at the start of its parts, or cut short as well;
    its checksum holds again."""
    content = bytearray(sound[:-16])
    places = [p for p in range(HEADER.size + 300) if not 24 <= p < 40]  # not the nonce
    content[rng.choice(places)] ^= rng.randrange(1, 256)
    cut = rng.randrange(len(content)) if rng.random() < 0.2 else len(content)
    return bytes(content[:cut]) + _checksum(bytes(content[:cut]))


def test_broken_frames_leave_a_service_that_answers(tmp_path):
    """Of a course, records or weights: each gets a 4xx, but for sound ciphertexts of nonsense."""
    rng = random.Random(3)
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path) as (service, http):
        owner = learnt.teach(path, tmp_path / "model", http)
        owner.upload()
        parts = owner._owner.encrypt_weights(np.zeros((1, 4)))
        sound = owner._link.frame("weights", parts, 0).to_bytes()
        kept = tmp_path / "kept" / "courses" / owner._name / "000.block"
        block = kept.read_bytes()
        pids, course = [w.pid for w in service.pool.workers], owner._link._path
        requests = {
            f"/v1/keys/{owner.course.digest.hex()}": (http.put, owner._frame.to_bytes(), 15),
            f"{course}/blocks/0": (http.put, block, 15),
            f"{course}/steps/0": (http.post, sound, 100),
        }
        statuses = []
        for url, (send, content, times) in requests.items():
            for _ in range(times):
                if "blocks" in url:
                    kept.unlink(missing_ok=True)
                statuses.append(send(url, content=broken(content, rng)).status_code)
            kept.write_bytes(block)
        assert all(400 <= status < 500 or status == 200 for status in statuses), statuses
        assert statuses.count(200) < 20
        assert pids == [w.pid for w in service.pool.workers]
        told = http.get(course).json()
        assert told["blocks"] == [0]
        letter = owner._link.frame("weights", parts, told["step"]).to_bytes()
        assert http.post(f"{course}/steps/{told['step']}", content=letter).status_code == 200


def test_a_ledger_and_a_budget(tmp_path, monkeypatch):
    """Each step is charged before its noise is drawn; what is drawn again is charged again."""
    path = learnt.write_lesson(tmp_path, BUDGET)
    with learnt.serving(tmp_path / "kept", tmp_path) as (_, http):
        owner = learnt.teach(path, tmp_path / "model", http)
        owner.upload()
        assert np.linalg.norm(owner.share.prepared.inputs, axis=1).max() <= 1 + 1e-12
        drawn, whole = [], Noise.integers
        monkeypatch.setattr(
            Noise, "integers", lambda self, d, size: drawn.append(d) or whole(self, d, size)
        )
        state = owner.train()
        told = owner.finish(state)
        # in steps of the grid, of the norm that one record's coming and the ciphertexts' error have
        least = told["noise_multiplier"] * owner.descent.residual.sensitivity
        grid = Grid.of(owner.descent.sensitivity, 4).step
        assert len(drawn) == 4
        assert min(drawn) * grid > least
        assert np.linalg.norm(state.point) <= 24 * (1 + 1e-12)
        assert 2.9 < told["epsilon"] <= 3
        assert told["noise_multiplier"] > 1
        owner = learnt.teach(path, tmp_path / "again", http)
        owner.upload()
        owner._desk.keep(owner._step(owner._desk.state(1, 4)))
        for file in (tmp_path / "again").glob("ledger*"):
            file.rename(tmp_path / file.name)
        with pytest.raises(LedgerError, match="give the --ledger"):
            owner.train()
        for file in tmp_path.glob("ledger*"):
            file.rename(tmp_path / "again" / file.name)
        owner._step(owner._desk.state(1, 4))  # lost: the owner died before it was kept
        with pytest.raises(BudgetExhausted, match="would bring epsilon to"):
            owner.train()
        assert owner._desk.state(1, 4).step == 3


def test_names_are_for_whoever_has_the_token(tmp_path):
    tokens, words = served.tokens_file(tmp_path, "ann", "bob")
    path = learnt.write_lesson(tmp_path)
    with learnt.serving(tmp_path / "kept", tmp_path, read_tokens(tokens)) as (_, http):
        assert http.get("/v1/courses/" + "0" * 64).status_code == 401
        http.headers.update(served.bearer(words["ann"]))
        owner = learnt.teach(path, tmp_path / "model", http)
        owner.upload()
        assert http.get(owner._link._path).status_code == 200
        http.headers.update(served.bearer(words["bob"]))
        assert http.get(owner._link._path).status_code == 200  # it knows the name: an owner
        assert http.delete(owner._link._path).status_code == 404
        assert http.post(f"{owner._link._path}/steps/0", content=b"").status_code == 404


def test_who_guesses_tokens_waits_ever_longer(tmp_path):
    tokens, _ = served.tokens_file(tmp_path, "ann")
    with learnt.serving(tmp_path / "kept", tmp_path, read_tokens(tokens), 0.3) as (_, http):
        taken_s = []
        for _ in range(AT_ONCE + 4):
            begun = time.monotonic()
            assert http.get("/v1/courses/" + "0" * 64).status_code == 401
            taken_s.append(time.monotonic() - begun)
        assert min(taken_s[-2:]) > 0.2 > min(taken_s)


def test_two_owners_train_the_model_of_all_their_records(tmp_path):
    """The second has an invitation and a token of its own; its ledger is charged once."""
    extra = 'budget = { unit = "record", epsilon = 1e9 }\n'
    path = learnt.write_lesson(tmp_path, extra)
    (tmp_path / "other").mkdir()
    other = learnt.write_lesson(tmp_path / "other", extra, num=30)
    several = ["learning.owners=2", "learning.owner_records=60"]
    tokens, words = served.tokens_file(tmp_path, "ann", "bob")
    with learnt.serving(tmp_path / "kept", tmp_path, read_tokens(tokens)) as (_, http):
        http.headers.update(served.bearer(words["ann"]))
        owner = learnt.teach(path, tmp_path / "model", http, *several)
        owner.upload()
        invitation, ledger = tmp_path / "model" / "invitation-1", Journal(tmp_path / "bobs")
        assert invitation.stat().st_mode & 0o077 == 0
        content = invitation.read_bytes()
        http.headers.update(served.bearer(words["bob"]))
        second = load_lesson(str(other), several)
        another = load_lesson(str(other), [*several, "learning.reach=13.0"])
        with pytest.raises(ModelError, match="another lesson"):
            join(another, invitation, http, ledger)
        for _ in range(2):  # it is interrupted, and tries again
            join(second, invitation, http, ledger).upload()
        http.headers.update(served.bearer(words["ann"]))
        owner.await_others()
        told = owner.finish(owner.train())
    assert ledger.spent.entries == owner._ledger.spent.entries
    assert told["records"] == 120
    assert content[200:264] not in bytes_under(tmp_path / "model")  # the key, in the invitation
    both = [Prepared.of_lesson(load_lesson(str(p), several)) for p in (path, other)]
    x, y = (np.concatenate([getattr(one, n) for one in both]) for n in ("inputs", "targets"))
    expected = learnt.descended(x, y[:, 0], second, 120)
    found = load((tmp_path / "model" / "model.safetensors").read_bytes())["weight"]
    assert np.abs(found[1] - found[0] - expected[0]).max() < 1e-2 * np.abs(expected).max()


def test_the_command_in_one_line(tmp_path, privet):
    """It starts a service of its own; what is learnt is not learnt over, and others read it."""
    path, to = learnt.write_lesson(tmp_path, BUDGET), str(tmp_path / "model")
    status, out, err = privet("learn", str(path), "--to", to, "-s", "learning.steps=1")
    assert status == 0, err
    assert out == f"{to}/model.safetensors\n"
    assert "for each record" in err
    status, _, err = privet("learn", str(path), "--to", to, "-s", "learning.steps=1")
    assert (status, "is learnt already" in err) == (2, True)
    status, _, err = privet("learn", str(path))
    assert (status, "give --to FOLDER" in err) == (2, True)
    told = json.loads(Path(to, "learnt.json").read_text())
    run = f"{to}/run"
    shown = json.loads(privet("show", run, "--json")[1])
    assert shown["epsilon"] == pytest.approx(told["epsilon"])
    assert shown["clip"] == told["sensitivity"]
    assert shown["accuracy"] == told["accuracy"]
    assert "ciphertexts alone" in shown["trust"]
    answers = json.loads(privet("infer", run, "--evaluate", "4", "--json")[1])
    assert answers["agreement"] == 1.0
    (cost,) = json.loads(privet("cost", run, "--json")[1])
    assert any("in the clear" in note for note in cost["notes"])
    privet("statement", run, "--output", str(tmp_path / "statement.md"))
    statement = (tmp_path / "statement.md").read_text()
    assert "the owner decrypts a sum over all records" in statement
    assert "Poisson" not in statement
    require(Path(run))
    for command, reason in (("audit", "privet audit lesson FILE"), ("attack", "attack model FILE")):
        status, _, err = privet(command, run)
        assert (status, reason in err) == (2, True), err
