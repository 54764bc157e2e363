"""Was this record among the training records?

signals     what a model tells of a record
shadows     models trained under the run's recipe, with and without a record
batches     of many shadows at once
axes        wide inputs on their principal axes, so that shadows are quick
scores      the attacks, and the choice among them
alone       those that need no shadows, on a model that nobody says how to train
persons     was a whole person trained on?
federated   what updates tell to who reads them
"""
