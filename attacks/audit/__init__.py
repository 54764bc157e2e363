"""Does the mechanism do what it claims?

claim         what is promised of a step, and the rounds that the auditor lets it run
noise         its deviation, law and grid, heard where there is nothing else
banded        is noise what it should be, of which later rounds take a part back?
lessons       targets that teach nothing, or much, under each task
repetition    is any of it used twice?
keys          are there 256 bits behind it?
entropy       the auditor in the operating system's place
sensitivity   what one record can move, wherever it stands
sampling      are batches drawn as is charged?
steps/        all of it for a training step that is not ours
planted       canaries through the shipped step, from the model's worst start
canaries      lower bounds of epsilon from what they showed
tradeoff      how little noise there must be, for an adversary to err so seldom
verdict       all tests together
"""

from attacks.audit.steps import Claims, Found, audit_step

__all__ = ["Claims", "Found", "audit_step"]
