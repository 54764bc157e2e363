"""Training on records that the server cannot read, as a service.

service    the HTTP service
worker     one native process: it computes a step's gradient
courses    what is kept of each training: ciphertexts and public keys, on disk
loopback   a service of one's own, for a while
left       a lesson that is done, as a run directory
"""
