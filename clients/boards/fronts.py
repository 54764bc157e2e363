"""A front of `[model]`, as a board is to have it."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.dataset import Dataset
from clients.data.encodings import Scaled
from clients.firmware.front.log_mel import MOST_SAMPLES, LogMel
from clients.firmware.front.made import Front
from clients.firmware.front.scattering import Scattering
from clients.models import Model, log_mel, scattering
from clients.models.fronts import BRIGHTNESS, front_of
from clients.models.scattering import GROUPS
from clients.models.settings import chosen_front
from privacy.errors import ModelError

EPS = 1e-5  # torch's own of a group's variance


def front_in_c(model: Model, dataset: Dataset) -> Front | None:
    """What stands before a model; None: it reads records.

    Raises:
        ModelError: it has no C, of such records.
    """
    name = chosen_front(model, dataset.form)
    if name == "none":
        return None
    if name not in IN_C:
        raise ModelError(
            f"--to c: [model] front = {name!r}: has no C yet; {' and '.join(IN_C)} have"
        )
    front = IN_C[name](dataset)
    kind, encoding = dataset.train_x.dtype, dataset.encoding
    if kind != front.raw_type or not isinstance(encoding, Scaled):
        raise ModelError(
            f"--to c: [model] front = {name!r}: reads {front.raw_type.name} on a board, and these "
            f"records are {kind.name}; give them as files, or arrays of that type"
        )
    return front


def read_of(model: Model, dataset: Dataset, raw: NDArray[np.generic]) -> NDArray[np.float16]:
    """What the run itself reads of records [N, ...]: float16 [N, ...]."""
    front = front_of(model, dataset.form)
    assert front is not None
    made: NDArray[np.float16] = front(dataset.encoding(torch.from_numpy(raw))).numpy()
    return made


def _log_mel(dataset: Dataset) -> LogMel:
    (length,) = dataset.shape
    if length > MOST_SAMPLES:
        raise ModelError(
            f"--to c: [model] front = 'log-mel': sounds of {length:,} samples; {MOST_SAMPLES:,} "
            "have C: cut shorter ones, length_s of the schema"
        )
    bank = log_mel.bank_of(dataset.rate_hz)
    return LogMel(
        length=length,
        second=round(dataset.rate_hz),
        hop=bank.hop,
        window=bank.waves[:, 0].numpy(),  # of frequency 0, whose cosines are 1
        bands=bank.bands.numpy(),
        full=dataset.scale,
        floor=log_mel.FLOOR,
        quiet=log_mel.QUIET,
        still=log_mel.STILL,
    )


def _scattering(dataset: Dataset) -> Scattering:
    *channels, height, width = dataset.shape
    shape = (math.prod(channels), height, width)
    parts = scattering.parts_of(height, width)
    (fine_rows, fine_columns), (rows, columns) = parts.averages
    return Scattering(
        shape=shape,
        mix=np.array(BRIGHTNESS, np.float32) if shape[0] == len(BRIGHTNESS) else None,
        reflected=(parts.reflected[0].numpy(), parts.reflected[1].numpy()),
        filters=parts.spectra.numpy(),
        averages=(
            (fine_rows.numpy(), fine_columns.numpy()),
            (rows.numpy(), columns.numpy()),
        ),
        groups=GROUPS,
        eps=EPS,
        full=dataset.scale,
    )


IN_C: dict[str, Callable[[Dataset], Front]] = {"log-mel": _log_mel, "scatter": _scattering}
