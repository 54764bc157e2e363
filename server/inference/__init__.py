"""A run's model as a service on encrypted inputs.

program    a run compiled for a scheme
layers     a model's layers as affine maps and squares
polynomials  quadratics that stand for other activations
synthetic  images that nobody took, on which a plan's ranges are measured
limits     what clients may do
gate/      what stands between them and the workers
service    the HTTP service
replies    what a service says of an answer, and of what it refuses
worker     one native process: parsers and kernels that may die
workers    such a process, as the service sees it
pool       all of them, kept running
listen     the socket
loopback   a service of one's own, for a while
demo       questions to it, measured
learning/  training on records that the server cannot read
"""
