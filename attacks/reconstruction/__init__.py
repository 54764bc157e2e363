"""What did the training records look like?

gradients   each record's own, of many at once
inversion   from a gradient to its record
features    from features to a record that has them
generator   what shared models take for a class (after Hitaj et al. 2017)
likeness    how near are two records?
strangers   is a drawn one nearer to its victim than strangers' are?
pictures    as PNG
"""
