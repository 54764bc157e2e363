"""What is to be run: an experiment file, and the ready ones in `ready/`.

experiment   a Job, and what only the server may know
strategy     [strategy]
beginning    a first one, drafted for somebody's own records
prepared     what a run of one begins with; refused here if it cannot be run
plans        what one will promise and need, before it runs
named        the ready ones by name; settings by what else they are called
loading      an experiment from its file
conditions   what holds of an experiment
lessons      a lesson of encrypted learning from its file
effects      which settings have an effect, and when
idle         those that have none: refused, or put out of force
promise      what a run promises, in words, and for whom it does not hold
secrecy      what a server gives up that is to see sums only
"""
