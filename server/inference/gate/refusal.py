"""No, and when to come again."""

from privacy.errors import WireError


class Refusal(WireError):
    """A request that is in order and is not served now: the same one may be sent again.

    Args:
        status: 429 (you ask too much), 503 (too much is asked), 504 (too late) or 507 (no room).
        retry_after_s: when it is worth another try, whole seconds.
    """

    def __init__(self, message: str, status: int = 503, retry_after_s: int = 1) -> None:
        super().__init__(message, status)
        self.retry_after_s = retry_after_s
