"""The commands of `privet`, a module for each family; thin: they parse, call one function, print.

Heavy packages are imported inside the functions, so that `privet list` answers at once.
"""
