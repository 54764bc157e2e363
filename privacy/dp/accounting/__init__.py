"""What steps cost beyond the accountant's grid, and how much noise a budget needs.

gaussian   closed forms: of the unsampled Gaussian, and when epsilon is 0
solving    the noise that meets an epsilon
selection  the best of a random number of trials
"""
