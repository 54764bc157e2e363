"""Does the mechanism do what it claims?

claim      what a training step promises, and the rounds that the auditor lets it run
noise      tests of the noise's law
canaries   lower bounds of epsilon from planted records
verdict    all tests together
"""
