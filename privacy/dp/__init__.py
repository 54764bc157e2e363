"""Differential privacy: what is promised, the step that keeps the promise, and what was spent.

budget        [budget]: the unit, epsilon and delta, and the noise that they need
accounting/   closed forms of epsilon, and the noise that one needs
ledger        what each data set has spent, by the PRV accountant
journal       a device's own ledger on its disk, which survives a power cut
opacus        the door to Opacus: what is used of it
training      the private step: sample, clip, add noise, charge
sampling      who is in a batch
passes        which records are computed together
optimizer     Opacus's optimizer, with sums in float64 and noise in whole numbers
bookkeeping   per-record norms and clipped sums in one pass, layer by layer
taps          what each trained layer leaves behind in a pass
rules/        what each kind of layer adds to a record's norm and to the sum
compiled/     the same step as one program of kernels
kernels/      what numba compiles
clipping/     a clip that follows a quantile of clients' norms, by noisy counts
grid          sums in whole steps of a public size, and what rounding adds to a record's influence
noise         a Gaussian, rounded exactly
discrete      integer noise that many devices share
"""
