"""What a service says: of a worker's answer, and of what it refuses."""

from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from privacy.errors import WireError
from server.inference.gate.refusal import Refusal
from server.inference.worker import FULL
from server.inference.workers import Answer

REFUSED = (WireError, OSError, HTTPException, ClientDisconnect)  # what `refusal_of` has words for


def require_answered(answer: Answer) -> Answer:
    """A worker's answer, if it is one.

    Raises:
        WireError: it refuses.
        Refusal: not now.
    """
    if answer.status >= 500:
        raise Refusal(answer.content.decode(errors="replace"), answer.status)
    if answer.status != 200:
        raise WireError(answer.content.decode(errors="replace"), answer.status)
    return answer


def refusal_of(error: Exception) -> PlainTextResponse:
    """One line that says no, and nothing of what stands behind it."""
    status, text, headers = 500, "failed", {}
    if isinstance(error, WireError):
        status, text = error.status, str(error)
    elif isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
    elif isinstance(error, OSError) and error.errno in FULL:
        status, text = 507, "no room left for this request; try again later"
    elif isinstance(error, ClientDisconnect):
        status, text = 400, "the client left"
    if isinstance(error, Refusal):
        headers["retry-after"] = str(error.retry_after_s)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return PlainTextResponse(text + "\n", status, headers)
