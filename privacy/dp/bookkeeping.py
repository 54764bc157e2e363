"""One-pass per-sample clipping under Opacus's optimizer (book-keeping: Bu et al. 2022).

Opacus's hooks materialise one gradient a sample and a parameter, B x |W| numbers. Here one backward
pass leaves, at each layer, its input x and the gradient g of its output. From the two follow the
per-sample norms (in closed form for a dense layer, |x|^2 |g|^2: Goodfellow 2015) and, once the clip
factors c are known, the clipped sum (for a dense layer (c g)^T x: one matrix product). The ordinary
weight gradient is never computed.

It works under Opacus's `DPOptimizer`, with the noise of `privacy.dp.noise` drawn for all parameters
at once. A compiled program takes the place of autograd where `privacy.dp.compiled` has one.

Shapes: B samples, I inputs, O outputs, P output positions, K = kernel elements x input channels.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from privacy.dp.compiled import Program
from privacy.dp.noise import Noise
from privacy.errors import ModelError


class Record(NamedTuple):
    """What one layer leaves behind in one backward pass."""

    layer: nn.Module
    x: Tensor
    g: Tensor


class Share(NamedTuple):
    """One layer's share: squared per-sample norms [B], and the sum weighted by factors [B]."""

    squared_norms: Tensor
    weighted_sum: Callable[[Tensor], list[Tensor]]


Rule = Callable[[nn.Module, Tensor, Tensor], Share]


def _linear(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    if x.dim() > 2:  # a sequence: its positions share the weights, so they do not separate
        x_BPI, g_BPO = x.flatten(1, -2), g.flatten(1, -2)
        weight = torch.bmm(g_BPO.transpose(1, 2), x_BPI)
        return _materialised(layer, weight, g_BPO.sum(1))
    squared, squared_x = _squared_norms(g), _squared_norms(x)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        weighted = g * c_B[:, None]
        return _with_bias(layer, weighted.t() @ x, lambda: weighted.sum(0))

    return Share(squared * (squared_x + (layer.bias is not None)), weighted_sum)


def _conv2d(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    assert isinstance(layer, nn.Conv2d)
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ModelError(
            f"Conv2d(padding={layer.padding!r}, padding_mode={layer.padding_mode!r}): no "
            "per-sample rule; give the padding in numbers and pad with zeros"
        )
    (ph, pw), groups = layer.padding, layer.groups
    B, O, H, W = g.shape  # noqa: E741
    x = F.pad(x, (pw, pw, ph, ph))
    # A view of all patches, [B, G, C/G, kh, kw, H, W], then one copy to [B*G, P, K].
    b, c, row, col = x.stride()
    per_group = x.shape[1] // groups
    patches = x.as_strided(
        (B, groups, per_group, kh, kw, H, W),
        (b, c * per_group, c, row * dh, col * dw, row * sh, col * sw),
    )
    x_GPK = patches.permute(0, 1, 5, 6, 2, 3, 4).reshape(B * groups, H * W, per_group * kh * kw)
    g_GOP = g.reshape(B * groups, O // groups, H * W)
    return _materialised(layer, torch.bmm(g_GOP, x_GPK), g.sum((2, 3)))


def _normalisation(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    if isinstance(layer, nn.GroupNorm):
        normal = F.group_norm(x, layer.num_groups, eps=layer.eps)
        axes = tuple(range(2, x.dim()))
    else:
        assert isinstance(layer, nn.LayerNorm)
        normal = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, x.dim() - len(layer.normalized_shape)))
    weight, bias = g * normal, g
    return _materialised(layer, *((t.sum(axes) if axes else t) for t in (weight, bias)))


def _materialised(layer: nn.Module, weight: Tensor, bias: Tensor) -> Share:
    """The share of a layer small enough to hold its per-sample gradients [B, ...]."""
    B = bias.shape[0]
    weight_B, bias_B = weight.reshape(B, -1), bias.reshape(B, -1)
    squared = _squared_norms(weight_B)
    if layer.bias is not None:
        squared = squared + _squared_norms(bias_B)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        return _with_bias(layer, c_B @ weight_B, lambda: c_B @ bias_B)

    return Share(squared, weighted_sum)


def _squared_norms(rows: Tensor) -> Tensor:  # without a second matrix of squares
    return torch.linalg.vector_norm(rows, dim=1).square()


def _with_bias(layer: nn.Module, weight: Tensor, bias: Callable[[], Tensor]) -> list[Tensor]:
    return [weight] if layer.bias is None else [weight, bias()]


# By exact type, as in Opacus: a subclass may compute something else, so it registers its own.
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.GroupNorm: _normalisation,
    nn.LayerNorm: _normalisation,
}


def trained_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that own trainable parameters.

    Raises:
        ModelError: one has no per-sample rule, shares a parameter, or is frozen in part.
    """
    seen: set[int] = set()
    for name, layer in model.named_modules():
        own = list(layer.parameters(recurse=False))
        if not any(p.requires_grad for p in own):
            continue
        if type(layer) not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise ModelError(
                f"layer {name} ({type(layer).__name__}): no per-sample gradient rule; use one of "
                f"{known}, or register one in privacy.dp.bookkeeping.RULES"
            )
        if not all(p.requires_grad for p in own):
            raise ModelError(f"layer {name}: frozen in part; freeze all of its parameters or none")
        if not seen.isdisjoint(map(id, own)):
            raise ModelError(f"layer {name}: shares a parameter with another; untie them")
        seen.update(map(id, own))
        yield layer


def require_row_a_record(rows: int, num_records: int) -> None:
    """Refuse, by ModelError, a layer in whose batch records do not stand one by one."""
    if rows != num_records:
        raise ModelError(
            f"a layer saw {rows} rows for {num_records} records: keep the batch first and whole, "
            "and put positions in a later axis"
        )


class _Tap(torch.autograd.Function):
    """The identity, which on its way back notes the gradient of a layer's output.

    Its argument goes on marked as changed, not as a view: so activations may work in place."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, anchor: Tensor, layer: nn.Module, x: Tensor, out: list[Record]
    ) -> Tensor:
        ctx.note = (layer, x, x._version, out)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        layer, x, version, out = ctx.note
        if x._version != version:
            raise ModelError(f"{type(layer).__name__}: its input was changed in place after it")
        out.append(Record(layer, x, g))
        return (g if ctx.needs_input_grad[0] else None), None, None, None, None


def _shares(records: list[Record]) -> tuple[dict[int, Share], Tensor]:
    """The share of each layer, and the norm of each sample's whole gradient [B]."""
    shares = {id(r.layer): RULES[type(r.layer)](r.layer, r.x, r.g) for r in records}
    return shares, torch.stack([s.squared_norms for s in shares.values()]).sum(0).sqrt()


def _only(kept_B: Tensor, record: Record) -> Record:
    """The record with the rows of some samples set to zero."""

    def keep(t: Tensor) -> Tensor:
        return t.where(kept_B.view(-1, *[1] * (t.dim() - 1)), t.new_zeros(()))

    return Record(record.layer, keep(record.x), keep(record.g))


class OnePassOptimizer(DPOptimizer):
    """Opacus's `DPOptimizer` with one-pass clipping.

    The loss must be a *sum* over samples. The backward passes before a `step` add up, so a large
    batch can be walked through in pieces: call `accumulate` after each.

    Args:
        model: every trained layer must have a rule in `RULES`; or a compiled program.
        optimizer: over all trained parameters of `model`; or over the program's `flat`.
        others: as for `DPOptimizer`; `expected_batch_size` divides the noisy sum.
        noise: where the noise comes from.
    """

    def __init__(
        self,
        model: nn.Module | Program,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        noise: Noise | None = None,
    ) -> None:
        self._program = model if isinstance(model, Program) else None
        self._layers = [] if isinstance(model, Program) else list(trained_layers(model))
        self._parameters: list[Any] = [  # Any: Opacus hangs its `summed_grad` on them
            p for layer in self._layers for p in layer.parameters(recurse=False)
        ]
        if self._program is not None:
            self._parameters = [self._program.flat]
        self._records: list[Record] = []
        self._anchor = torch.zeros((), requires_grad=True)
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            loss_reduction="mean",
        )
        self._noise = noise or Noise()
        self._total = torch.zeros(
            sum(p.numel() for p in self._parameters), dtype=self._parameters[0].dtype
        )
        self._noisy = torch.empty_like(self._total)
        self._deviates = torch.empty(len(self._total))
        self._sums, self._grads = self._views(self._total), self._views(self._noisy)
        for p in self._parameters:
            p.requires_grad_(False)  # no ordinary weight gradient
        self._hooks = [layer.register_forward_hook(self._tap) for layer in self._layers]

    @property
    def params(self) -> list[nn.Parameter]:
        """The trained parameters, layer by layer."""
        return self._parameters

    @property
    def grad_samples(self) -> list[Tensor]:
        """Never materialised; Opacus asks only whether there is something to train."""
        return [self._anchor] * len(self._parameters)

    @property
    def accumulated_iterations(self) -> int:
        """One logical batch a step, however many pieces it came in."""
        return 1

    def accumulate(self, num_records: int | None = None) -> None:
        """Clip what the last backward pass left, and add it to the sums.

        A record whose gradient is not finite adds nothing.

        Args:
            num_records: in the last pass; each layer must have seen as many rows.

        Raises:
            ModelError: it has not, or a layer was used twice.
        """
        if len({id(r.layer) for r in self._records}) != len(self._records):
            raise ModelError(
                "a layer is used twice in one pass: its gradients would be clipped apart"
            )
        records = list(self._records)
        self._records.clear()
        if not records:
            return
        for record in records:
            require_row_a_record(len(record.g), num_records or len(records[0].g))
        shares, norms_B = _shares(records)
        if not (finite_B := norms_B.isfinite()).all():
            # Infinity times a clip factor of zero would be no number.
            shares, norms_B = _shares([_only(finite_B, record) for record in records])
        c_B = (self.max_grad_norm / (norms_B + 1e-6)).clamp(max=1.0)
        sums = dict(zip(map(id, self._parameters), self._sums, strict=True))
        for layer in self._layers:
            if (share := shares.get(id(layer))) is None:
                continue
            parameters: Iterator[Any] = layer.parameters(recurse=False)
            for p, total in zip(parameters, share.weighted_sum(c_B), strict=True):
                p.summed_grad = sums[id(p)].add_(total.view_as(p))

    def accumulate_compiled(self, x: Tensor, y: Tensor) -> None:
        """As `accumulate`, without a pass before: softmax cross-entropy of x [B, ...] and y [B]."""
        assert self._program is not None
        self._program.add_clipped_sum(x, y, self.max_grad_norm, self._total)

    def clip_and_accumulate(self) -> None:
        """As `accumulate`; parameters that no sample reached get a sum of zero."""
        self.accumulate()
        for p, total in zip(self._parameters, self._sums, strict=True):
            p.summed_grad = total

    def add_noise(self) -> None:
        """The noisy sum, in all `p.grad`."""
        self._noisy.copy_(self._total)
        if deviation := self.noise_multiplier * self.max_grad_norm:
            self._noisy.add_(self._noise.normal(self._deviates), alpha=deviation)
        for p, grad in zip(self._parameters, self._grads, strict=True):
            p.grad = grad

    def scale_grad(self) -> None:
        """From the sum to the mean over the expected batch."""
        self._noisy.div_(self.expected_batch_size)

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self._parameters])
        return [part.view(p.shape) for p, part in zip(self._parameters, parts, strict=True)]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._records.clear()
        self._total.zero_()
        for p in self._parameters:
            p.summed_grad = p.grad = None

    def detach(self) -> None:
        """Give the model back as it was."""
        for hook in self._hooks:
            hook.remove()
        for p in self._parameters:
            p.requires_grad_(True)

    def _tap(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        tapped: Tensor = _Tap.apply(output, self._anchor, layer, inputs[0].detach(), self._records)
        return tapped
