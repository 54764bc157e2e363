"""Records behind a fixed transform: whole in a file, never in memory."""

import os
import weakref
from pathlib import Path

import numpy as np
import torch

from clients.data.dataset import Dataset
from clients.draws import digest
from clients.models.transform import Transform
from clients.training import records
from clients.training.records import Records


def halves(x):
    """A transform that tells a record's halves apart, as float16 that does not lie in order."""
    return (x.view(len(x), 2, 3) / 7).transpose(1, 2).to(torch.float16)


def dataset(train=2500, test=700):
    x = np.random.default_rng(0).integers(0, 256, (train + test, 6), np.uint8)
    y = np.zeros(train + test, np.int64)
    return Dataset("t", x[:train], y[:train], x[train:], y[train:], "0" * 64, 2)


def features(monkeypatch, folder, data, apply):
    monkeypatch.setenv("PRIVET_DATA", str(folder))
    return records._features(data, "halves", Transform(apply, (3, 2), list, 1))


def test_features_are_written_by_blocks_and_read_by_a_map(monkeypatch, tmp_path):
    alive, most = weakref.WeakSet(), []

    def apply(x):
        made = halves(x)
        alive.add(made)
        most.append((len(x), len(alive)))
        return made

    data = dataset()
    found = features(monkeypatch, tmp_path, data, apply)
    whole = data.encoding(torch.from_numpy(np.concatenate([data.train_x, data.test_x])))
    assert torch.equal(found, halves(whole))
    assert max(rows for rows, _ in most) == records.BLOCK < len(data.train_x)
    assert max(blocks for _, blocks in most) <= os.cpu_count() + 1  # one for each thread
    (file,) = tmp_path.iterdir()
    calls = len(most)
    again = features(monkeypatch, tmp_path, data, apply)
    assert torch.equal(again, found)
    assert len(most) == calls
    assert str(file) in Path("/proc/self/maps").read_text()
    file.write_bytes(file.read_bytes()[:-1])  # of a full disk, or a power cut
    assert torch.equal(features(monkeypatch, tmp_path, data, apply), halves(whole))


def test_a_digest_reads_records_by_blocks(monkeypatch):
    x, y = torch.arange(6000).view(3000, 2), torch.arange(3000)
    chosen = torch.randperm(3000, generator=torch.Generator().manual_seed(0))[:2500]
    assert Records(x, y).digest(chosen) == digest([x[chosen], y[chosen]])
    assert Records(x, y).digest(chosen[:0]) == digest([x[:0], y[:0]])
