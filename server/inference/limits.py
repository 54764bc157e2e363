"""What a service lets its clients do."""

from pydantic import Field

from privacy.seal import MOST_KEYS_BYTES
from privacy.settings import Section

# To compute an answer, many times what it takes: a worker that takes longer has gone astray.
ANSWER_S = {"ckks": 30.0, "boolean": 240.0}


class Limits(Section):
    """What a service lets its clients do; an identity is a token's name, or else an address.

    Attributes:
        workers: processes that compute.
        threads: of each.
        request_bytes, keys_bytes: the largest image and the largest evaluation keys; what the model
            needs is less, and is the limit then.
        in_flight_bytes: of requests that arrive or are computed, over all connections.
        stored_keys_bytes: of all clients; who stored most gives way.
        kept_free_bytes: what is never filled of the place where requests and keys lie.
        request_s: to receive a request; waiting_s: for a worker; answer_s: to compute its answer.
        waiting, waiting_each: requests that may wait for a worker, of all and of one identity.
        answers_per_day: of one identity; 0 is no limit.
        memory_bytes: address space of a worker; 0 is no limit.
        connections, connections_each: open at once, of all and of one address.
        header_s: to shake hands, and for a request's headers; idle_s: between requests, and for a
            client to read on.
        refusal_s: the most that a refusal is put off, where one identity has had many; 0 is never.
        end_s: from a signal to the end of the process.
    """

    workers: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    request_bytes: int = Field(default=96 << 20, ge=1)
    keys_bytes: int = Field(default=MOST_KEYS_BYTES, ge=1)
    in_flight_bytes: int = Field(default=512 << 20, ge=1)
    stored_keys_bytes: int = Field(default=2 << 30, ge=1)
    kept_free_bytes: int = Field(default=16 << 20, ge=0)
    request_s: float = Field(default=30.0, gt=0)
    waiting_s: float = Field(default=60.0, gt=0)
    answer_s: float = Field(default=ANSWER_S["ckks"], gt=0)
    waiting: int = Field(default=256, ge=1)
    waiting_each: int = Field(default=32, ge=1)
    answers_per_day: int = Field(default=0, ge=0)
    memory_bytes: int = Field(default=8 << 30, ge=0)
    connections: int = Field(default=512, ge=1)
    connections_each: int = Field(default=64, ge=1)
    header_s: float = Field(default=10.0, gt=0)
    idle_s: float = Field(default=30.0, gt=0)
    refusal_s: float = Field(default=2.0, ge=0)
    end_s: int = Field(default=8, ge=1)
