"""What a run, or a ready model, costs on a chip: inference, a training step, a federated round.

A model that stands on a fixed transform is priced with it. A device computes the transform of its
records once, before its first round, and keeps what it gives: that is the preparation, and a step
begins there. An inference is of a new record, so it begins with the transform.

reports    latency, energy and memory, as data
own        a run on a microcontroller, in its own C where it has one
counted    the same of a board's own C, counted in an emulator: how far the model is off
subjects   what is priced, and in which numbers
here       what training takes on this machine
events     spikes and p-bits counted on test records, and what they cost on event-driven chips
zeros      what pruning leaves of a net, and the zeros that a chip may skip
saved      what those save, in theory and by the model
asked      the records and settings of a model without a run
graphs     a graph of ONNX as such a model
nodes      its operations as torch's
"""

from server.cost.own import cost_of_experiment, cost_of_run
from server.cost.reports import Report, cost_of_model

__all__ = ["Report", "cost_of_experiment", "cost_of_model", "cost_of_run"]
