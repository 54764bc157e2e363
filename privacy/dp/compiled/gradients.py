"""Where the gradients of a plan's values stand, and who writes them."""

from privacy.dp.kernels.plan import (
    ADD_TO,
    DENSE,
    IN,
    IN_GRAD,
    IN_SIZE,
    KIND,
    OTHER,
    OTHER_GRAD,
    OUT,
    OUT_GRAD,
    OUT_SIZE,
    PASS_ON,
    PASS_ON_OTHER,
    WRITE,
    Plan,
)

GRADS = ((IN, IN_GRAD), (OUT, OUT_GRAD), (OTHER, OTHER_GRAD))


class Room:
    """Places in a buffer that grows, the first free one first.

    Attributes:
        size: of the buffer.
    """

    def __init__(self) -> None:
        self.size = 0
        self._taken: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """A place for so many numbers."""
        at = 0
        for start, end in sorted(self._taken):
            if at + size <= start:
                break
            at = end
        self._taken.append((at, at + size))
        self.size = max(self.size, at + size)
        return at

    def give(self, at: int, size: int) -> None:
        """Free a place."""
        self._taken.remove((at, at + size))


def pass_on(table: Plan) -> None:
    """Say of each wanted gradient of an input whether it is the first on the way back."""
    written: set[int] = set()
    for row in table[::-1]:
        for at, how in ((OTHER, PASS_ON_OTHER), (IN, PASS_ON)):
            if row[how] and row[at] != row[OUT]:
                row[how] = ADD_TO if int(row[at]) in written else WRITE
                written.add(int(row[at]))


def keep(table: Plan, num_values: int) -> int:
    """Keep each value's gradient at a place of its own; how many numbers that are."""
    for at, grad in GRADS:
        table[:, grad] = table[:, at]
    return num_values


def place(table: Plan) -> int:
    """Place each gradient where none stands that is still wanted; how many numbers that are.

    An operation wants its outputs' until it has passed on its inputs'; a dense layer's is wanted to
    the end, for its weights' gradient.
    """
    room = Room()
    placed: dict[int, int] = {}
    for row in table[::-1]:
        inputs, outputs = int(row[IN_SIZE]), int(row[OUT_SIZE])
        wanted = (
            (IN, inputs, row[PASS_ON]),
            (OUT, outputs, 1),
            (OTHER, outputs, row[PASS_ON_OTHER]),
        )
        for at, size, is_wanted in wanted:
            if is_wanted and int(row[at]) not in placed:
                placed[int(row[at])] = room.take(size)
        for at, grad in GRADS:
            row[grad] = placed.get(int(row[at]), 0)
        if row[KIND] != DENSE and row[IN] != row[OUT]:
            room.give(placed.pop(int(row[OUT])), outputs)
    return room.size
