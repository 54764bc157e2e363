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

    def require_promise(self, job: Job) -> None:
        """Refuse a job that would not keep the promise which the owner counts on.

        Raises:
            BudgetExhausted: with a limit, a job without DP, or with noise that the server knows.
        """
        if self.limit.epsilon is None:
            return
        if job.budget.unit != "record":
            raise BudgetExhausted(
                f"[budget] unit = {job.budget.unit!r}: this device's owner allows only noisy "
                "updates (epsilon-limit), unit = 'record'"
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
        with self.journal.turn():
            ledger = self.journal.spent_in(run, besides=request)
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
            self.journal.charge(run, request, cost, self.limit)
            train(ledger)
            weights = {name: tensor.contiguous() for name, tensor in net.state().items()}
            self.journal.release(run, request, save(weights))
            return self.journal.spent_in(run)


def _digest(run: str, arrays: ArrayRecord, job: Job, round_: Round) -> str:
    """Of all that decides what is computed."""
    total = hashlib.sha256(f"{run}\n{job.model_dump_json()}\n{round_}\n".encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {list(array.shape)} {len(array.data)}\n".encode())
        total.update(array.data)
    return total.hexdigest()
