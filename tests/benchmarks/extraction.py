"""How many answers give a model away: a copy's agreement with it, against questions asked.

The victim is the perceptron of `encrypted-perceptron`: squares between its layers, so each logit is
a quadratic polynomial of its 121 pixels, with 7,503 coefficients, and the thief fits just that:
kernel ridge regression with the kernel (x . y + 1)^2, its ridge chosen on a fifth of the answers.
Tramer et al. 2016, section 4, solve the same equations; a client needs no means but its questions.
`logits` are what a client decrypts, with what noise encryption leaves in them; `labels` are what
`privet infer` releases. Asked is with pictures of the same kind, half of the test set; agreement is
measured on the other half, with 95 % Wilson intervals.
"""

import json

import numpy as np
import torch
from encrypted import trained

from clients.data.sets import load
from privacy.encrypted.keys import NOISE
from privacy.encrypted.net import pool_images
from server.inference.demo import wilson
from server.inference.program import trained_model

QUESTIONS = (10, 30, 100, 300, 1000, 3000, 5000)
RIDGES = (1e-7, 1e-5, 1e-3, 1e-1)  # of the kernel's mean diagonal
SEED = 5


def fitted(x, answers, ridge):
    """Weights [N, R] of a copy."""
    kernel = np.square(x @ x.T + 1.0)
    kernel[np.diag_indices_from(kernel)] += ridge * kernel.trace() / len(kernel)
    return np.linalg.solve(kernel, answers)


def stolen(x, answers, asked):
    """Answers [A, R] of a copy to `asked`, fitted to `answers` [N, R] to questions x [N, D]."""
    kept = len(x) * 4 // 5
    kernel = np.square(x[kept:] @ x[:kept].T + 1.0)

    def error(ridge):
        return np.square(kernel @ fitted(x[:kept], answers[:kept], ridge) - answers[kept:]).sum()

    return np.square(asked @ x.T + 1.0) @ fitted(x, answers, min(RIDGES, key=error))


def agreement(x, answers, asked, truth):
    """The share of `asked` to which a copy answers as the victim does, and its interval."""
    same = int((stolen(x, answers, asked).argmax(1) == truth).sum())
    return [same / len(truth), *wilson(same, len(truth))]


def run() -> dict:
    """Agreements by number of questions, for logits and for labels."""
    victim = trained("encrypted-perceptron")
    data, pool = load(victim.experiment.data), victim.experiment.model.pool
    images = data.test_x / data.scale
    with torch.no_grad():
        logits = trained_model(victim)(torch.from_numpy(images).float()).numpy().astype(float)
    rng = np.random.default_rng(SEED)
    logits = (logits - logits.mean(0)) / np.abs(logits).max()
    seen = logits + rng.normal(0, NOISE, logits.shape)
    x = pool_images(images, pool).reshape(len(images), -1)
    order = rng.permutation(len(x))
    half = len(x) // 2
    asked, kept = order[:half], order[half:]
    labels = np.eye(logits.shape[1])[logits.argmax(1)] - 1 / logits.shape[1]
    truth = logits[kept].argmax(1)
    return {
        str(number): {
            "logits": agreement(x[asked[:number]], seen[asked[:number]], x[kept], truth),
            "labels": agreement(x[asked[:number]], labels[asked[:number]], x[kept], truth),
        }
        for number in QUESTIONS
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
