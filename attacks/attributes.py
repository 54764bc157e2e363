"""Attribute inference: a column of a person's record is hidden; what does the model add?

The adversary knows the other columns and what the model was trained to say of the record, and
guesses the value under which the model says that most surely (Fredrikson et al. 2014; Yeom et al.
2018), weighed by how often it stands beside such columns: p(value | others) p(said | value, others)
is greatest. Against it stands the best guess without the model, p(value | others, said). Both are
learned from records that no client has (logistic regression). What a guess gains on records that
were not trained on is knowledge of people in general; what it gains on members beyond that, of
these people.

Shapes: N records, F inputs, V values.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from attacks.leakage import Figure
from attacks.membership.signals import BLOCK, losses
from attacks.tape import Bools, Column, Nature, Sample

HIDDEN = 10  # columns, those of which there is most to be told
RECORDS = 500  # of members, and of others
KNOWN = 4000  # records that the guess without a model is learned from
BINS = 10  # of a number's public range; which one is guessed
MOST_VALUES = 64
ITERATIONS = 200  # of the logistic regression
FLOOR = 1e-4  # chance of a value that no known record has
Z = 1.96  # 95 %


def infer_attributes(
    model: nn.Module, pool: Sample, member: Bools, reference: Sample, nature: Nature, seed: int
) -> dict[str, Any]:
    """For each hidden column: the share of right guesses, with and without the model.

    Args:
        member: bool [N] of the pool; what is judged by.
        reference: records that no client has; the adversary's own.
    """
    rng = np.random.default_rng(seed)
    known = torch.from_numpy(np.sort(rng.permutation(len(reference))[:KNOWN]))
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(part))[:RECORDS] for part in (member, ~member)]
    )
    inside, own = member[chosen], torch.from_numpy(chosen)
    learned, asked = reference.originals(known), pool.originals(own)
    said = _said(reference.y[known], pool.y[own])
    surety = _surety(model, reference)
    told: dict[str, Any] = {}
    gains, hits = [], []
    for column in most_telling(learned, nature):
        truth = codes_of(asked, column, nature)
        before = codes_of(learned, column, nature)
        others = [_without(x, column) for x in (learned, asked)]
        beside = [np.concatenate(pair, 1) for pair in zip(others, said, strict=True)]
        values = num_values(column)
        without = _chances(beside[0], before, beside[1], values).argmax(1)
        prior = np.log(_chances(others[0], before, others[1], values))
        fit = surety * likelihood(model, pool, own, asked, column, nature)
        with_it, without = (prior + fit).argmax(1) == truth, without == truth
        told[column.name] = {"values": values} | _told(with_it, without, inside)
        gains.append(with_it.astype(float) - without)
        hits.append(with_it.astype(float))
    if not told:
        return {"left_out": "no column varies over the records that no client has"}
    gain, hit = np.mean(gains, 0), np.mean(hits, 0)
    return {
        "records": {"members": int(inside.sum()), "non_members": int((~inside).sum())},
        "members": vars(_mean(gain[inside])),
        "non_members": vars(_mean(gain[~inside])),
        "of_membership": vars(_difference(hit[inside], hit[~inside])),
        "columns": told,
    }


def most_telling(x_NF: Tensor, nature: Nature, num: int = HIDDEN) -> list[Column]:
    """The columns of the greatest entropy, of those that vary, in the table's order."""
    entropies = {}
    for column in nature.columns:
        shares = np.bincount(codes_of(x_NF, column, nature)) / len(x_NF)
        shares = shares[shares > 0]
        if len(shares) > 1 and num_values(column) <= MOST_VALUES:
            entropies[column] = -float((shares * np.log(shares)).sum())
    chosen = sorted(entropies, key=lambda column: -entropies[column])[:num]
    return [column for column in nature.columns if column in chosen]


def num_values(column: Column) -> int:
    """How many there are to guess from: a category's, and none of them; or bins and flags."""
    return column.values + 1 if column.values else BINS + len(column.flags)


def codes_of(x_NF: Tensor, column: Column, nature: Nature) -> NDArray[np.int64]:
    """Which value a column has in each record [N]."""
    block = x_NF[:, column.start : column.start + column.width]
    if column.values:
        code = torch.where(block.sum(1) > 0, block.argmax(1), column.values)
        return code.numpy()
    share = (block[:, 0] - nature.low) / (nature.high - nature.low)
    code = (share * BINS).long().clamp(0, BINS - 1)
    for flag in range(len(column.flags)):
        code = torch.where(block[:, 1 + flag] > 0.5, BINS + flag, code)
    return code.numpy()


def filled(x_NF: Tensor, column: Column, code: int, nature: Nature) -> Tensor:
    """The records with this value in the column; of a bin its middle."""
    x = x_NF.clone()
    x[:, column.start : column.start + column.width] = 0.0
    if column.values:
        if code < column.values:
            x[:, column.start + code] = 1.0
    elif code < BINS:
        x[:, column.start] = nature.low + (nature.high - nature.low) * (code + 0.5) / BINS
    else:
        x[:, column.start] = column.flags[code - BINS]
        x[:, column.start + 1 + code - BINS] = 1.0
    return nature.settled(x)


@torch.no_grad()
def likelihood(
    model: nn.Module, pool: Sample, own: Tensor, x_NF: Tensor, column: Column, nature: Nature
) -> NDArray[np.float64]:
    """The loss of what is known to be said, with each value in the column, negative: [N, V]."""
    model.eval()
    rows = []
    for code in range(num_values(column)):
        x = filled(x_NF, column, code, nature)
        pieces = [
            pool.loss(model(x[i]), pool.targets(own[i], x[i]))
            for i in torch.arange(len(x)).split(BLOCK)
        ]
        rows.append(-torch.cat(pieces).double())
    return torch.stack(rows, 1).numpy()


def _surety(model: nn.Module, reference: Sample) -> float:
    """What a loss is to be multiplied with, to be a logarithm of a chance.

    Of errors it is what a normal law of their mean square says.
    """
    num = reference.y.shape[1] if reference.y.dim() > 1 else 1
    if reference.task in ("classes", "labels"):
        return float(num)
    size = float(losses(model, reference).mean())
    if reference.task == "number":  # half of the square
        return 0.5 / max(size, 1e-9)
    return 0.5 * reference.inputs(torch.tensor([0])).numel() / max(size, 1e-9)


def _without(x_NF: Tensor, column: Column) -> NDArray:
    kept = torch.ones(x_NF.shape[1], dtype=torch.bool)
    kept[column.start : column.start + column.width] = False
    return x_NF[:, kept].numpy()


def _said(*targets: Tensor) -> list[NDArray]:
    """What is known to be said of several sets of records, as columns."""
    if targets[0].dim() > 1:
        return [y.numpy() for y in targets]
    classes = int(max(y.max() for y in targets)) + 1
    return [torch.nn.functional.one_hot(y, classes).float().numpy() for y in targets]


def _chances(x: NDArray, code: NDArray, asked: NDArray, values: int) -> NDArray[np.float64]:
    """p(value | x) of other records, learned from some [N, V].

    Or the values' own shares, where those guess better for a third that is kept from learning: of
    few records, columns that tell nothing are soon believed.
    """
    tried = np.arange(len(x)) % 3 == 0
    commonest = np.bincount(code[~tried], minlength=values).argmax()
    found = np.full((len(asked), values), FLOOR)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a guess, however near its best
        if len(np.unique(code[~tried])) > 1:
            guess = LogisticRegression(max_iter=ITERATIONS).fit(x[~tried], code[~tried])
            if guess.score(x[tried], code[tried]) > (code[tried] == commonest).mean():
                guess = LogisticRegression(max_iter=ITERATIONS).fit(x, code)
                found[:, guess.classes_] += guess.predict_proba(asked)
                return found
    return found + np.bincount(code, minlength=values) / len(code)


def _told(with_it: Bools, without: Bools, inside: Bools) -> dict[str, Any]:
    """Of one column: shares of right guesses, and what the model adds."""
    of = {
        name: {
            "with_model": float(with_it[part].mean()),
            "without": float(without[part].mean()),
            "advantage": vars(paired(with_it[part], without[part])),
        }
        for name, part in (("members", inside), ("non_members", ~inside))
    }
    hit = with_it.astype(float)
    return of | {"of_membership": vars(_difference(hit[inside], hit[~inside]))}


def paired(first: Bools, second: Bools) -> Figure:
    """The difference of two shares of the same records (Agresti and Min 2005): half a record is
    added to each of the four outcomes, so that few records that all agree prove little."""
    num = len(first)
    value = float(first.mean() - second.mean())
    ahead, behind = (first & ~second).sum() + 0.5, (second & ~first).sum() + 0.5
    centre = (ahead - behind) / (num + 2)
    half = Z * np.sqrt(ahead + behind - (ahead - behind) ** 2 / (num + 2)) / (num + 2)
    return Figure(value, float(min(value, centre - half)), float(max(value, centre + half)))


def _mean(gains: NDArray) -> Figure:
    """Of records, each the mean of its columns: columns of one record are not independent."""
    return _normal(float(gains.mean()), gains.var() / len(gains) + 1 / len(gains) ** 2)


def _difference(inside: NDArray, outside: NDArray) -> Figure:
    variance = sum(part.var() / len(part) + 1 / len(part) ** 2 for part in (inside, outside))
    return _normal(float(inside.mean() - outside.mean()), variance)


def _normal(value: float, variance: float) -> Figure:
    half = Z * float(np.sqrt(variance))
    return Figure(value, value - half, value + half)
