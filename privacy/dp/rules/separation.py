"""Records that must not meet: in a model's pass, and in its loss.

A record's share of a sum is bounded by the clip only if its gradient is its own. What a layer is
made of does not tell that of a model: its own code may take a mean over the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import cross_entropy
from torch.nn.modules.dropout import _DropoutNd

from privacy.errors import ModelError

# Maps outputs [B, ...] and targets [B, ...] to the loss of each record, [B].
Loss = Callable[[Tensor, Tensor], Tensor]

TOLERANCE = 1e-4  # of an output's largest number, for kernels that round by what is beside


def softmax_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of logits [B, K] and classes int64 [B]: [B]."""
    return cross_entropy(outputs, targets, reduction="none")


def losses_of(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each record, [B], of which a loss of the user's sees one record at a time.

    Args:
        loss: called with one record's outputs [1, ...] and targets [1, ...], except
            `softmax_cross_entropy`, which is known to keep records apart.
        outputs: [B, ...].
        targets: [B, ...].

    Raises:
        ModelError: it is not one number a record, or draws at random.
    """
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != targets.shape[:1]:
        got = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            f"the model puts out {got} for {len(targets)} records; give one tensor, the batch first"
        )
    if loss is softmax_cross_entropy:
        losses = loss(outputs, targets)
    elif not len(outputs):
        losses = outputs[:, None].flatten(1).sum(1)  # none, but with a way back
    else:
        losses = _one_by_one(loss, outputs, targets)
    require_losses(losses, len(outputs))
    return losses


def require_losses(losses: object, num_records: int) -> None:
    """Refuse, by ModelError, what is not one loss a record."""
    if not isinstance(losses, Tensor) or losses.shape != (num_records,):
        got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ModelError(
            f"the loss of {num_records} records is {got}, not [{num_records}]: give each record's "
            "own; use reduction='none' and a mean over the axes after the first"
        )


def _one_by_one(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    def one(output: Tensor, target: Tensor) -> Tensor:
        found = loss(output[None], target[None])
        require_losses(found, 1)
        return found[0]

    try:
        return vmap(one, randomness="error")(outputs, targets)
    except RuntimeError as error:
        if "randomness" in str(error):
            raise ModelError("the loss draws at random; make it a function of a record") from error
    # Where the loss decides by a value, or has no batched form.
    return torch.stack([one(*pair) for pair in zip(outputs, targets, strict=True)])


def require_outputs_apart(
    model: nn.Module, fetch: Callable[[Tensor], tuple[Tensor, Tensor]], pair: Tensor
) -> None:
    """Refuse a model in which a record's outputs depend on who is beside it.

    Each of two records is seen beside the other, and then beside itself, with the same dice.

    Args:
        fetch: maps record indices [B] to inputs [B, ...] and targets.
        pair: two indices.

    Raises:
        ModelError: they depend, or the model keeps something of the records in a buffer.
    """
    kept = [(name, buffer, buffer._version) for name, buffer in model.named_buffers()]
    with torch.no_grad():
        # torch's generator is left alone where no layer draws: no secret is to come near it.
        draws = any(isinstance(layer, _DropoutNd) for layer in model.modules())
        if draws or not _apart(lambda indices: model(fetch(indices)[0]), pair):
            there = {p.device for p in model.parameters() if p.device.type == "cuda"}
            with torch.random.fork_rng(devices=there):
                seed = torch.seed()

                def seen(indices: Tensor) -> Tensor:
                    torch.manual_seed(seed)
                    return model(fetch(indices)[0])

                if not _apart(seen, pair):
                    raise ModelError(
                        "the model mixes records: what it puts out for one depends on who is "
                        "beside it; keep the batch in the first axis, and no sum or norm over that"
                    )
    now = {name: (buffer, buffer._version) for name, buffer in model.named_buffers()}
    for name, buffer, version in kept:
        if name not in now or now[name][0] is not buffer or now[name][1] != version:
            raise ModelError(
                f"{name}: a pass changes this buffer, and what it keeps of the records has no "
                "noise; leave it out, or fix it before training"
            )


def _apart(seen: Callable[[Tensor], Tensor], pair: Tensor) -> bool:
    """Is each of two records the same beside the other as beside itself?

    What is no tensor of two rows is left to the loss and the taps, which refuse it.
    """
    both = seen(pair)
    for place in range(2):
        alone = seen(pair[[place, place]])
        if not isinstance(both, Tensor) or both.shape != alone.shape or len(both) != 2:
            return True
        ours, theirs = both[place].double(), alone[place].double()
        far = TOLERANCE * float(theirs.abs().nan_to_num(0.0, 0.0, 0.0).max())
        if not torch.allclose(ours, theirs, rtol=0.0, atol=far, equal_nan=True):
            return False
    return True
