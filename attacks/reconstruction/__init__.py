"""What did the training records look like?

inversion   from a gradient to its record
features    from features to a record that has them
gan         a generator against the shared model (Hitaj et al. 2017)
likeness    how near are two records?
strangers   is a drawn one nearer to its victim than strangers' are?
pictures    as PNG
"""
