"""Flower's own strategies and mods of differential privacy, each on a client that fits a line.

A record is a client's, of which each is clipped; LocalDpMod's is a client that has all records.
"""

import museum
import numpy as np
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)

from attacks.audit import Claims
from server.adversary.strangers.flower import claims_of, of_local_dp, of_strategy

SIGMA, CLIP, ROUNDS, CLIENTS = 1.0, 0.3, 2, 4
FIRST = [
    np.zeros((museum.FEATURES, museum.CLASSES), np.float32),
    np.zeros(museum.CLASSES, np.float32),
]


def update(arrays, x, y):
    """One step of softmax regression on what a client has."""
    (w, b), x, y = arrays, np.atleast_2d(x), np.atleast_1d(y)
    z = x @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return [w - 0.5 * x.T @ p, b - 0.5 * p.sum(0)]


def fedavg():
    return FedAvg(min_train_nodes=1, min_available_nodes=1)


def fixed(kind):
    return lambda sigma, num: kind(fedavg(), sigma, CLIP, num)


def adaptive(kind):
    return lambda sigma, num: kind(fedavg(), sigma, num, CLIP, clipped_count_stddev=2.0)


class Late:
    """Noise by the norm that clipped: it changes when all of the round is done."""

    def _geometric_update(self, clipped_fraction):
        self.seen = clipped_fraction

    def aggregate_train(self, server_round, replies):
        made = super().aggregate_train(server_round, replies)
        super()._geometric_update(self.seen)
        return made


class LateOnServer(Late, DifferentialPrivacyServerSideAdaptiveClipping):
    pass


class LateOnClients(Late, DifferentialPrivacyClientSideAdaptiveClipping):
    pass


RIGHT = {
    "server side, fixed": (fixed(DifferentialPrivacyServerSideFixedClipping), ()),
    "client side, fixed": (fixed(DifferentialPrivacyClientSideFixedClipping), (fixedclipping_mod,)),
    "server side, adaptive, late": (adaptive(LateOnServer), ()),
    "client side, adaptive, late": (adaptive(LateOnClients), (adaptiveclipping_mod,)),
}
WRONG = {
    "client side, no mod": (fixed(DifferentialPrivacyClientSideFixedClipping), ()),
    "server side, adaptive": (adaptive(DifferentialPrivacyServerSideAdaptiveClipping), ()),
    "client side, adaptive": (
        adaptive(DifferentialPrivacyClientSideAdaptiveClipping), (adaptiveclipping_mod,)
    ),
}  # fmt: skip


def of_name(name, seed=0):
    """The step and its claims."""
    strategy, mods = (RIGHT | WRONG)[name]
    x, y = museum.records(CLIENTS, seed)
    claims = Claims(x.astype(np.float32), y, SIGMA, 1.0, ROUNDS, unit="client", divided="records")
    return of_strategy(strategy, update, FIRST, rounds=ROUNDS, mods=mods), claims


def of_local(sensitivity, seed=0):
    """The step and claims of LocalDpMod with a norm of 1."""
    mod = LocalDpMod(1.0, sensitivity, 5.0, 1e-5)
    x, y = museum.records(CLIENTS, seed)
    return of_local_dp(mod, update, FIRST), Claims(x.astype(np.float32), y, **claims_of(mod))
