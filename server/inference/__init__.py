"""A run's model as a service on encrypted inputs.

program    a run compiled for a scheme
service    the HTTP service
worker     one native process: parsers and kernels that may die
workers    the pool of them
listen     the socket
loopback   a service of one's own, for a while
demo       questions to it, measured
"""
