"""A device: all that one edge node knows and does. It receives a `Job`, never an `Experiment`."""
