"""Every number that a server may name has a range that everyone knows; all found by reflection."""

import json
import math
from typing import get_args, get_origin

import numpy as np
import pytest
from annotated import leaves
from asked import ROUND, tiny

from clients.node.request import Request
from clients.training.job import Job
from privacy.errors import SecureSumFailed, SettingsError
from privacy.settings import Range, Section
from privacy.sums.terms import Terms


def numbers_of(kind, path=()):
    """Each place in a section where a number may stand: its path, its type and its range."""
    for name, field in kind.model_fields.items():
        here = (*path, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from numbers_of(field.annotation, here)
        else:
            yield from _numbers(field.annotation, here, tuple(field.metadata))


def _numbers(annotation, path, metadata):
    for kind, said in leaves(annotation, metadata):
        if kind in (int, float):
            yield path, kind, next((one for one in reversed(said) if isinstance(one, Range)), None)
        elif get_origin(kind) is tuple:
            yield from _numbers(get_args(kind)[0], (*path, 0), said)


NUMBERS = [(kind, *place) for kind in (Job, Request, Terms) for place in numbers_of(kind)]


@pytest.mark.parametrize(
    ("section", "path", "kind", "found"),
    NUMBERS,
    ids=[".".join(map(str, path)) for _, path, *_ in NUMBERS],
)
def test_every_number_that_a_server_may_name_has_a_public_range(section, path, kind, found):
    assert found is not None
    assert -math.inf < found.least <= found.most < math.inf
    bad = [1 << 200, -(1 << 200)]
    if kind is float:
        assert found.least >= float(np.finfo(np.float32).tiny)
        assert found.most <= float(np.finfo(np.float32).max)
        bad += [1.4e-45, 5e-324, -1e-3, math.inf, math.nan, 1e39]
        bad += [math.nextafter(found.most, math.inf), math.nextafter(found.least, -math.inf)]
        bad += [] if found.or_zero else [0.0]
    else:
        bad += [found.most + 1, found.least - 1]
    for value in map(kind, bad) if kind is float else bad:
        with pytest.raises(SettingsError) as refused:
            refuse(section, path, value)
        assert str(path[-1] if path[-1] != 0 else path[-2]) in str(refused.value)
        if math.isfinite(value) and abs(value) < 1 << 100:
            assert str(found) in str(refused.value)


def refuse(section, path, value):
    """Parse a section that is right but for one number."""
    if section is Job:
        told = tiny()
        _put(told, path, value)
        Job.from_json(json.dumps(told))
    elif section is Request:
        Request.of(ROUND | {path[0]: value})
    else:
        told = {"scheme": "masks", "run": "r", "round": 1, "nonce": "0" * 32, "members": [0, 1, 2]}
        told |= {"degree": 2, "needed": 2, "survivors": 2, "length": 5, "bits": 32}
        told |= {"value_range": 1.0, "most_examples": 1, "scale": 1.0}
        _put(told, path, value)
        try:
            Terms.from_json(json.dumps(told))
        except SecureSumFailed as error:
            raise SettingsError(str(error)) from None


def _put(told, path, value):
    for key in path[:-1]:
        told = told[key]
    if told == []:  # a list that is empty in this job
        told.append(value)
    else:
        told[path[-1]] = value
