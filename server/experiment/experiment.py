"""Experiment: a Job, and what only the server may know of it."""

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import tomli_w
from pydantic import Field, model_validator

from attacks.settings import Attack
from clients.training.job import Job
from privacy.dp.budget import MOST_OF_NOMINAL, Budget
from privacy.dp.ledger import Ledger
from privacy.errors import SettingsError
from privacy.settings import Range, Section
from privacy.sums.terms import Secure
from server.experiment.named import MEANT
from server.experiment.strategy import Strategy

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Federation(Section):
    """[federation]: who takes part, for how long.

    Attributes:
        clients: all of them.
        cohort: how many take part in a round; 0 is all.
        rounds: of training.
        bands: under `unit = "client"`: clients are dealt into so many groups, which take turns,
            and what noise a round adds is in part taken back in the rounds up to its group's next
            (privacy.dp.banded). 1: all are in one group, and each round's noise is its own.
        evaluate_every: rounds between evaluations on the whole test set; the last is always.
        client_evaluation: after the last round, ask each client for loss and accuracy on its
            held-out records. These statistics carry no noise.
        timeout_s: how long the server waits for a round's replies.
        workers: clients trained at the same time; 0 is one a core. Does not alter the result.
        engine: what carries messages to clients, a key of `server.engines.choice.ENGINES`:
            `cohort`, in this process; `ray`, Flower's simulation; `superlink`, Flower's SuperNodes
            on devices of their own, each with its own data.
        address: `host:port` of the SuperLink.
        root_certificates: PEM file of the authority that signed the SuperLink's certificate;
            without one there is no TLS, and the address must be this machine's.
        secure_aggregation: what the server sees: `none` each update; under `masks`
            (privacy.sums.masking) and `ckks` (privacy.sums.encrypted_sum) the sum alone.
    """

    clients: int = Field(default=10, ge=1)
    cohort: int = Field(default=0, ge=0)
    rounds: Annotated[int, Range(1, 1_000_000)] = 10
    bands: Annotated[int, Range(1, 1024)] = 1
    evaluate_every: int = Field(default=1, ge=1)
    client_evaluation: bool = False
    timeout_s: float = Field(default=3600.0, gt=0)
    workers: int = Field(default=0, ge=0)
    engine: Literal["cohort", "ray", "superlink"] = "cohort"
    address: str = ""
    root_certificates: str = ""
    secure_aggregation: Literal["none", "masks", "ckks"] = "none"

    @model_validator(mode="after")
    def _cohort_fits(self) -> "Federation":
        if self.cohort > self.clients:
            raise ValueError(f"cohort = {self.cohort} is more than clients = {self.clients}")
        if self.bands > min(self.rounds, self.clients):
            few = f"rounds = {self.rounds} and clients = {self.clients}"
            raise ValueError(
                f"bands = {self.bands} is more than the fewer of {few}; use fewer bands"
            )
        if self.cohort > (least := self.clients // self.bands):
            raise ValueError(
                f"cohort = {self.cohort} is more than {least}, the smallest of {self.bands} groups "
                f"(bands) of {self.clients} clients; use cohort = {least} or less, or fewer bands"
            )
        return self

    @model_validator(mode="after")
    def _address_is_safe(self) -> "Federation":
        host, _, port = self.address.rpartition(":")
        if self.address and not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise ValueError(f"address = {self.address!r}: must be host:port")
        if self.address and not self.root_certificates and host not in LOOPBACK:
            raise ValueError(
                f"address = {self.address!r} is another machine: give root_certificates = the "
                "authority's PEM file (privet keys new makes one)"
            )
        return self

    @property
    def cohort_size(self) -> int:
        """Clients in each round."""
        return self.cohort or self.clients // self.bands

    @property
    def rounds_of_a_group(self) -> int:
        """The most rounds whose cohorts are of one group."""
        return math.ceil(self.rounds / self.bands)

    @property
    def rounds_per_client(self) -> int:
        """The most rounds in which any client takes part: cohorts are drawn evenly."""
        groups = range(self.bands)
        turns = [len(range(i, self.rounds, self.bands)) for i in groups]
        sizes = [len(range(i, self.clients, self.bands)) for i in groups]
        return max(math.ceil(t * self.cohort_size / n) for t, n in zip(turns, sizes, strict=True))


class Record(Section):
    """[record]: what the run keeps.

    Attributes:
        updates: keep each client's update exactly as released; some attacks need it.
        masked: keep instead each update as a server behind masks sees it, for the same attacks.
    """

    updates: bool = False
    masked: bool = False


class Experiment(Job):
    """All settings of a run. A device receives only `job`."""

    MEANT: ClassVar[Mapping[str, str]] = MEANT
    title: str = ""
    federation: Federation = Federation()
    secure: Secure = Secure()
    strategy: Strategy = Strategy()
    record: Record = Record()
    attack: Attack = Attack()

    @property
    def job(self) -> Job:
        """The sections that a device may see."""
        return Job.model_validate({name: getattr(self, name) for name in Job.model_fields})

    @property
    def message(self) -> str:
        """The job as JSON, as it is sent."""
        job = self.job
        if self.data.partition == "nodes":
            job = job.model_copy(update={"data": self.data.public})
        return job.model_dump_json()

    @cached_property
    def plan(self) -> str:
        """SHA-256 of what shapes releases and no device sees: the strategy, and who takes part.

        Secure aggregation is not in it: it hides releases, and they stay what they are.
        """
        shaping = {"clients", "cohort", "rounds", *["bands"] * (self.federation.bands > 1)}
        taking_part = self.federation.model_dump_json(include=shaping)
        told = self.strategy.model_dump_json() + taking_part
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def bound_to_processor(self) -> str:
        """What of it has code for processors alone, or comes to no GPU; empty if nothing."""
        if self.federation.engine == "ray":
            return "[federation] engine = 'ray' gives its clients no GPU"
        return super().bound_to_processor

    @property
    def sample_rate(self) -> float:
        """Probability with which a unit of privacy takes part in a step."""
        return self.training.sample_rate if self.budget.unit == "record" else 1.0

    @property
    def steps_per_round(self) -> int:
        """Noisy steps that a unit of privacy meets in a round in which it takes part."""
        return self.training.local_steps if self.budget.unit == "record" else 1

    def resolve(self) -> "Experiment":
        """The same experiment with its noise solved over the planned participation.

        Devices of their own (`engine = "superlink"`) have their own records, and draw noise that
        nobody can repeat, unless the experiment says `noise = "seeded"`. Under `device = "auto"`
        each sees for itself whether it has a GPU; in a simulation that is settled here.

        Raises:
            SettingsError: no noise is enough, or none fits the bits of a masked number; a GPU is
                asked for, and is not here.
        """
        steps = self.federation.rounds_per_client * self.steps_per_round
        budget = self.budget
        if self.shares_noise and budget.noise_multiplier is None and budget.epsilon is not None:
            from privacy.dp.discrete import solve_sum  # scipy

            sigma = solve_sum(budget.epsilon, budget.delta, steps)
            budget = budget.model_copy(update={"noise_multiplier": sigma})
        budget = budget.solve(self.sample_rate, steps)
        if self.shares_noise and budget.noise_multiplier:
            from privacy.dp.discrete import deviation_of_each

            members, secure = self.federation.cohort_size, self.secure
            deviation_of_each(secure.bits, members, secure.honest(members), budget.noise_multiplier)
        deployed = self.federation.engine == "superlink"
        noise = {"auto": "secure" if deployed else "seeded"}
        training = {"noise": noise.get(self.training.noise, self.training.noise)}
        if self.training.device != "cpu" and not deployed:
            from clients.training.gpu import chosen

            training["device"] = chosen(self)
        update: dict[str, Section] = {
            "budget": budget,
            "training": self.training.model_copy(update=training),
        }
        if deployed:
            update["data"] = self.data.model_copy(update={"partition": "nodes"})
        return self.model_copy(update=update)

    def for_records(self, num: int, most: int) -> "Experiment":
        """The same experiment with a nominal number of records a client, if it names none.

        Args:
            num: all training records of the data set, which are public.
            most: of the simulated client that trains on most, which is let train; 0 where clients
                have records of their own.

        Raises:
            SettingsError: a client has more than the number that is named allows.
        """
        fewest = math.ceil(most / MOST_OF_NOMINAL) if self.budget.unit == "record" else 0
        if told := self.data.nominal_records:
            if told < fewest:
                raise SettingsError(
                    f"[data] nominal_records = {told}: a client trains on {most:,}, and none may "
                    f"on more than {MOST_OF_NOMINAL} times as many; give {fewest} or more"
                )
            return self
        used = (self.data.limit or num) * (1 - self.data.held_out)
        nominal = max(1, round(used / self.federation.clients), fewest)
        data = self.data.model_copy(update={"nominal_records": nominal})
        return self.model_copy(update={"data": data})

    @property
    def shares_noise(self) -> bool:
        """Does each client add its share of the noise, since no server may see its update?"""
        return self.budget.unit == "client" and self.federation.secure_aggregation != "none"

    @property
    def budget_of_sum(self) -> Budget:
        """The budget, with the noise that all shares make together when no client is lost."""
        z, members = self.budget.noise_multiplier, self.federation.cohort_size
        if not self.shares_noise or z is None:
            return self.budget
        factor = math.sqrt(members / self.secure.honest(members))
        return self.budget.model_copy(update={"noise_multiplier": z * factor})

    def epsilon_of(self, ledger: Ledger) -> float:
        """What a ledger's entries have spent, by the accountant of this experiment's noise."""
        if self.shares_noise:
            from privacy.dp.discrete import epsilon_of_sum

            return epsilon_of_sum(ledger.entries, self.budget.delta)
        return ledger.epsilon(self.budget.delta)

    @cached_property
    def cohorts(self) -> list[list[int]]:
        """Which clients take part in each round: random, even, and a function of the seed alone.

        Clients are dealt from one shuffled deck after another, so that no client is ever more
        than one round ahead of another, and `rounds_per_client` is exact. Under `bands` there is
        a deck for each group, and groups take turns: between two rounds of a client are at least
        `bands` - 1 others.
        """
        from clients.seeds import derive

        federation = self.federation
        num, bands = federation.clients, federation.bands
        groups: list[Sequence[int]] = [range(num)]
        rngs = [random.Random(derive(self.seed, "cohorts"))]
        if bands > 1:
            dealt = list(range(num))
            random.Random(derive(self.seed, "groups of bands")).shuffle(dealt)
            groups = [dealt[i::bands] for i in range(bands)]
            rngs = [random.Random(derive(self.seed, "cohorts", i)) for i in range(bands)]
        hands = [
            _hands(rng, group, federation.cohort_size)
            for rng, group in zip(rngs, groups, strict=True)
        ]
        return [next(hands[t % bands]) for t in range(federation.rounds)]

    def learning_rate(self, round_number: int) -> float:
        """The learning rate of round 1, 2, ..., by `training.schedule`."""
        done = (round_number - 1) / self.federation.rounds
        factor = {
            "constant": 1.0,
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
        }[self.training.schedule]
        return self.training.learning_rate * factor

    def to_toml(self) -> str:
        """Every setting, as a file that `load_experiment` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _hands(rng: random.Random, group: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cohorts of so many of a group, one after another."""
    dealt, again = _deal(rng, len(group)), list[int]()
    while True:
        chosen: dict[int, None] = {}
        twice = []
        while len(chosen) < size:
            place = again.pop() if again else next(dealt)
            if place in chosen:
                twice.append(place)
            else:
                chosen[place] = None
        again += reversed(twice)
        yield sorted(group[place] for place in chosen)


def _deal(rng: random.Random, num: int) -> Iterator[int]:
    """`rng.sample(range(num), num)` again and again, a card at a time: what was dealt is kept, and
    not what is still to come."""
    while True:
        moved: dict[int, int] = {}
        for left in range(num, 0, -1):
            place = rng.randrange(left)
            yield moved.get(place, place)
            moved[place] = moved.pop(left - 1, left - 1)
