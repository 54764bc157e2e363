"""What could be drawn from a run's updates, played out under its own settings.

play        who plays, and why some do not
inversions  from one record's gradient
generators  from what a generator learns of a victim
exhibits    drawn records as their owner would write them
victims     what both share
"""
