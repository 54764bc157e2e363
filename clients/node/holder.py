"""Who holds the data of a device, and what they allow: read from the node's config, never from the
server.

data                where the device's records lie
classes, height, width, records
                    what is told of a folder of grey pictures (clients.data.told)
source              what is told of any other records, and how they are read, as JSON
ledger              file of what they have spent
epsilon-limit       over all runs and servers
no-epsilon-limit    there is none: each run allows itself what it likes
delta               at which the limit holds
allow-seeded        answer jobs whose noise the server can compute itself: for tests and rehearsals
model               file of the one model of a user's own that may be run here
allow-unprotected   answer jobs without noise of this device's own, and tell statistics without any
board               train on a board: a device file, or `emulated`
firmware            folder of the export that is on it
program             of an emulated one

What is not said is not allowed.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from flwr.app import ArrayRecord, Context
from pydantic import Field, model_validator
from safetensors.torch import load, save

from clients.data.told.pictures import Pictures
from clients.data.told.source import Source
from clients.models import Model
from clients.models.sources import admit, is_own
from clients.node.replies import has_own_records
from clients.training.job import Job
from clients.training.net import Net
from clients.training.train import Round
from privacy.dp.journal import Journal, Limit
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted, ModelError, SettingsError
from privacy.settings import Range, Section, parse, parse_json

if TYPE_CHECKING:
    from clients.boards.board import Board

log = logging.getLogger("privet")

WHOLE = "epsilon covers all records of this device together"
UNKNOWN = "0" * 64  # no file's SHA-256
NOT_ADMITTED = (
    "[model] name: a file of code, which this device runs only if its owner has the same: privet "
    "node --model FILE, of the SHA-256 that the job tells"
)


class NodeConfig(Section):
    """Those keys of a node's config that are about what it answers; see the head of this file."""

    ledger: str
    epsilon_limit: Annotated[float, Range(1e-6, 1e9)] | None = Field(None, alias="epsilon-limit")
    no_epsilon_limit: bool = Field(False, alias="no-epsilon-limit")
    delta: Annotated[float, Range(1e-12, 0.5)] = 1e-5
    allow_seeded: bool = Field(False, alias="allow-seeded")
    allow_unprotected: bool = Field(False, alias="allow-unprotected")
    model: str = ""
    board: str = ""
    firmware: str = ""
    program: str = ""

    @model_validator(mode="after")
    def _limit_is_stated(self) -> "NodeConfig":
        if (self.epsilon_limit is None) != self.no_epsilon_limit:
            raise ValueError("say either epsilon-limit = EPSILON or no-epsilon-limit = true")
        if self.allow_unprotected and self.epsilon_limit is not None:
            raise ValueError(
                "allow-unprotected: no epsilon-limit holds over answers without noise; say "
                "no-epsilon-limit = true with it"
            )
        return self


@dataclass(frozen=True)
class Holder:
    """A device with its own records.

    Attributes:
        told: what is told of them.
        allow_seeded: noise that comes from the server's seed protects from nobody who has it.
        allow_unprotected: jobs under another unit than a record, and statistics, carry no noise of
            this device's own.
        model: a file of the owner's choice, which jobs may name.
        board: what trains in the place of this process.
    """

    told: Pictures | Source
    journal: Journal
    limit: Limit
    allow_seeded: bool
    allow_unprotected: bool
    model: Path | None = None
    board: "Board | None" = None

    @classmethod
    def of(cls, context: Context) -> "Holder | None":
        """The holder that a node's config names; None for a simulated device.

        Raises:
            SettingsError: there are data, and something to go with them is not said.
        """
        if not has_own_records(context):
            return None
        config = parse(NodeConfig, _of(NodeConfig, context.node_config), "node config")
        limit, board = Limit(config.epsilon_limit, config.delta), None
        if config.board:
            from clients.boards.board import Board

            program = Path(config.program) if config.program else None
            board = Board.of(config.board, Path(config.firmware), program, Path(config.ledger))
        return cls(
            read_told(context.node_config),
            Journal(Path(config.ledger)),
            limit,
            config.allow_seeded,
            config.allow_unprotected,
            Path(config.model) if config.model else None,
            board,
        )

    @property
    def covers(self) -> str:
        """What an epsilon of single records covers here, and whose steps they are; empty where that
        is plain."""
        covers = self.told.covers if isinstance(self.told, Source) else ""
        return "; ".join(filter(None, [covers, self.board.mark if self.board else ""]))

    def admit(self, model: Model) -> None:
        """Let a job's model be built, if it is one of privet's or in the owner's own file.

        A message names a file and its SHA-256: no code comes from a server.

        Raises:
            BudgetExhausted: it names another file, or the owner named none.
        """
        if not is_own(model.name):
            return
        try:
            if self.model is not None:
                admit(self.model, self.model.name, sha256=model.sha256 or UNKNOWN)
                return
        except (ModelError, OSError):
            log.error("%s: is not the file of SHA-256 %s", self.model, model.sha256, exc_info=True)
        raise BudgetExhausted(NOT_ADMITTED)

    def require_promise(self, job: Job, in_sum: bool = False) -> None:
        """Refuse a job that would not keep the promise which the owner counts on.

        Args:
            in_sum: the update leaves in a sum that the server cannot take apart.

        Raises:
            BudgetExhausted: it would tell the number of records; or a job without DP, or with noise
                that the server knows, unless the owner has allowed it by name.
            SettingsError: the noise is not solved.
        """
        if job.budget.unit == "record" and not job.data.nominal_records:
            raise BudgetExhausted(
                "[data] nominal_records = 0: the sum would be divided by this device's own number "
                "of records, which is private; give a public one"
            )
        if self.allow_unprotected and job.budget.unit != "record":
            return
        if job.budget.unit != "record" and not (job.budget.unit == "client" and in_sum):
            raise BudgetExhausted(
                f"[budget] unit = {job.budget.unit!r}: this device's owner allows only noisy "
                "updates: unit = 'record', or 'client' behind secure aggregation (the node was "
                "started without allow-unprotected)"
            )
        if job.budget.noise_multiplier is None:
            raise SettingsError("job from the server: [budget] noise_multiplier: missing; solve it")
        if not job.budget.noise_multiplier and not self.allow_unprotected:
            raise BudgetExhausted(
                "[budget] noise_multiplier = 0: this device's owner allows only noisy updates"
            )
        if job.training.noise == "seeded" and not self.allow_seeded:
            raise BudgetExhausted(
                "[training] noise = 'seeded': the server knows the seed and could take the noise "
                "away; this device's owner asks for noise = 'secure'"
            )

    def refuse_statistics(self) -> None:
        """Refuse to reply a number without noise.

        Raises:
            BudgetExhausted: unless the owner has allowed it by name.
        """
        if not self.allow_unprotected:
            raise BudgetExhausted("a statistic without noise is not within any epsilon-limit")

    def once(
        self,
        run: str,
        arrays: ArrayRecord,
        job: Job,
        round_: Round,
        net: Net,
        training: AbstractContextManager[Callable[[Ledger], object]],
    ) -> Ledger:
        """Train, charged to the file before; the same request again gets the same answer, free.

        A request that was charged and whose answer was never written is charged again where its
        noise will be other noise.

        Args:
            run: what the server calls it; another name begins another run, on the same limit.
            arrays: the global weights that were asked to be trained.
            net: then has the weights that may leave.
            training: entered before the charge, for what must be ready then; gives what trains the
                net, is given what the run has spent, and charges that.

        Returns:
            What the run has now spent.

        Raises:
            BudgetExhausted: over the run's budget, or over the owner's limit: nothing is computed.
            LedgerError: the file is damaged.
        """
        assert job.budget.noise_multiplier is not None
        request = _digest(run, arrays, job, round_)
        anew = job.training.noise != "seeded"
        with self.journal.turn():
            ledger = self.journal.spent_in(run, besides="" if anew else request)
            if (again := self.journal.released(run, request)) is not None:
                net.load(load(again))
                return ledger
            cost = Spent(
                job.budget.noise_multiplier, job.training.sample_rate, job.training.local_steps
            )
            if self.board:
                cost = self.board.cost(job)
            planned, asked = Ledger([*ledger.entries, cost]), job.budget
            Limit(asked.epsilon, asked.delta).require(planned, "the run's [budget] epsilon =")
            with training as train:
                self.journal.charge(run, request, cost, self.limit, anew=anew, of=self.covers)
                train(ledger)
            weights = {name: tensor.contiguous() for name, tensor in net.state().items()}
            self.journal.release(run, request, save(weights))
            return self.journal.spent_in(run)

    def charge_share(self, run: str, job: Job, terms_digest: bytes) -> Ledger:
        """Charge the noise of one sum, before anything is computed for it.

        Every sum has a nonce and noise of its own, so each is charged, whether it comes to be
        opened or not. What is charged is the noise of the whole sum, of which this device gives
        its share and counts on the others' (compose/THREATS.md): `clients.node.secure` gives
        nothing to a sum whose terms say less.

        Returns:
            What the run has now spent.

        Raises:
            BudgetExhausted: over the run's budget, or over the owner's limit.
            LedgerError: the file is damaged.
        """
        cost = Spent(job.budget.noise_multiplier or 0.0, 1.0, 1)
        with self.journal.turn():
            planned = self.journal.spent_in(run).with_charge(cost.noise_multiplier, 1.0, 1)
            Limit(job.budget.epsilon, job.budget.delta).require(
                planned, "the run's [budget] epsilon =", True
            )
            request = terms_digest.hex()
            self.journal.charge(run, request, cost, self.limit, anew=True, shared=True, of=WHOLE)
        return planned


def read_told(config: Mapping[str, Any]) -> Pictures | Source:
    """What a node's config tells of its records.

    Raises:
        SettingsError: something is missing, or is none of it.
    """
    if "source" in config:
        return parse_json(Source, str(config["source"]), "node config: source")
    return parse(Pictures, _of(Pictures, config), "node config")


def _of(section: type[Section], config: Mapping[str, Any]) -> dict[str, Any]:
    """Those keys of a config that a section has."""
    known = {field.alias or name for name, field in section.model_fields.items()}
    return {key: value for key, value in config.items() if key in known}


def _digest(run: str, arrays: ArrayRecord, job: Job, round_: Round) -> str:
    """Of all that decides what is computed."""
    total = hashlib.sha256(f"{run}\n{job.model_dump_json()}\n{round_}\n".encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {list(array.shape)} {len(array.data)}\n".encode())
        total.update(array.data)
    return total.hexdigest()
