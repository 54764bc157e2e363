"""A board that trains: between what a job asks and the C that its owner flashed.

nets       a net and its arithmetic, as a board is to have them
fronts     what stands before a net, as a board is to have it
jobs       what of a job has C, and what of it a board must have been made for
flashed    an export that is on a board: its contract, and its program for the emulator
board      a board in the place of the local loop, and its ledger beside the node's
"""
