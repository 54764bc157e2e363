"""Training on a device.

job           all the settings that a device may see
records       inputs and labels as the model reads them
backbones    public weights, kept under their SHA-256
net           a model as a device holds it
losses        what training makes small, by task
optimizers    how a step's gradient moves the weights
train         the local loop, evaluation
pruning       [pruning]: weights that are zero and stay zero
activations   those of a net that are pruned
compact       the smaller net that a net with pruned filters is
supernet      [supernet]: one net that many devices' nets are cut out of
elastic       layers of which a smaller net uses the first filters
compression   [compression]: an update in few bits
arrays        arrays in messages
"""
