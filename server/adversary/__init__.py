"""A finished run before the adversary: Run -> Tape -> Leakage, and the audit of a run.

archive           its weights, checked
replay            a run as the adversaries see it
signature         by what shadows are known
pools             its records, what they are and whose
shadows           shadow models kept beside the runs
stages            what is done of an attack, kept
adversaries       who they are, and what each finds
answers           hidden columns and altered records, by what the last model says
reconstruction/   what could be drawn from a run's updates
auditing          a run's mechanism before the auditor
devices           its device's training, as the auditor calls it
servers           its server's release and strategy, too
counts            where its clip follows a quantile, the count of clients
nodes             the node's own process, from message to reply
mechanisms/       what reads records and is no training of a device, for the auditor
strangers/        what privet did not make: a training step, a finished model
"""
