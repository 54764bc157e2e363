"""Nets cut out of a run's supernet: post-processing of what was released, so no budget is spent.

    privet extract RUN --chip stm32h743 --latency-ms 1

candidates  which nets there are, and what each needs on a chip
features    what the accuracy of a net is predicted from
extraction  the best that fits, as a run directory
"""

from server.extract.extraction import Extracted, extract

__all__ = ["Extracted", "extract"]
