"""[budget]: what may be learned about one record, or about one client."""

from typing import Annotated, Literal

from pydantic import model_validator

from privacy.settings import Range, Section

LEAST_NOISE, MOST_NOISE = 1e-3, 1e6  # over `clip`; less is as good as none
LEAST_CLIP, MOST_CLIP = 1e-6, 1e6
MOST_OF_NOMINAL = 4  # times the public number of records that a device may have


class Budget(Section):
    """How much may be spent, on whom, and how gradients are clipped.

    Attributes:
        unit: whom the promise protects. `record`: each device runs DP-SGD (Abadi et al. 2016) and
            protects every one of its records, even from the server. `client`: a trusted server
            clips and noises whole updates (McMahan et al. 2018) and protects each client from
            those who see the models. `none`: no promise.
        epsilon: never exceeded. With no `noise_multiplier`, the noise is solved to meet it over
            the planned participation.
        delta: the probability with which the promise may fail.
        noise_multiplier: standard deviation of the noise over `clip` (sigma).
        clip: L2 norm to which a record's gradient (or a client's update) is clipped.
        clip_quantile: under `client`, the share of updates that the clip is to leave as they are:
            from round to round it follows that quantile of their norms, from `clip` on, by a noisy
            count (privacy.dp.clipping). 0: `clip` stays as it is.
        clip_rate: how fast: by a factor of exp(clip_rate) a round, if the count is all wrong.
    """

    unit: Literal["record", "client", "none"] = "record"
    epsilon: Annotated[float, Range(1e-6, 1e9)] | None = None
    # Below 1e-12 the accountant's own float64 sums of probabilities are no better than delta.
    delta: Annotated[float, Range(1e-12, 0.5)] = 1e-5
    noise_multiplier: Annotated[float, Range(LEAST_NOISE, MOST_NOISE, or_zero=True)] | None = None
    clip: Annotated[float, Range(LEAST_CLIP, MOST_CLIP)] = 1.0
    clip_quantile: Annotated[float, Range(0.01, 0.99, or_zero=True)] = 0.0
    clip_rate: Annotated[float, Range(1e-3, 10)] = 0.2

    @model_validator(mode="after")
    def _promise_is_stated(self) -> "Budget":
        if self.unit != "none" and self.epsilon is None and self.noise_multiplier is None:
            raise ValueError("give epsilon, or noise_multiplier, or unit = 'none'")
        return self

    def solve(self, sample_rate: float, steps: int) -> "Budget":
        """The same budget with its noise multiplier filled in.

        Args:
            sample_rate: probability q with which a unit takes part in a step.
            steps: all steps that a unit can take part in, over the whole plan.
        """
        if self.unit == "none" or self.noise_multiplier is not None or self.epsilon is None:
            return self
        from privacy.dp.accounting.solving import solve_noise_multiplier  # the accountant's torch

        sigma = solve_noise_multiplier(self.epsilon, self.delta, sample_rate, steps)
        return self.model_copy(update={"noise_multiplier": max(sigma, LEAST_NOISE)})
