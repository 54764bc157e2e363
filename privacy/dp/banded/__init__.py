"""Noise that takes itself back from round to round, and costs what independent noise costs.

factors  the best Toeplitz matrix of so many bands
matrix   that matrix in whole numbers, and the noise of a run by it
"""
