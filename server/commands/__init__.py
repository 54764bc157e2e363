"""The commands of `privet`, a module for each family; thin: they parse, call one function, print.

Heavy packages are imported inside the functions, so that `privet list` answers at once.

runs       run, resume, show, list
beginning  new, plan
attack     attack
audit      audit
cost       cost
sweep      sweep
report     report, reference
watch      watch
data       data
invert     invert
learn      learn, serve-learning
deploy     link, node, keys
trained/   evaluate, export, infer, serve, statement
options    what several of them take
"""
