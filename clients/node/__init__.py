"""A device that takes part: from a message to a reply.

app       the ClientApp
request   what a server asks: parsed, and refused, before a record is read and anything charged
replies   what is said of an error: nothing that depends on a record
holder    who holds data, model and ledger between two messages
secure    a member of a sum that the server cannot open
mod       a ledger in a ClientApp that is not ours
machine   `privet node`: the device's own process, its records and its limit
forks     Flower's apps as forks, of what is installed and never of what was sent
query     a client of the encrypted inference service
"""
