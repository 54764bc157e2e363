"""What a device has done in each sum, as a file: a step that was taken is not taken again.

A member is read by who makes it take a step twice: mask for two sets of neighbours, unmask for two
lists of survivors. What it keeps in memory does not stop two messages that arrive at once, nor a
server that hands an old memory back. So one line for each step is on disk, under a lock, before
anything of it is told; as `privacy.dp.journal` does for what is spent.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import SecureSumFailed
from privacy.sums.terms import Terms


@dataclass(frozen=True)
class Marks:
    """The file, one line a step; made when something is first written.

    Attributes:
        path: a line holds the sum's digest, the step, and the digest of what it was taken for.
    """

    path: Path

    def take(self, terms: Terms, step: str, asked: bytes, *, again: bool = False) -> None:
        """Mark a step as taken, on disk; of two processes at once one succeeds.

        Args:
            asked: digest of what the step is taken for.
            again: the same step for the very same may be taken again: it tells the same.

        Raises:
            SecureSumFailed: it was taken, or the file cannot be written or is damaged.
        """
        prefix = f"{terms.digest.hex()} {step} "
        line = f"{prefix}{asked.hex()}\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            how = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            descriptor = os.open(self.path, how, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                text = file.read().decode("ascii")
                # A line that was being written when the power failed: nothing was told for it.
                whole = text[: text.rfind("\n") + 1]
                os.ftruncate(descriptor, len(whole))
                taken = [row for row in whole.splitlines(True) if row.startswith(prefix)]
                if taken and not (again and taken == [line]):
                    raise SecureSumFailed(f"{step}: asked for twice in one sum: the first counts")
                if not taken:
                    file.write(line.encode())
                file.flush()
                os.fsync(descriptor)
            if is_new:
                folder = os.open(self.path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise SecureSumFailed(f"marks of sums cannot be written: {why}") from None
