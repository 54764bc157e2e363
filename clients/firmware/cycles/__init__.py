"""What our C takes on a core, without a compiler: each loop's trips, and what a trip takes.

trips      how often each loop runs in a step, by its own bounds
predicted  times what a trip takes, by the table: as if it had been counted
drawn      nets at random
measure    makes the table of such nets, counted in the emulator; its error is of others
"""
