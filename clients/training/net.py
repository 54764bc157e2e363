"""Net: a model as a device holds it, compiled if every one of its layers has a kernel."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clients.arithmetic import Arithmetic
from clients.arithmetic.passes import begin_pass, constrain, dice_of
from clients.arithmetic.spiking.chain import most_numbers
from clients.draws import digest
from clients.models import Model, architecture_of, form_behind
from clients.models.adapt import adapt
from clients.models.norms import without_batch_norm
from clients.models.own import require_fit, takes_layers
from clients.models.sources import is_own
from clients.protocol import Form, Layers
from clients.training import gpu
from clients.training.activations import keep_of_activations
from clients.training.flat import Layout, Start, layout_of
from clients.training.job import MOST_WEIGHTS
from clients.training.plain import answering
from clients.training.pruning import Pruning
from clients.training.smaller.cutting import Elastics
from privacy.cipher import Key
from privacy.dp.compiled import Program, Shape
from privacy.dp.training import PIECE
from privacy.errors import ModelError

FLOAT, WHOLE = Arithmetic(), Pruning()
WORKSPACE = 1 << 20  # numbers between two layers of a net over time: they stay in the cache
IN_CACHE = 128  # records at a time, where all that is between two layers is written to memory
# What initial weights are made by, in torch's own layers and in ours.
DRAWN = {"kaiming_uniform_", "uniform_", "normal_", "ones_", "zeros_", "fill_", "zero_"}


def build(
    model: Model, form: Form, arithmetic: Arithmetic = FLOAT, pruning: Pruning = WHOLE
) -> nn.Module:
    """Build an untrained model; its initial weights come from torch's global generator.

    Args:
        form: of the records, before the model's fixed transform, if it has one.
        arithmetic: in which numbers it computes.
        pruning: whether all that its activations give is kept.

    Raises:
        ModelError: the model cannot take such images, or the arithmetic has not all of its layers.
    """
    net = _pooled(model, form, arithmetic)
    return net if pruning.activation == "none" else keep_of_activations(net, pruning.activation)


def _pooled(model: Model, form: Form, arithmetic: Arithmetic) -> nn.Module:
    layers = arithmetic.layers()
    if arithmetic.name != "float" and not takes_layers(model):
        raise ModelError(
            f"[arithmetic] name = {arithmetic.name!r}: {model.name} is made of torch's own layers, "
            "which compute in float; use name = 'float', or ask for `layers` in its signature"
        )
    if arithmetic.name != "float" and model.adapt not in ("all", "head"):
        raise ModelError(
            f"[model] adapt = {model.adapt!r}: stands beside layers of floats; use [arithmetic] "
            "name = 'float', or adapt = 'head'"
        )
    read, pool = form_behind(model, form), model.pool
    if pool == 1:
        return _built(model, read, layers)
    *channels, height, width = (1, *form.shape) if len(form.shape) > 1 else (1, 1, 1)
    if form.kind != "picture" or read != form or height % pool or width % pool:
        raise ModelError(
            f"[model] pool = {pool}: the {_sides(form.shape)} inputs of {model.name} cannot be "
            "pooled so; use 1, or a divisor of both sides and a model that reads pixels"
        )
    pooled = (*channels[1:], height // pool, width // pool)
    built = _built(model, form._replace(shape=pooled), layers)
    chain = built.children() if type(built) is nn.Sequential else [built]
    return nn.Sequential(nn.AvgPool2d(model.pool), *chain)


def _built(model: Model, form: Form, layers: Layers) -> nn.Module:
    net = architecture_of(model).build(model, form, layers)
    if is_own(model.name):
        net = without_batch_norm(net)
        require_fit(net, model, form)
    return adapt(net, model.adapt)


def frozen(model: Model, form: Form, arithmetic: Arithmetic) -> frozenset[str]:
    """Names of the weights that no device trains: what an update says of them is rounding, or
    noise that was added to all."""
    if model.adapt == "all" and not is_own(model.name):
        return frozenset()
    with torch.random.fork_rng(devices=[]):
        net = build(model, form, arithmetic)
    return frozenset(name for name, p in net.named_parameters() if not p.requires_grad)


def require_size(model: Model, form: Form, arithmetic: Arithmetic = FLOAT) -> None:
    """Refuse a net that is too large before memory is given to it, but for a user's own, whose code
    takes what it likes.

    Raises:
        ModelError: a device takes no such net.
    """
    if not is_own(model.name):
        with without_memory():
            require_few(build(model, form, arithmetic).state_dict())


def require_few(arrays: Mapping[str, Tensor]) -> None:
    """Raises ModelError: more weights than a device takes."""
    if (size := sum(one.numel() for one in arrays.values())) > MOST_WEIGHTS:
        raise ModelError(
            f"[model]: {size:,} weights; a device takes up to {MOST_WEIGHTS:,}: ask for a smaller "
            "net"
        )


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def without_memory() -> Iterator[None]:
    """Models that are built have shapes and no weights: none is drawn, for which torch's `meta`
    device would import its compiler."""
    with torch.device("meta"), _Undrawn():
        yield


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def fill(model: nn.Module, weights: Mapping[str, NDArray]) -> None:
    """Put weights from a file or a message into a model.

    Raises:
        ModelError: they are another model's.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: array.shape for name, array in weights.items()}
    if own != given:
        name = min(name for name in own | given if own.get(name) != given.get(name))
        raise ModelError(
            f"the weights are another model's: {name} has shape {_shape(given, name)}, and here "
            f"{_shape(own, name)}; keep the [model], the data and the [arithmetic] of its training"
        )
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return str(list(shapes[name])) if name in shapes else "none"


class Net:
    """A model, and its compiled program.

    Args:
        module: its weights become views of the program's.
        inputs: shape of one record.
        compiled: look for a program.
        device: where it is trained, a key of `gpu.DEVICES`; a program is for processors.

    Attributes:
        program: None if a layer has no kernel.
        layout: of all its weights, where the program's are they; else None.
        piece: records of a pass in training, where few fit in the cache, or many on a GPU; None:
            as many as usual.
    """

    def __init__(
        self, module: nn.Module, inputs: Shape, *, compiled: bool = True, device: str = "cpu"
    ) -> None:
        self.module = module
        self.device = device
        self.program = Program.of(module, inputs) if compiled and device == "cpu" else None
        self._views = module.state_dict() if self.program else None
        self.layout = self._lies()
        self._arrays = None if self._views is None else _arrays(self._views)
        self._start: Start | None = None  # what was put in, and not trained since
        self._dice = dice_of(module)
        numbers = most_numbers(module, inputs)
        self.piece = min(PIECE, max(1, WORKSPACE // numbers)) if numbers else None
        if device != "cpu":
            self.piece = gpu.at_once(module)

    def _lies(self) -> Layout | None:
        if self.program is None or self._views is None:
            return None
        layout = layout_of(_arrays(self._views))
        return layout if layout and layout.is_of(self._views, self.program.flat.data) else None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What an optimizer trains."""
        if self.program is not None:
            return [self.program.flat]
        return [p for p in self.module.parameters() if p.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """All weights by name, sharing their memory."""
        return self.module.state_dict() if self._views is None else self._views

    def arrays(self) -> Mapping[str, NDArray]:
        """As `state`, as numpy's."""
        return _arrays(self.state()) if self._arrays is None else self._arrays

    def at_work(self) -> AbstractContextManager[torch.device]:
        """While open, its weights are where it is trained; then they are back, for all else.

        Raises:
            ModelError: a GPU cannot do it.
        """
        return gpu.on(self.device, self.module)

    def begin_round(self, number: int) -> None:
        """Be ready to train, in a round that is counted from 1."""
        if isinstance(self.module, Elastics):
            self.module.begin_round(number)
        if self.program is None:  # whose layers know no modes
            self.module.train()

    def begin_pass(self, step: Key, records: Tensor) -> None:
        """Before a pass over some records, by number, of a step: the arithmetic's randomness."""
        if isinstance(self.module, Elastics):
            self.module.choose(step)
        if self._dice:
            begin_pass(self._dice, step, records)

    def constrain(self) -> None:
        """After an update: bring the weights back to where the arithmetic can hold them."""
        if self.program is None:
            constrain(self.module)

    def start(self, start: Start) -> None:
        """Take over weights with which a round begins; to be followed by its training."""
        if self.layout is not None and self.program is not None:
            self.program.flat.data.copy_(start.flat)
        else:
            self.load(start.state)
        self._start = start

    def flat(self) -> NDArray:
        """A copy of all weights, one behind the other; of a net that has a layout."""
        assert self.program is not None
        return self.program.flat.data.numpy().copy()

    def take_digest(self) -> bytes:
        """SHA-256 of all weights, asked by whoever trains them next."""
        start, self._start = self._start, None
        return start.digest if start else digest(self.state().values())

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over weights."""
        self._start = None
        own = self.state()
        if own.keys() != state.keys() or any(own[k].shape != state[k].shape for k in own):
            self.module.load_state_dict(state)  # which says what is wrong
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def logits(self, x: Tensor) -> Tensor:
        """Outputs [B, classes] for inputs [B, ...], without gradients. Any thread may ask."""
        if self.program is not None:
            return self.program.logits(x)
        self.module.eval()
        with torch.no_grad():
            net = answering(self.module)
            blocks = [x] if net is self.module else x.split(IN_CACHE)
            return torch.cat([net(block) for block in blocks])


def _arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray]:
    return {name: tensor.numpy() for name, tensor in state.items()}
