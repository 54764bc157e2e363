"""A data set in memory: records in a compact type, and what they are."""

from dataclasses import dataclass

from numpy.typing import NDArray

from clients.data.encodings import PIXELS, Encoding, Scaled
from clients.protocol import Form


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records [N, ...], and what a model is to say of each; the test set belongs to no client.

    Attributes:
        train_y, test_y: labels [N], whole numbers 0 ... num_classes - 1; under other tasks
            float32 [N, outputs], or nothing where a record stands for itself.
        encoding: makes a model's inputs of records.
        num_classes: outputs of a model.
        kind, columns, rate_hz: as in `Form`.
        names: of the classes or targets, for people; empty where they are numbers alone.
        train_person, test_person: text [N], whose each record is; None where nobody says.
        counts: what was clipped, missing or left out: for the owner.
    """

    name: str
    train_x: NDArray
    train_y: NDArray
    test_x: NDArray
    test_y: NDArray
    sha256: str
    num_classes: int
    encoding: Encoding = PIXELS
    task: str = "classes"
    kind: str = "picture"
    columns: tuple[int, ...] = ()
    rate_hz: float = 0.0
    names: tuple[str, ...] = ()
    train_person: NDArray | None = None
    test_person: NDArray | None = None
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record's inputs."""
        if self.columns:
            return (sum(self.columns),)
        return tuple(self.train_x.shape[1:])

    @property
    def scale(self) -> float:
        """What a pixel's value stands for 1."""
        return self.encoding.scale if isinstance(self.encoding, Scaled) else 1.0

    @property
    def form(self) -> Form:
        """What a model reads of a record, and gives."""
        return Form(self.shape, self.num_classes, self.kind, self.columns, self.rate_hz)  # type: ignore[arg-type]
