"""Protections taken away, for the tests that must notice."""

from privacy.dp.optimizer import GridOptimizer


def no_noise(monkeypatch):
    def add_noise(self):
        for p in self.params:
            p.grad = p.summed_grad.view_as(p).to(p.dtype)

    monkeypatch.setattr(GridOptimizer, "add_noise", add_noise)
