"""A record drawn from an update: windows, pictures of colour, sounds."""

from functools import partial

import numpy as np
import owned
import pytest

from attacks.reconstruction import features
from attacks.settings import Attack
from server.adversary.answers import on_answers
from server.adversary.reconstruction import generators
from server.adversary.reconstruction.play import reconstruct
from server.adversary.replay import replay
from server.engines.launch import launch
from server.experiment.loading import load_experiment

LEAKS = ["budget.unit=none", "training.sample_rate=0.5"]
DP = ["budget.epsilon=1", "federation.rounds=3", "training.local_steps=2"]


def windows_run(tmp_path, runs, *settings):
    """A person's swing has a form and a pace of its own."""
    rng, rows = np.random.default_rng(0), ["person,label,x,y"]
    for person in range(12):
        for label in (1, 2):
            form = rng.uniform(-1, 1, (160, 2)).cumsum(0)
            form /= np.abs(form).max()
            rows += [f"{person},{label},{x:.4f},{y:.4f}" for x, y in form]
    path = owned.write_table(tmp_path / "swing.csv", rows)
    (tmp_path / "swing.schema.toml").write_text(
        "labels = [1, 2]\nrate_hz = 50.0\n"
        + "".join(f"[columns.{axis}]\nlow = -2.0\nhigh = 2.0\n" for axis in "xy")
    )
    about = [
        "data.name=file", f"data.path={path}", "data.target=label", "data.person=person",
        "data.windows.length=16", "data.windows.step=16", "data.held_out=0.3",
        'data.test.person=["9", "10", "11"]',
    ]  # fmt: skip
    return launch(load_experiment("tiny", [*about, *settings]), runs)


PARTS, BY_PART = ("train", "train", "test"), ["data.test.part=test"]


def pictures_run(tmp_path, runs, *settings, drawn=(8, 8), side=8):
    files = {
        f"{kind}/{PARTS[number % 3]}_{number}.png": owned.picture(number + 1000 * place, drawn)
        for place, kind in enumerate(("cat", "dog"))
        for number in range(60)
    }
    path = owned.write_tree(tmp_path / "pets", files)
    (path / "schema.toml").write_text(f'labels = ["cat", "dog"]\nsize = [{side}, {side}]\n')
    about = [
        "data.name=file",
        f"data.path={path}",
        "data.held_out=0.3",
        *BY_PART,
        "data.pattern={label}/{part}_{index}.png",
    ]
    return launch(load_experiment("tiny", [*about, *settings]), runs)


def sounds_run(tmp_path, runs, *settings, samples=160):
    rng = np.random.default_rng(0)
    files = {
        f"{word}/{PARTS[number % 3]}_{number}.wav": owned.sound(
            rng.integers(-20000, 20000, samples).cumsum() % 20000
        )
        for word in ("no", "yes")
        for number in range(60)
    }
    path = owned.write_tree(tmp_path / "words", files)
    length = f"rate_hz = 8000.0\nlength_s = {samples / 8000}\n"
    (path / "schema.toml").write_text('labels = ["no", "yes"]\n' + length)
    about = [
        "data.name=file",
        f"data.path={path}",
        "data.held_out=0.3",
        *BY_PART,
        "model.front=none",
        "data.pattern={label}/{part}_{index}.wav",
    ]
    return launch(load_experiment("tiny", [*about, *settings]), runs)


RUNS = {"window": windows_run, "picture": pictures_run, "sound": sounds_run}


@pytest.mark.parametrize("kind", RUNS)
def test_a_record_is_drawn_as_what_it_is(tmp_path, runs, kind, monkeypatch):
    """From the update of one: nearly exact without noise, and no nearer than strangers with it."""
    monkeypatch.setattr(generators, "GAN_ROUNDS", 1)
    monkeypatch.setattr(generators, "GAN_PAIRS", 1)
    figure = {"picture": "psnr_db"}.get(kind, "correlation")
    for noise in (False, True):
        run = RUNS[kind](tmp_path, runs, *(DP if noise else LEAKS), "federation.clients=2")
        tape = replay(run)
        assert tape.nature.kind == kind
        found = reconstruct(run, tape, Attack(), lambda _: None)
        drawn = found["inversion"]
        near, far = drawn["reconstruction"][figure], drawn["nearest_stranger"][figure]
        assert drawn["method"] == "analytic"
        assert (near > far + 0.2) is not noise
        assert (drawn["p_nearer_than_strangers"] < 0.01) is not noise
        assert ("picture" in drawn) is (kind == "picture")
        if kind == "picture":
            assert found["generators"]["malicious_client"]["psnr_db_to_victim"] > 0
        else:
            assert f"a record is a {kind}" in found["generators"]["left_out"]
        answers = on_answers(run, tape)["robustness"]["as trained"]
        assert answers["pgd 0.1"]["value"] <= answers["fgsm 0.1"]["value"]


FRONTS = {
    "spectrum": (windows_run, "samples"),
    "log-mel": (partial(sounds_run, samples=800), "spectrogram"),
    "scatter": (partial(pictures_run, drawn=(3, 3), side=12), "ssim"),
}


@pytest.mark.parametrize("front", FRONTS)
def test_features_are_drawn_and_the_records_behind_them(tmp_path, runs, front, monkeypatch):
    """From the update of one: without noise features are exact, and a record is found that is
    nearer to the victim's than any stranger's; with it neither is."""
    monkeypatch.setattr(features, "STEPS", 60)
    make, figure = FRONTS[front]
    for noise in (False, True):
        about = (*(DP if noise else LEAKS), "federation.clients=2", f"model.front={front}")
        run = make(tmp_path, runs, *about)
        found = reconstruct(run, replay(run), Attack(), lambda _: None)
        assert "fixed features" in found["generators"]["left_out"]
        read, behind = found["inversion"], found["inversion_of_features"]
        assert (read["reconstruction"]["features"] > 0.999) is not noise
        assert behind["figure"] == figure
        for drawn in (read, behind):
            assert (drawn["p_nearer_than_strangers"] < 0.01) is not noise
            assert (drawn["nearer_by"]["low"] > 0) is not noise
