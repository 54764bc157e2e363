"""What the clients' data have spent, as the server knows it.

Under `unit = "record"` devices keep their own ledgers, and the server takes over what they say.
Under `unit = "client"` it keeps them itself, and keeps within the budget itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from privacy.dp.accounting.prv import epsilon_path
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger, Spent
from server.experiment.experiment import Experiment
from server.run.draws import Draws
from server.run.rounds import ClientRecord, RoundRecord, ledgers_after


def charge_client(ledger: Ledger, budget: Budget) -> None:
    """What a round under `unit = "client"` costs a client of its cohort: no amplification."""
    assert budget.noise_multiplier is not None
    ledger.charge(budget.noise_multiplier, 1.0)


class Spending:
    """The ledgers of a run.

    Args:
        done: the rounds that are done; what was drawn for the next, and lost, is charged.

    Attributes:
        ledgers: of each client that took part.
        lost: to whom the next round was charged before, in vain.
    """

    def __init__(self, experiment: Experiment, done: list[RoundRecord], draws: Draws) -> None:
        self._experiment, self._draws = experiment, draws
        self.ledgers: dict[int, Ledger] = ledgers_after(done)
        self.lost = draws.lost(len(done) + 1)
        for client, times in self.lost.items():
            for _ in range(times):
                self.ledgers[client] = self._after_another(client)
        # Steps that were lost and made again: what the plan of rounds has not in it.
        met = Counter(c.client for record in done for c in record.clients)
        self._beyond_plan = max(
            (
                sum(entry.steps for entry in ledger.entries)
                - met[client] * experiment.steps_per_round
                for client, ledger in self.ledgers.items()
            ),
            default=0,
        )
        self._epsilon_after = self._epsilon_path()
        self._spent = {ledger.entries for ledger in self.ledgers.values()}

    def of(self, client: int) -> Ledger:
        """A client's ledger; a new one, if there is none."""
        return self.ledgers.get(client, Ledger())

    def note_draw(self, number: int, clients: list[int]) -> None:
        """To be called before round `number` draws noise for these clients.

        Seeded noise is drawn again as it was: nothing of it can be lost.
        """
        experiment = self._experiment
        if experiment.budget.unit != "none" and experiment.training.noise != "seeded":
            self._draws.note(number, clients)

    def take_over(self, client: int, spent: Ledger) -> None:
        """A client's update is in: what its device says, or one round more."""
        budget = self._experiment.budget
        if budget.unit == "record":
            self.ledgers[client] = spent
        elif budget.unit == "client" and budget.noise_multiplier is not None:
            charge_client(self.ledgers.setdefault(client, Ledger()), budget)

    def assume(self, client: int, spent: Ledger | None) -> None:
        """A device failed: what it says it has spent, or all of the round if it is mute."""
        if spent is None:
            spent = self._after_another(client)
        else:
            spent.restore(self.of(client))
        self.ledgers[client] = spent

    def affords(self, client: int) -> bool:
        """Under `unit = "client"`: is there budget for another round? Devices say no themselves."""
        budget = self._experiment.budget
        if budget.unit != "client" or budget.epsilon is None:
            return True
        planned = self._after_another(client)
        if self._experiment.shares_noise:
            return self._experiment.epsilon_of(planned) <= budget.epsilon
        return planned.within(budget.epsilon, budget.delta)

    def left_out(self, client: int) -> ClientRecord:
        """The record of one that is not asked, for what it has spent."""
        reason = (
            "not asked: one round more would bring it over [budget] epsilon = "
            f"{self._experiment.budget.epsilon:g}"
        )
        ledger = self.of(client).to_json()
        return ClientRecord(client, ledger=ledger, failure=reason, refused=True)

    def _after_another(self, client: int) -> Ledger:
        experiment, sigma = self._experiment, self._experiment.budget.noise_multiplier
        assert sigma is not None
        had, steps = self.of(client), experiment.steps_per_round
        off = steps * max((entry.divergence / entry.steps for entry in had.entries), default=0.0)
        return had.with_charge(sigma, experiment.sample_rate, steps, off)

    # ---- epsilon

    def epsilon(self, cohort: Iterable[int]) -> float | None:
        """The maximum over clients until now; None without a budget.

        Args:
            cohort: whose ledgers may have grown since the last call. What they had then stays among
                what is looked at: it is no more than what they have now.
        """
        if self._epsilon_after is None:
            return None
        self._spent |= {self.of(client).entries for client in cohort}
        if any(len(entries) > 1 or any(e.divergence for e in entries) for entries in self._spent):
            return max(self._experiment.epsilon_of(Ledger(entries)) for entries in self._spent)
        return self._epsilon_after(max((e[0].steps for e in self._spent if e), default=0))

    def _epsilon_path(self) -> Callable[[int], float] | None:
        experiment = self._experiment
        if experiment.budget.unit == "none":
            return None
        sigma = experiment.budget.noise_multiplier
        assert sigma is not None
        if experiment.shares_noise:
            return lambda k: experiment.epsilon_of(Ledger([Spent(sigma, 1.0, k)]))
        planned = experiment.federation.rounds_per_client * experiment.steps_per_round
        steps, delta = planned + max(0, self._beyond_plan), experiment.budget.delta
        return epsilon_path(sigma, experiment.sample_rate, steps, delta)
