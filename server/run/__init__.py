"""What was run: the run directory, the only meeting place of all stages.

directory     the only file that knows the names in it
rounds        one record a round
logs          log lines off the terminal
environment   machine, versions, command
summary       a run in few numbers
"""
