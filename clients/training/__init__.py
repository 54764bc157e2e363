"""Training on a device.

job           all the settings that a device may see
records       inputs and labels as the model reads them
outline       what can be said of a net before it is trained
net           a model as a device holds it
gpu           where a step is computed: on a processor or on a GPU
losses        what training makes small, by task
optimizers    how a step's gradient moves the weights
train         the local loop, evaluation
pruning       [pruning]: weights that are zero and stay zero
activations   those of a net that are pruned
plain/        a net in torch's own layers, and how one of words is asked
smaller/      smaller nets out of a net, and a net that is trained to be cut
compression   [compression]: an update in few bits
arrays        arrays in messages
flat          weights one behind the other
"""
