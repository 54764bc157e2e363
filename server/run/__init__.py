"""What was run: the run directory, the only meeting place of all stages.

directory     the only file that knows the names in it
names         of runs: what may be one, and which is older
rounds        one record a round
figures       of merit, by task
resampling    how far a figure would move on other test records
merit         what the last model reaches on the test set, by class
spikes        of neurons that fire: early answers, dead layers
logs          log lines off the terminal
divergence    training that left the numbers
draws         secure noise that was drawn, and what of it was lost
origin        made here or elsewhere, and what of it is believed
environment   machine, versions, command
summary       a run in few numbers
"""
