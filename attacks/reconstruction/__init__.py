"""What did the training records look like?

inversion   from a gradient to its record
gan         a generator against the shared model (Hitaj et al. 2017)
likeness    how close a reconstruction is, against strangers' records
pictures    as PNG
"""
