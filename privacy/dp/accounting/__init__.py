"""What steps cost, and how much noise a budget needs.

spent      steps, by what they cost
prv        the accountant
memo       what it told, to be shown again
gaussian   closed forms: of the unsampled Gaussian, and when epsilon is 0
parts      of scipy, without the packages around them
solving    the noise that meets an epsilon
selection  the best of a random number of trials
"""
