"""What an epsilon of records covers, said of persons."""

import re

import pytest

from clients.data.settings import Data
from clients.data.told.coverage import covered


@pytest.mark.parametrize(
    ("most", "told"),
    [
        (0, "a person with many of them is not protected"),
        (1, "epsilon covers a record; nobody has more than one of them"),
        (
            30,
            "a person with 30 of them is not protected by it: .* 30 epsilon, at a larger delta",
        ),
    ],
)
def test_a_person_of_one_record_is_protected(most, told):
    assert re.search(told, covered(Data(person="who"), most))
    assert ("not protected" in covered(Data(person="who"), most)) == (most != 1)
