"""The weights that a run kept, checked to be of its own model before an attack reads them."""

from torch import nn

from clients.training.net import fill
from privacy.errors import ModelError, RunError
from server.run.directory import Run, Weights


class Archive:
    """What the files in rounds/ hold. Each method raises RunError where it is another model's."""

    def __init__(self, run: Run, model: nn.Module) -> None:
        self._run, self._model = run, model

    def weights(self, number: int) -> Weights:
        """Global weights after a round."""
        return self._own(self._run.weights(number), f"{number:03d}")

    def update(self, number: int, client: int) -> Weights:
        """What a client released in a round."""
        return self._own(self._run.update(number, client), f"{number:03d}/{client:04d}")

    def _own(self, weights: Weights, stem: str) -> Weights:
        try:
            fill(self._model, weights)
        except ModelError as error:
            raise RunError(f"{self._run.path}/rounds/{stem}.safetensors: {error}") from None
        return weights
