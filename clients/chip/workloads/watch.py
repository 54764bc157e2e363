"""What torch does in a pass, operation by operation, as layers of a record."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clients.chip.workloads import operations, products
from clients.chip.workloads.record import Record, count, tensors
from clients.chip.workloads.recurrent import note_recurrent
from clients.chip.workloads.workload import Kind, Layer, Nest


class Watch(TorchDispatchMode):
    """Notes in its `record` what a model does while the mode is on.

    Args:
        model: gets hooks, so it is a copy.
        x: the record that it will be given, [1, ...].
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.record = Record(model, x)
        self.within: list[str] = []
        self.whole = 0  # recurrent layers that are running, whose operations are not noted
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name, module))
            module.register_forward_hook(self._leave(name, module), with_kwargs=True)

    # ---- modules

    def _enter(self, name: str, module: nn.Module) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self.within.append(f"{name or 'the model'} ({type(module).__name__})")
            self.whole += isinstance(module, nn.RNNBase)

        return enter

    def _leave(self, name: str, module: nn.Module) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
            if isinstance(module, nn.RNNBase):
                self.whole -= 1
                note_recurrent(self.record, name, module, [*args, *kwargs.values()], out)
            elif not self.whole:
                self._unseen(module, [*tensors(args), *tensors(kwargs.values())], out)
            self.within.pop()

        return leave

    def _unseen(self, module: nn.Module, given: list[Tensor], out: Any) -> None:
        """A module whose output came from its input in no way that torch saw."""
        record, outs = self.record, [t for t in tensors([out]) if t.is_floating_point()]
        sources = record.sources(given)
        lost = [t for t in outs if not record.comes(t) and not t.is_meta]
        if sources and lost and len(lost) == len(outs):
            self._append(
                "elementwise", type(module).__name__, given, lost, list(module.parameters())
            )
            self._tell("it computes where torch does not see it")

    # ---- operations

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if not self.whole:
            self._note(function, args, [*args, *(kwargs or {}).values()], out)
        return out

    def _note(self, function: Any, args: Any, every: list[Any], out: Any) -> None:
        returns = function._schema.returns
        if returns and returns[0].alias_info and not returns[0].alias_info.is_write:
            return  # a view
        name: str = function.overloadpacket.__name__.rstrip("_")
        given, outs = tensors(every), tensors([out])
        record = self.record
        sources = record.sources(given)
        if name in operations.CREATIONS or not outs:
            return
        if not sources and not self._begins(name, args):
            record.derive(outs, given)
        elif name in operations.COPIES or not any(
            t.is_floating_point() or t.is_complex() for t in outs
        ):  # comparisons and numbers of places cost nothing
            record.follow(outs, sources)
        elif name == "convolution":
            self._convolution(args, outs)
        elif name in operations.PRODUCTS:
            at = operations.PRODUCTS[name]
            self._product(args[at], args[at + 1], list(args[:at]), outs)
        elif name == "_trilinear" and record.names(args[1]):
            nest = products.bilinear(args[0], args[1], outs[0])
            self._weighted("dense", nest, args[0], args[1], [args[2]], outs, nest.outputs)
        else:
            self._other(name, args, given, outs)

    def _convolution(self, args: Any, outs: list[Tensor]) -> None:
        x, weight, bias, stride, padding, dilation, upward, _, groups = args[:9]
        if upward:
            nest = products.transposed(x, weight, groups)
        else:
            nest = products.convolution(x, weight, stride, padding, dilation, groups, outs[0])
        self._weighted("conv", nest, x, weight, tensors([bias]), outs, nest.outputs * upward)

    def _begins(self, name: str, args: Any) -> bool:
        """Is it a product of weights with a constant, as of a first state of zeros?"""
        if name not in operations.PRODUCTS:
            return False
        at, record = operations.PRODUCTS[name], self.record
        return len([t for t in args[at : at + 2] if record.names(t)]) == 1

    def _product(self, a: Tensor, b: Tensor, added: list[Tensor], outs: list[Tensor]) -> None:
        record = self.record
        if record.comes(a) and record.comes(b):
            nest = products.of_activations(a, b)
            self._append("product", "product", [a, b, *added], outs, added, nest)
            return
        x, weight = (b, a) if record.comes(b) or record.names(a) else (a, b)
        nest = products.of_weights(a, b, weight is a, record.words_at(weight))
        self._weighted("dense", nest, x, weight, added, outs)

    def _weighted(
        self,
        kind: Kind,
        nest: Nest,
        x: Tensor,
        weight: Tensor,
        others: list[Tensor],
        outs: list[Tensor],
        lanes: int = 0,
    ) -> None:
        record = self.record
        if record.comes(weight):  # filters that another layer computes
            nest = replace(nest, computed=True)
            self._append("product", kind, [x, weight, *others], outs, others, nest)
            return
        label = f"{kind} {record.module([weight])}".strip()
        held = record.hold([weight], nest.weights, others)
        given = [x, *(t for t in others if record.comes(t))]
        sources = record.sources(given)
        layer = Layer(
            label,
            kind,
            count(outs[:1]),
            sources,
            nest,
            held.bias,
            held.weights,
            held.constants,
            read=count(given),
            lanes=lanes,
        )
        record.add(layer, outs)

    def _other(self, name: str, args: Any, given: list[Tensor], outs: list[Tensor]) -> None:
        record = self.record
        read = [t for t in given if record.comes(t)]
        held = [t for t in given if record.names(t)]
        fewer = outs[0].numel() < count(read)
        alone = len({id(t) for t in read}) == 1
        label = name.removeprefix("native_").removesuffix("_with_indices").strip("_")
        if name in operations.NORMS:
            fixed = "batch_norm" in name and (name.endswith("no_training") or not args[5])
            self._append("norm", label, read, outs, held, passes=1 if fixed else 3)
        elif name in operations.SOFTMAXES:
            self._append("softmax", label, read, outs, [], passes=3)
        elif name in operations.LOOKUPS or (name in operations.GATHERS and held):
            self._append("lookup", "lookup", read, outs, held)
        elif name in operations.GATHERS:
            record.follow(outs, record.sources(given))
        elif name in operations.POOLS and fewer:
            self._append("pool", label, read, outs, [])
        elif name in ("add", "sub") and alone and held and self._bias(read[0], held, outs):
            return
        elif name in operations.JOINS | operations.GATES and (held or not alone):
            kind: Kind = "gate" if name in operations.GATES else "add"
            self._append(kind, label, read, outs, held)
        elif name in operations.FUSED | operations.JOINS | operations.GATES | operations.POOLS:
            record.follow(outs, record.sources(read))
        else:
            self._append("elementwise", label, read, outs, held)
            if name not in operations.ELEMENTWISE:
                self._tell(f"{label} has no loops of its own here")

    def _bias(self, x: Tensor, held: list[Tensor], outs: list[Tensor]) -> bool:
        """Words that are added to what the last layer gave are its bias."""
        record, last = self.record, len(self.record.layers) - 1
        if record.sources([x]) != (last,) or last < 0 or not record.layers[last].nest:
            return False
        layer = record.layers[last]
        bias, constants = record.take(held)
        record.layers[last] = replace(
            layer, bias=layer.bias + bias, constants=layer.constants + constants
        )
        record.follow(outs, (last,))
        return True

    def _append(
        self,
        kind: Kind,
        label: str,
        given: list[Tensor],
        outs: list[Tensor],
        held: list[Tensor],
        nest: Nest | None = None,
        passes: int = 1,
    ) -> None:
        record = self.record
        read = [t for t in given if record.comes(t)]
        module = record.module(held)
        bias, constants = record.take(held)
        record.add(
            Layer(
                f"{label} {module}" if module else f"{label}{len(record.layers)}",
                kind,
                count(outs[:1]),
                record.sources(read),
                nest,
                bias,
                "activations" if nest else "trained",
                constants,
                read=count(read),
                passes=passes,
            ),
            outs,
        )

    def _tell(self, what: str) -> None:
        where = self.within[-1] if self.within else "the model"
        self.record.notes[f"{where}: {what}: counted as one operation a value"] = None
