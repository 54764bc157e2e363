"""How many answers give a model away: a copy's agreement with it, against questions asked.

The victim is the perceptron of `encrypted-perceptron`. The thief has pictures of the same kind,
asks about them, and fits to the answers
  polynomial   what each logit is, since squares stand between the layers: a quadratic polynomial
               of the 121 pixels. Kernel ridge regression with the kernel (x . y + 1)^2, its ridge
               chosen on a fifth of the answers (as Tramer et al. 2016, section 4, solve equations)
  perceptron   a net of the same layers, by gradient descent (Jagielski et al. 2020, section 4)
`logits` are what a client decrypts, with what noise encryption leaves in them; `labels` are what
`privet infer` releases. Agreement is measured on the whole test set, with 95 % Wilson intervals.
"""

import json
from itertools import pairwise

import numpy as np
import torch
from encrypted import trained
from torch import nn

from clients.data.sets import load
from clients.layers import Square
from privacy.encrypted.keys import NOISE
from privacy.encrypted.net import pool_images
from server.inference.demo import wilson
from server.inference.program import trained_model

QUESTIONS = (30, 100, 300, 1000, 3000, 8192)
MOST_FITTED = 3000  # questions; the polynomial's equations grow with their cube
RIDGES = (1e-7, 1e-5, 1e-3, 1e-1)  # of the kernel's mean diagonal
STEPS, BATCH, LEARNING_RATE = 2000, 256, 3e-3
SEED = 5


def fitted(x, answers, ridge):
    """Weights [N, R] of a copy."""
    kernel = np.square(x @ x.T + 1.0)
    kernel[np.diag_indices_from(kernel)] += ridge * kernel.trace() / len(kernel)
    return np.linalg.solve(kernel, answers)


def polynomial(x, answers, asked):
    """Answers [A, R] of a copy to `asked`, fitted to `answers` [N, R] to questions x [N, D]."""
    kept = len(x) * 4 // 5
    kernel = np.square(x[kept:] @ x[:kept].T + 1.0)

    def error(ridge):
        return np.square(kernel @ fitted(x[:kept], answers[:kept], ridge) - answers[kept:]).sum()

    return np.square(asked @ x.T + 1.0) @ fitted(x, answers, min(RIDGES, key=error))


def perceptron(x, answers, asked):
    """As `polynomial`."""
    torch.manual_seed(SEED)
    sizes = (x.shape[1], 128, answers.shape[1])
    first, second = (nn.Linear(a, b) for a, b in pairwise(sizes))
    copy = nn.Sequential(first, Square(), second)
    optimizer = torch.optim.Adam(copy.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    x_ND, y_NR = (torch.from_numpy(array).float() for array in (x, answers))
    for _ in range(STEPS):
        rows = torch.randint(len(x_ND), (BATCH,))
        loss = nn.functional.mse_loss(copy(x_ND[rows]), y_NR[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return copy(torch.from_numpy(asked).float()).numpy()


def run() -> dict:
    """Agreements by number of questions, for logits and for labels, by way of copying."""
    victim = trained("encrypted-perceptron")
    data, pool = load(victim.experiment.data), victim.experiment.model.pool
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(data.train_x), max(QUESTIONS), replace=False)
    images = [data.train_x[chosen] / data.scale, data.test_x / data.scale]
    model = trained_model(victim)
    with torch.no_grad():
        told, kept = (
            model(torch.from_numpy(some).float()).numpy().astype(float) for some in images
        )
    x, asked = (pool_images(some, pool).reshape(len(some), -1) for some in images)
    truth, middle, largest = kept.argmax(1), told.mean(0), np.abs(told).max()
    labels = np.eye(told.shape[1])[told.argmax(1)] - 1 / told.shape[1]
    logits = (told - middle) / largest + rng.normal(0, NOISE, told.shape)

    def agreement(copy, answers, number):
        found = copy(x[:number], answers[:number], asked).argmax(1)
        same = int((found == truth).sum())
        return [same / len(truth), *wilson(same, len(truth))]

    return {
        str(number): {
            f"{copy.__name__}, {name}": agreement(copy, answers, number)
            for name, answers in (("logits", logits), ("labels", labels))
            for copy in (polynomial, perceptron)
            if copy is perceptron or number <= MOST_FITTED
        }
        for number in QUESTIONS
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
