"""A hidden column: what a model adds to guessing it, on models of which that is known."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from attacks import attributes
from attacks.attributes import codes_of, filled, infer_attributes, num_values, paired
from attacks.tape import Column, Nature, Sample
from clients.data.bounds import Schema
from clients.data.encodings import Columns

AGE = Column("age", 0, 1)
DOSE = Column("dose", 1, 3, flags=(-1.0, 0.0))
WARD = Column("ward", 4, 3, values=3)
NATURE = Nature("table", (7,), -1.0, columns=(AGE, DOSE, WARD))
# The same where numbers are told by knots too: age has 3, and dose 5.
BENT = Nature(
    "table", (15,), -1.0,
    columns=(
        Column("age", 0, 4, knots=3),
        Column("dose", 4, 8, flags=(-1.0, 0.0), knots=5),
        Column("ward", 12, 3, values=3),
    ),
)  # fmt: skip


def table(num, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.zeros(num, 7)
    for column in NATURE.columns:
        codes = torch.randint(0, num_values(column) - bool(column.values), (num,), generator=rng)
        for i, code in enumerate(codes):
            x[i] = filled(x[i : i + 1], column, int(code), NATURE)[0]
    return x, torch.randint(0, 2, (num,), generator=rng)


def sample(x, y):
    return Sample(lambda i: x[i], y, lambda i: x[i])


class Memory(nn.Module):
    """Sure of a record's label where it has met that very record; else it knows nothing."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def forward(self, x):
        met = torch.cdist(x, self.x).min(1)
        sure = torch.where(met.values < 0.1, 8.0, 0.0)  # within half a bin
        return nn.functional.one_hot(self.y[met.indices], 2) * sure[:, None]


def test_what_is_filled_in_is_read_again():
    x, _ = table(40)
    for column in NATURE.columns:
        for code in range(num_values(column)):
            assert (codes_of(filled(x, column, code, NATURE), column, NATURE) == code).all()
        kept = [i for i in range(7) if not column.start <= i < column.start + column.width]
        assert torch.equal(filled(x, column, 0, NATURE)[:, kept], x[:, kept])


def test_what_is_filled_in_is_what_a_schema_encodes():
    """Knots follow the number: at its middle, at its least, and where it is missing."""
    told = {"low": 0.0, "high": 100.0}
    schema = Schema.model_validate(
        {
            "columns": {
                "age": {**told, "knots": 3},
                "dose": {**told, "log": True, "missing": ["NA"], "knots": 5},
                "ward": {"values": ["north", "south", "west"]},
            }
        }
    )
    encoded = Columns(schema)
    rng = torch.Generator().manual_seed(0)
    numbers = 2 * torch.rand((30, 2), generator=rng) - 1
    rows = torch.cat([numbers, torch.randint(0, 3, (30, 1), generator=rng).float()], 1)
    rows[::3, 1], rows[1::3, 1] = torch.nan, -1.0
    x = encoded(rows)
    assert x.shape[1:] == BENT.shape
    assert torch.equal(BENT.settled(x), x)
    age, dose, _ = BENT.columns
    for code in range(attributes.BINS):
        middle = -1 + 2 * (code + 0.5) / attributes.BINS
        for place, column in enumerate((age, dose)):
            other = rows.clone()
            other[:, place] = middle
            assert torch.allclose(filled(x, column, code, BENT), encoded(other), atol=1e-6)
    for flag, value in enumerate((-1.0, torch.nan)):
        other = rows.clone()
        other[:, 1] = value
        code = attributes.BINS + flag
        assert torch.equal(filled(x, dose, code, BENT), encoded(other))
        assert (codes_of(encoded(other), dose, BENT) == code).all()


def test_a_memory_gives_hidden_columns_away_and_a_stranger_to_it_does_not():
    x, y = table(400)
    member = np.arange(400) < 200
    reference = sample(*table(400, seed=1))
    pool = sample(x, y)
    found = infer_attributes(Memory(x[:200], y[:200]), pool, member, reference, NATURE, 0)
    assert set(found["columns"]) == {"age", "dose", "ward"}
    assert found["records"] == {"members": 200, "non_members": 200}
    assert found["members"]["low"] > 0.2  # a label of two classes says no more than a bit
    assert found["non_members"]["low"] < 0 < found["non_members"]["high"]
    assert found["of_membership"]["low"] > 0.15
    for about in found["columns"].values():
        assert about["members"]["advantage"]["low"] > 0.1
    ignorant = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))
    nn.init.zeros_(ignorant[1].weight)
    found = infer_attributes(ignorant, pool, member, reference, NATURE, 0)
    for name in ("members", "non_members", "of_membership"):
        assert found[name]["low"] < 0 < found[name]["high"]


def test_what_all_people_have_in_common_is_no_advantage():
    """The label is the ward: without any model it is known, and a model that knows adds nothing."""
    (x, _), (other, _) = table(300), table(300, seed=1)
    y, others = (part[:, 4:].argmax(1).clamp(max=1) for part in (x, other))

    class Knows(nn.Module):
        def forward(self, x):
            return 20 * nn.functional.one_hot(x[:, 4:].argmax(1).clamp(max=1), 2).float()

    member = np.arange(300) % 2 == 0
    found = infer_attributes(Knows(), sample(x, y), member, sample(other, others), NATURE, 0)
    ward = found["columns"]["ward"]
    assert ward["members"]["without"] > 0.55
    assert ward["members"]["advantage"]["low"] < 0.05
    assert ward["of_membership"]["low"] < 0 < ward["of_membership"]["high"]


def test_a_guess_that_is_still_improving_warns_nobody(monkeypatch, recwarn):
    monkeypatch.setattr(attributes, "ITERATIONS", 1)
    x, y = table(200)
    model = nn.Linear(7, 2)
    infer_attributes(model, sample(x, y), np.arange(200) < 100, sample(x, y), NATURE, 0)
    assert not [one for one in recwarn.list if issubclass(one.category, ConvergenceWarning)]


def test_columns_that_do_not_vary_are_left_out(monkeypatch):
    x, y = table(60)
    same = x[:1].expand(60, 7)
    found = infer_attributes(
        nn.Linear(7, 2), sample(x, y), np.arange(60) < 30, sample(same, y), NATURE, 0
    )
    assert "no column varies" in found["left_out"]
    monkeypatch.setattr(attributes, "HIDDEN", 2)
    told = attributes.most_telling(x, NATURE, 2)
    assert [column.name for column in told] == ["age", "dose"]


@pytest.mark.parametrize(("ahead", "behind"), [(0, 0), (30, 0), (20, 15)])
def test_interval_of_a_paired_difference(ahead, behind):
    first = np.arange(100) < ahead
    second = (np.arange(100) >= ahead) & (np.arange(100) < ahead + behind)
    figure = paired(first, second)
    assert figure.value == pytest.approx((ahead - behind) / 100)
    assert figure.low <= figure.value <= figure.high
    assert 0.01 < figure.high - figure.low < 0.3
