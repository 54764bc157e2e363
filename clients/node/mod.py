"""A ledger in anyone's ClientApp: a Flower mod that charges each reply, and refuses past a limit.

from clients import ledger_mod
app = ClientApp(mods=[ledger_mod(LocalDpMod(1.0, 1.0, 5.0, 1e-5), epsilon_limit=8.0)])

It wraps Flower's LocalDpMod, which clips and adds noise; its clipping mods, where the server adds
the noise; or an app that states its mechanism in a record `mechanism` of its reply
(`noise-multiplier`, `sample-rate`, `steps`). On a SuperNode whose config names a `ledger`, that
file's journal is charged, by the owner's `epsilon-limit` and `delta`, whatever the app says;
elsewhere the ledger is kept in Flower's context, by the app's own limit: that is of one run, and
the next begins anew.

What a mod enforces: that nothing leaves in answer to a message before it was charged, and nothing
past the limit, errors and answers without a mechanism among it. What it takes on trust: that the
app, which runs in the same process, is as its author says; the mechanism that an app states; a
server's noise; metrics that leave beside the weights; and that this mod is the outermost.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flwr.app import ConfigRecord, Context, Error, Message
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod
from pydantic import Field

from clients.node.replies import FAILED, REFUSED
from privacy.dp.journal import Journal, Limit
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted, PrivetError, SettingsError
from privacy.settings import Range, Section, parse

Next = Callable[[Message, Context], Message]
Mod = Callable[[Message, Context, Next], Message]

STATED = "mechanism"  # the record in which an app says what it did
CLIPPING = (fixedclipping_mod, adaptiveclipping_mod)
KEPT = "privet-ledger"
WHOSE = "the limit of this device's owner, epsilon-limit ="
NOTHING_STATED = (
    "this node's ledger has no mechanism to charge for such an answer, and an answer without noise "
    "is within no epsilon-limit"
)

log = logging.getLogger("privet")


class Owner(Section):
    """Those keys of a SuperNode's config that are about its ledger."""

    ledger: str
    epsilon_limit: Annotated[float, Range(1e-6, 1e9)] = Field(alias="epsilon-limit")
    delta: Annotated[float, Range(1e-12, 0.5)] = 1e-5


class Stopped(PrivetError):
    """The app, which is not ours, stopped."""

    def __init__(self) -> None:
        super().__init__("the app stopped: see this node's own log")


@dataclass(frozen=True)
class Mechanism:
    """What one record's coming or going may alter, under Gaussian noise."""

    noise_multiplier: float
    sample_rate: float = 1.0
    steps: int = 1

    @property
    def cost(self) -> Spent:
        """As a ledger has it."""
        return Spent(self.noise_multiplier, self.sample_rate, self.steps)


def ledger_mod(
    inner: Mod | None = None,
    *,
    noise_multiplier: float | None = None,
    epsilon_limit: float = math.inf,
    delta: float = 1e-5,
) -> Mod:
    """A mod that charges what another does, or what the app states.

    Args:
        inner: Flower's LocalDpMod, or one of its clipping mods; None: the app states what it does.
        noise_multiplier: of a clipping mod: what the server adds to the sum of updates, over the
            clipping norm. It is taken on trust.
        epsilon_limit, delta: where a node's owner has said nothing.

    Raises:
        SettingsError: a mechanism that nobody can charge for.
    """
    fixed = _mechanism(inner, noise_multiplier)
    own = Limit(None if math.isinf(epsilon_limit) else epsilon_limit, delta)

    def charging(message: Message, context: Context, call_next: Next) -> Message:
        try:
            ledger = _Kept.of(context, own)
            known = fixed is not None and message.metadata.message_type.startswith("train")
            if fixed is not None and known:  # before anything is computed
                ledger.charge(message, fixed.cost)
            reply = _answer(inner or _pass, message, context, call_next)
            stated = None if known else _stated(reply)
            if known:
                return reply
            if stated is not None:
                ledger.charge(message, stated.cost)
            elif ledger.limit.epsilon is not None:
                raise BudgetExhausted(NOTHING_STATED)
            return reply
        except PrivetError as error:
            log.error("%s: refused", message.metadata.message_type, exc_info=error)
            code = REFUSED if isinstance(error, BudgetExhausted) else FAILED
            return Message(Error(code=code, reason=str(error)), reply_to=message)

    return charging


def _answer(mod: Mod, message: Message, context: Context, call_next: Next) -> Message:
    """What the app answers; raises `Stopped` in the place of an error, whose text may be of a
    record."""
    try:
        reply = mod(message, context, call_next)
    except Exception as error:
        log.error("the app stopped", exc_info=error)
        raise Stopped from None
    if reply.has_error():
        log.error("the app answered with an error: %s", reply.error.reason)
        raise Stopped
    return reply


def _pass(message: Message, context: Context, call_next: Next) -> Message:
    return call_next(message, context)


def _mechanism(inner: Mod | None, noise_multiplier: float | None) -> Mechanism | None:
    """A record's coming or going may turn an update of one clipping norm into its opposite, so its
    sensitivity is twice the norm."""
    if isinstance(inner, LocalDpMod):
        if noise_multiplier is not None:
            raise SettingsError("noise_multiplier: LocalDpMod's own settings say it")
        if not (inner.epsilon > 0 and 0 < inner.delta < 1.25 and inner.sensitivity > 0):
            raise SettingsError(
                "LocalDpMod: epsilon, delta and sensitivity must be more than 0, or it adds no "
                "noise that could be charged"
            )
        deviation = inner.sensitivity * math.sqrt(2 * math.log(1.25 / inner.delta)) / inner.epsilon
        return Mechanism(deviation / (2 * inner.clipping_norm))
    if inner in CLIPPING:
        if noise_multiplier is None or not 0 < noise_multiplier < math.inf:
            raise SettingsError(
                "noise_multiplier: say what the server adds; a clipping mod adds no noise itself"
            )
        return Mechanism(noise_multiplier / 2)
    if inner is not None:
        raise SettingsError(
            f"{getattr(inner, '__name__', type(inner).__name__)}: is neither LocalDpMod nor a "
            "clipping mod of Flower's; let the app state its mechanism, and put ledger_mod() first"
        )
    if noise_multiplier is not None:
        raise SettingsError("noise_multiplier: is for a clipping mod; the app states its own")
    return None


def _stated(reply: Message) -> Mechanism | None:
    """What an app says that it did; raises SettingsError if that is no mechanism."""
    if STATED not in reply.content.config_records:
        return None
    told = dict(reply.content.config_records[STATED])
    try:
        sigma, rate = float(str(told["noise-multiplier"])), float(str(told.get("sample-rate", 1.0)))
        steps = told.get("steps", 1)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"the record {STATED!r} of the app: {error}") from None
    whole = type(steps) is int and 0 < steps < 1 << 40
    if not (whole and 0 < sigma < math.inf and 0 < rate <= 1):
        raise SettingsError(f"the record {STATED!r} of the app: no such mechanism: {told}")
    assert isinstance(steps, int)
    return Mechanism(sigma, rate, steps)


class _Kept:
    """A ledger: the owner's journal, or Flower's context."""

    def __init__(self, context: Context, limit: Limit, journal: Journal | None) -> None:
        self._context, self.limit, self._journal = context, limit, journal

    @classmethod
    def of(cls, context: Context, own: Limit) -> "_Kept":
        """The one that a node's config names, with its owner's limit."""
        told = context.node_config
        if "ledger" not in told:
            return cls(context, own, None)
        known = ("ledger", "epsilon-limit", "delta")
        owner = parse(Owner, {k: told[k] for k in known if k in told}, "node config")
        limit = Limit(owner.epsilon_limit, owner.delta)
        return cls(context, limit, Journal(Path(owner.ledger)))

    def charge(self, message: Message, cost: Spent) -> None:
        """Write it down, before anything leaves.

        Raises:
            BudgetExhausted: it is past the limit; nothing is written.
        """
        if self._journal is not None:
            run, request = str(message.metadata.run_id), str(message.metadata.message_id)
            self._journal.charge(run, request, cost, self.limit, anew=True)
            return
        state = self._context.state
        kept = state.config_records[KEPT]["entries"] if KEPT in state else "[]"
        ledger = Ledger.from_json(str(kept))
        planned = ledger.with_charge(cost.noise_multiplier, cost.sample_rate, cost.steps)
        self.limit.require(planned, WHOSE)
        state[KEPT] = ConfigRecord({"entries": planned.to_json()})
