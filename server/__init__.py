"""Top floor: coordinates, observes, tells. One experiment file in, one run directory out.

Each room sees only those below it:

cli           `privet`: exit status and error lines
commands/     its commands
export/       a run's model, as others read it
extract/      nets cut out of a run, for a device each
report/       runs -> one page
watch/        runs as they go, on a page
sweep/        many experiments, one table
adversary/    a finished run before the adversary and the auditor
cost/         what a run costs on a chip
inference/    a run's model as a service on encrypted inputs
engines/      what carries messages to clients
federation/   the rounds
run/          the run directory
experiment/   the experiment file
reference     every command and public function, by their docstrings
predictor     what is expected of something that nobody asked yet
garbage       how often Python looks for it
console       what people see on their terminal
"""
