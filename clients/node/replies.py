"""What a device says when it does not do what it was asked: nothing that depends on a record.

Of a simulated device, whose records the server has, the whole error. Of one with records of its own
a reason that follows from the message, the owner's settings and the ledger; of everything else one
constant sentence for each kind, and the whole in the node's own log.
"""

import logging
from collections.abc import Callable
from functools import wraps

from flwr.app import Context, Error, Message

from clients.models.own import explain
from privacy.errors import (
    BudgetExhausted,
    DataError,
    LedgerError,
    ModelError,
    PrivetError,
    SecureSumFailed,
    SettingsError,
)

log = logging.getLogger("privet")

Handler = Callable[[Message, Context], Message]

# Reasons for an error reply, in Flower's Error.code (its own codes are below 100).
FAILED, REFUSED = 101, 102

# What is wrong with a message, or over a limit: no record has a part in it.
TOLD = (BudgetExhausted, ModelError, SecureSumFailed, SettingsError)
CONSTANT: dict[type[Exception], str] = {
    DataError: "this node's records cannot be used: see its own log",
    LedgerError: "this node's ledger cannot be used: see its own log",
    Exception: "this node cannot do what it was asked: see its own log",
}


def has_own_records(context: Context) -> bool:
    """Is this a device with records of its own, which no server has?"""
    return "data" in context.node_config


def reason_of(error: Exception, context: Context) -> str:
    """What the server is told of an error."""
    if has_own_records(context) and not isinstance(error, TOLD):
        return next(text for kind, text in CONSTANT.items() if isinstance(error, kind))
    if isinstance(error, PrivetError):
        return str(error)
    return explain(error) or f"{type(error).__name__}: {error}"


def answered(handler: Handler) -> Handler:
    """A handler whose every error is a reply, so that Flower makes none of its own, with its text.

    Flower's context is the handler's affair: what it wrote there before the error stays.
    """

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except Exception as error:
            reason = reason_of(error, context)
            if has_own_records(context):
                log.error("%s: refused", message.metadata.message_type, exc_info=error)
            code = REFUSED if isinstance(error, BudgetExhausted) else FAILED
            return Message(Error(code=code, reason=reason), reply_to=message)

    return answer
