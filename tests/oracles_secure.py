"""A secure sum phase by phase, with whom to lose in which; its secrets can be repeated."""

import numpy as np

from privacy.sums.boxes import KEY_BYTES
from privacy.sums.fixed_point import TRAILER, weighted_scale
from privacy.sums.masking import Member
from privacy.sums.terms import Secure, Terms, parts_needed
from privacy.sums.unmasking import Shared, Unmasking

PHASES = ("keys", "shares", "train", "unmask")


def terms_for(members, length, scheme="masks", secure=None, nonce="0" * 32, round_number=1,
              task="0" * 64):  # fmt: skip
    """Terms as server.experiment.secrecy makes them."""
    secure = secure or Secure()
    num = len(members)
    degree = secure.degree(num)
    return Terms(
        scheme=scheme,
        run="test",
        round=round_number,
        nonce=nonce,
        task=task,
        members=tuple(members),
        degree=degree,
        needed=parts_needed(degree + 1, secure.threshold),
        survivors=secure.fewest(num),
        length=length,
        bits=secure.bits,
        value_range=secure.value_range,
        most_examples=secure.most_examples,
        scale=weighted_scale(secure.bits, num, secure.value_range, secure.most_examples),
    )


def member(terms, client, rng):
    """With secrets that a seeded generator gives."""
    return Member(terms, client, *(rng.bytes(32) for _ in range(3)))


class Sum:
    """The phases of one secure sum, all clients in this process.

    Args:
        words: of each client.
        lost: by phase, the clients that do not answer it, nor any later one.
    """

    def __init__(self, terms, words, seed=0, lost=None):
        rng = np.random.default_rng(seed)
        self.terms, self.words, self.lost = terms, words, lost or {}
        self.members = {c: member(terms, c, rng) for c in terms.members}
        self.left = set(terms.members)

    def run(self):
        self.keys()
        self.shares()
        self.mask()
        return self.unmask()

    def _lose(self, phase):
        self.left -= set(self.lost.get(phase, ()))
        return sorted(self.left)

    def keys(self):
        self.publics = {c: self.members[c].advertise() for c in self._lose("keys")}

    def neighbours(self, client):
        """Who is there of those that it drew, and of those that drew it."""
        near = self.members[client].drawn | {
            c for c, one in self.members.items() if client in one.drawn
        }
        return near & set(self.publics)

    def shares(self):
        self.dealt = {}
        for c in self._lose("shares"):
            near = {m: self.publics[m] for m in self.neighbours(c)}
            self.dealt[c] = self.members[c].share(near)

    def boxes_for(self, client):
        """Who shared, the sealed parts for a client, and their proofs."""
        there = self.neighbours(client) & set(self.dealt)
        boxes = {m: self.dealt[m].boxes[client] for m in there if client in self.dealt[m].boxes}
        return sorted(there), boxes, {m: self.dealt[m].proofs[client] for m in boxes}

    def mask(self):
        self.masked, self.refused = {}, {}
        for c in self._lose("train"):
            self.masked[c], refused = self.members[c].conceal(self.words[c], *self.boxes_for(c))
            for dealer in refused:
                self.refused.setdefault(dealer, set()).add(c)
        self.total = np.zeros(self.terms.length + TRAILER, self.terms.grid.dtype)
        for words in self.masked.values():
            self.total += words

    def unmask(self):
        survivors = sorted(self.masked)
        told = {c: self.members[c].reveal(survivors) for c in self._lose("unmask")}
        shared = {
            c: Shared(self.publics[c][KEY_BYTES:], dealt.commitment, dealt.proofs,
                      self.neighbours(c) & set(self.dealt))
            for c, dealt in self.dealt.items()
        }  # fmt: skip
        self.unmasking = Unmasking(self.terms, shared, self.refused)
        return self.unmasking.unmask(self.total, set(survivors), told)
