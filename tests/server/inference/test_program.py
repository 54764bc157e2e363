"""What is compiled for a service comes of the weights: no record of the data set is in it."""

import dataclasses
import json

import numpy as np
import pytest
import served

from privacy.encrypted.wire import read_offer
from server.inference import program
from server.inference.program import compile_run


class Poison(np.ndarray):
    """Records whose shape may be asked for, and nothing else of them."""

    def __getitem__(self, key):
        raise AssertionError("a training record was read")

    def __array_ufunc__(self, *arguments, **settings):
        raise AssertionError("training records were computed with")

    def __array_function__(self, *arguments, **settings):
        raise AssertionError("training records were computed with")

    def __iter__(self):
        raise AssertionError("training records were read")

    def astype(self, *arguments, **settings):
        raise AssertionError("training records were read")


@pytest.mark.parametrize(
    ("scheme", "settings"), [("ckks", served.SQUARES), ("boolean", served.SIGNS)]
)
def test_no_training_record_is_read_to_compile(tmp_path, monkeypatch, scheme, settings):
    """Each file is the same to the byte with the records poisoned, labels but their number too."""
    run = served.train(tmp_path, *settings)
    compile_run(run, scheme, tmp_path / "before")
    load = program.load

    def poisoned(data):
        found = load(data)
        labels = np.full(1, found.num_classes - 1, np.uint8)
        return dataclasses.replace(found, train_x=found.train_x.view(Poison), train_y=labels)

    monkeypatch.setattr(program, "load", poisoned)
    with pytest.raises(AssertionError, match="a training record was read"):
        poisoned(run.experiment.data).train_x[0]
    compile_run(run, scheme, tmp_path / "after")
    names = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "after").iterdir())
    of_fresh_keys = {"trial.bin"}  # a question that nobody asked
    for name in set(names) - {"server.zip", "offer.json"} - of_fresh_keys:
        one, other = ((tmp_path / part / name).read_bytes() for part in ("before", "after"))
        assert one == other
    one, other = (
        json.loads((tmp_path / part / "offer.json").read_text()) for part in ("before", "after")
    )
    for changing in ("model",) if scheme == "boolean" else ():  # an archive holds the time
        one.pop(changing), other.pop(changing)
    assert one == other


@pytest.mark.parametrize(
    ("scheme", "settings", "said"),
    [("ckks", served.SQUARES, "synthetic records"), ("boolean", served.SIGNS, "the weights")],
)
def test_the_offer_says_on_what_a_service_was_calibrated(tmp_path_factory, scheme, settings, said):
    _, folder = served.compiled(tmp_path_factory, scheme, *settings)
    offer = read_offer((folder / "offer.json").read_bytes())
    assert said in offer.calibration
    assert "no record of any data set" in offer.calibration
    assert offer.calibration in offer.security  # what `privet infer` and the report show
