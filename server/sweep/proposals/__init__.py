"""Which point of the axes a search tries next, after what it has tried.

told       what was tried, and a point as numbers
parzen     what Optuna's estimators propose
screening  what a predictor expects most of, out of a thousand points
evolution  a child of those that were best, or a point from anywhere
"""
