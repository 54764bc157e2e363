"""[attack]: how hard the adversary tries. A device never sees it."""

from pydantic import Field, model_validator

from privacy.settings import Section


class Attack(Section):
    """The adversary's means.

    Attributes:
        shadows: models trained on random halves of the pool; even, since they come in pairs.
        candidates: records whose gradients are held against each update; more is slower, by the
            cube.
        reconstruct: also invert updates.
        generators: and, where the model reads pixels, train generators, which takes longest.
        seed: of all that the adversary draws.
    """

    shadows: int = Field(default=8, ge=4)
    candidates: int = Field(default=2500, ge=20)
    reconstruct: bool = True
    generators: bool = True
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _in_pairs(self) -> "Attack":
        if self.shadows % 2:
            raise ValueError(f"shadows = {self.shadows}: they come in pairs; give an even number")
        return self
