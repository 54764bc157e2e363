"""An owner of records, whose model is trained where nobody can read them.

settings   a lesson: data, steps, and what may be learned about a record
descent    Nesterov's steps on gradients that come back encrypted, with the noise that a budget asks
refreshes  after how many steps they come: what each choice takes
plan       what a lesson sends, takes and promises, before it begins
desk       what the owner keeps between two steps: key, weights, ledger
link       the service that computes, asked
shares     records on their way there, of one owner or several
course     all of it in order: from records to a model
"""
