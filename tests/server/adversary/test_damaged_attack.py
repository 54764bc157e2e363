"""An attack on a run whose files were damaged, or are another run's."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from server.adversary.archive import Archive
from server.adversary.replay import replay
from server.adversary.stages import done_once
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = ["federation.rounds=1", "record.updates=true", "data.limit=200"]
    return launch(load_experiment("tiny", plan), tmp_path_factory.mktemp("runs"), "mine")


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "mine")
    return Run.open(tmp_path / "mine")


@pytest.mark.parametrize("stem", ["000", "001", "001/0002"])
@pytest.mark.parametrize("how", ["narrower", "less", "more"])
def test_weights_of_another_model_are_one_line(run, privet, stem, how):
    path = run.path / f"rounds/{stem}.safetensors"
    arrays = load_file(path)
    name = max(arrays)
    if how == "less":
        del arrays[name]
    elif how == "more":
        arrays["9.weight"] = np.zeros(3, np.float32)
    else:
        arrays[name] = np.ascontiguousarray(arrays[name][1:])
    save_file(arrays, path)
    words = ("-s", "attack.shadows=4", "--runs", str(run.path.parent))
    status, _, err = privet("attack", "mine", *words)
    (line,) = [line for line in err.splitlines() if not line.endswith("...")]
    assert status == 2
    assert f"{stem}.safetensors: the weights are another model's" in line
    assert not (run.path / "leakage.json").exists()


def test_sound_weights_pass(run):
    tape = replay(run)
    archive = Archive(run, tape.build(0))
    assert archive.weights(1).keys() == archive.update(1, 0).keys() == run.weights(1).keys()


@pytest.mark.parametrize("damage", ["gone", "found", "seconds", "digest", "cut"])
def test_a_stage_whose_file_is_damaged_is_done_again(run, damage):
    times = []

    def stage():
        times.append(1)
        return {"auc": {"value": 0.5}, "low": float("-inf"), "p": [float("nan"), (1, 2)]}

    def do():
        return done_once(run, "models", "a mark", stage, lambda _: None)

    first, _ = do()
    assert do()[0]["auc"] == first["auc"]
    assert len(times) == 1
    path = run.path / "attack/models.json"
    told = json.loads(path.read_text())
    if damage == "found":
        told["found"]["auc"]["value"] = 0.9
    elif damage in ("seconds", "digest"):
        del told[damage]
    text = json.dumps(told)
    path.write_text(text[:-9] if damage == "cut" else text)
    if damage == "gone":
        path.unlink()
    assert do()[0]["auc"] == {"value": 0.5}
    assert len(times) == 2
    done_once(run, "models", "another mark", stage, lambda _: None)
    assert len(times) == 3
