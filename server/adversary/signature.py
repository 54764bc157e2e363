"""By what shadows are known: two runs that train alike can share them."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from clients.data.partitions import partition
from privacy.documents import to_json
from server.experiment.experiment import Experiment

# What does not shape the weights, and so does not part shadows from one another.
SHAPELESS = {
    "federation": ("workers", "timeout_s", "evaluate_every", "client_evaluation"),
    "training": ("per_sample", "device"),
    "budget": ("epsilon", "delta"),
    "data": ("held_out", "nominal_records"),
}


def signature(
    experiment: Experiment,
    owner: NDArray,
    sha256: str,
    whole: bool = False,
    trained_by: Experiment | None = None,
) -> str:
    """Hash of all settings that shape a shadow: of model, data, budget and arithmetic.

    Two runs that differ in seed alone share shadows, where the seed chose neither the records
    nor the cohorts.
    """
    sections = experiment.model_dump(mode="json", exclude={"title", "seed", "record", "attack"})
    for section, names in SHAPELESS.items():
        for name in names:
            sections[section].pop(name, None)
    if not experiment.shares_noise:  # the sum is the same, whoever may read its parts
        sections.pop("secure")
        sections["federation"].pop("secure_aggregation")
    chosen = hashlib.sha256(shares_of(experiment, owner).tobytes()).hexdigest()
    federation = experiment.federation
    drawn = experiment.seed if federation.cohort_size < federation.clients else None
    cut = [] if trained_by in (None, experiment) else [trained_by.model_dump(mode="json")]
    text = to_json([sections, sha256, chosen, drawn, *["whole"] * whole, *cut], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shares_of(experiment: Experiment, owner: NDArray) -> NDArray[np.int32]:
    """The run's own split; where all records are in it, one that does not depend on the seed."""
    if experiment.data.limit:
        return owner
    return partition(experiment.data, experiment.federation.clients, 0).owner
