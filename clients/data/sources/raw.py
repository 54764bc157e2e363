"""What a source gives: records in a compact type, and what stands beside them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from numpy.typing import NDArray

from clients.data.encodings import Encoding
from clients.data.sources.piles import taken


@dataclass(frozen=True, eq=False)
class Raw:
    """Records as they were read.

    Attributes:
        x: [N, ...], compact; `encoding` makes inputs of it.
        targets: by name, [N] each: text, or numbers under `task = "number"`.
        fields: by name, text [N] each: whose a record is, and what else splits go by.
        kind, rate_hz: as in `clients.protocol.Form`.
        counts: what was clipped, missing, dropped: for the owner's eyes.
        place: where a record lies, for an error: of its number, from 0, as they were read.
    """

    x: NDArray
    targets: dict[str, NDArray]
    encoding: Encoding
    kind: str
    fields: dict[str, NDArray] = field(default_factory=dict)
    rate_hz: float = 0.0
    columns: tuple[int, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    place: Callable[[int], str] = lambda number: f"record {number + 1}"

    def __len__(self) -> int:
        return len(self.x)

    def chosen(self, which: NDArray) -> "Raw":
        """Some of the records: a mask or places."""
        return replace(
            self,
            x=taken(self.x, which),
            targets={name: values[which] for name, values in self.targets.items()},
            fields={name: values[which] for name, values in self.fields.items()},
        )
