"""Who asks, and how fast a no comes: the same for a service that answers and one that trains."""

import asyncio
from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import PlainTextResponse

from privacy.errors import WireError
from server.inference.gate.accounts import Accounts, neighbourhood
from server.inference.gate.tarpit import Tarpit
from server.inference.limits import Limits
from server.inference.replies import refusal_of


class Reception:
    """Knows each request's identity, and puts off refusals to who has had many."""

    def __init__(self, limits: Limits, tokens: Mapping[bytes, str] | None) -> None:
        """Args:
        tokens: from `read_tokens`; None lets everyone in, known by their addresses.
        """
        self.accounts = Accounts(tokens, limits.answers_per_day)
        self._tarpit = Tarpit(limits.refusal_s)

    def who(self, request: Request) -> str:
        """Who asks; raises WireError 401 for no token or an unknown one."""
        return self.accounts.identify(request.headers.get("authorization", ""), _address(request))

    async def refuse(self, request: Request, error: Exception) -> PlainTextResponse:
        """A refusal, when it is time for it."""
        try:
            who = self.who(request)
        except WireError:
            who = neighbourhood(_address(request))
        await asyncio.sleep(self._tarpit.delay_s(who))
        return refusal_of(error)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
