"""What a page tells: a matrix, sections made of blocks, and evidence.

blocks        what a section is made of
story         all of it, in the order in which a reader asks
referee       does the arithmetic protect: a sweep over arithmetics
matrix        the first screen: axes by promises, a figure and its interval a cell
tradeoffs     curves, and what a promise cost
changes       what is otherwise than in another report
dossiers      all evidence of one run
reached       what is reached on the test set, by class
promises      what is claimed, audited and attacked
records       what is drawn or guessed of records and persons
devices       what devices pay, and encrypted questions
pruning       what fewer weights and zeros save of it
federations   clients and their data
"""
