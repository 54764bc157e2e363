"""Protections taken away, for the tests that must notice."""

from privacy.dp.bookkeeping import OnePassOptimizer


def no_noise(monkeypatch):
    def add_noise(self):
        for p in self.params:
            p.grad = p.summed_grad.view_as(p)

    monkeypatch.setattr(OnePassOptimizer, "add_noise", add_noise)
