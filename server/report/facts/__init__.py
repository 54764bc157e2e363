"""What a report tells, read from runs.

facts      all of it, frozen
findings   what attack, audit, cost and infer left
evidence   their documents, checked
reached    what the last model reaches on the test set, checked
leaks      what attack left, checked
values     a value of a document, or why it is none
cells      a sweep's cells
works      what a run's settings make of it
reading    the only reader of run directories
gaps       what is missing, and the commands that fill it
groups     runs that differ only in their seed
scores     the figures by which runs are compared, with intervals
since      the same figures of another report, and what changed
"""
