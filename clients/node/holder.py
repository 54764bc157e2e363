"""Who holds the data of a device, and what they allow: read from the node's config, never from the
server.

data            folder of the device's records
ledger          file of what they have spent
epsilon-limit   over all runs and servers; 0 is none
delta           at which it holds
allow-seeded    answer jobs whose noise the server can compute itself: for tests and rehearsals
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ArrayRecord, Context
from safetensors.torch import load, save

from clients.data.sets import Data
from clients.training.job import Job
from clients.training.net import Net
from clients.training.train import Round
from privacy.dp.journal import Journal, Limit
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted, SettingsError


@dataclass(frozen=True)
class Holder:
    """A device with its own records.

    Attributes:
        allow_seeded: noise that comes from the server's seed protects from nobody who has it.
    """

    data: Path
    journal: Journal
    limit: Limit
    allow_seeded: bool

    @classmethod
    def of(cls, context: Context) -> "Holder | None":
        """The holder that a node's config names; None for a simulated device.

        Raises:
            SettingsError: there are data, and no ledger to go with them.
        """
        config = context.node_config
        if "data" not in config:
            return None
        if "ledger" not in config:
            raise SettingsError('node config: data without ledger: add ledger="FILE"')
        return cls(
            Path(str(config["data"])),
            Journal(Path(str(config["ledger"]))),
            Limit(float(config.get("epsilon-limit", 0)) or None, float(config.get("delta", 1e-5))),
            bool(config.get("allow-seeded", False)),
        )

    def source(self, data: Data) -> Data:
        """The job's data set, read from this device's own folder, wherever the server points."""
        return data.model_copy(update={"path": str(self.data)})

    def require_promise(self, job: Job, in_sum: bool = False) -> None:
        """Refuse a job that would not keep the promise which the owner counts on.

        Args:
            in_sum: the update leaves in a sum that the server cannot take apart.

        Raises:
            BudgetExhausted: it would tell the number of records; or with a limit, a job without
                DP, or with noise that the server knows.
        """
        if job.budget.unit == "record" and not job.data.nominal_records:
            raise BudgetExhausted(
                "[data] nominal_records = 0: the sum would be divided by this device's own number "
                "of records, which is private; give a public one"
            )
        if self.limit.epsilon is None:
            return
        if job.budget.unit != "record" and not (job.budget.unit == "client" and in_sum):
            raise BudgetExhausted(
                f"[budget] unit = {job.budget.unit!r}: this device's owner allows only noisy "
                "updates (epsilon-limit): unit = 'record', or 'client' behind secure aggregation"
            )
        if job.training.noise == "seeded" and not self.allow_seeded:
            raise BudgetExhausted(
                "[training] noise = 'seeded': the server knows the seed and could take the noise "
                "away; this device's owner asks for noise = 'secure'"
            )

    def refuse_statistics(self) -> None:
        """Refuse to reply a number without noise.

        Raises:
            BudgetExhausted: with a limit.
        """
        if self.limit.epsilon is not None:
            raise BudgetExhausted("a statistic without noise is not within any epsilon-limit")

    def once(
        self,
        run: str,
        arrays: ArrayRecord,
        job: Job,
        round_: Round,
        net: Net,
        train: Callable[[Ledger], object],
    ) -> Ledger:
        """Train, charged to the file before; the same request again gets the same answer, free.

        A request that was charged and whose answer was never written is charged again where its
        noise will be other noise.

        Args:
            run: what the server calls it; another name begins another run, on the same limit.
            arrays: the global weights that were asked to be trained.
            net: then has the weights that may leave.
            train: trains it; is given what the run has spent, and charges that.

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
            planned = ledger.with_charge(cost.noise_multiplier, cost.sample_rate, cost.steps)
            Limit(job.budget.epsilon, job.budget.delta).require(
                planned, "the run's [budget] epsilon ="
            )
            self.journal.charge(run, request, cost, self.limit, anew=anew)
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
            self.journal.charge(run, request, cost, self.limit, anew=True, shared=True)
        return planned


def _digest(run: str, arrays: ArrayRecord, job: Job, round_: Round) -> str:
    """Of all that decides what is computed."""
    total = hashlib.sha256(f"{run}\n{job.model_dump_json()}\n{round_}\n".encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {list(array.shape)} {len(array.data)}\n".encode())
        total.update(array.data)
    return total.hexdigest()
