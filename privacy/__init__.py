"""Ground floor: the promises and the mathematics of protection.

Nothing here knows what a client, a server or an attack is. This is the one door to Opacus, TenSEAL
and Concrete. Three wings, blind to one another but for the noise that sums draw, on one landing.

dp/          differential privacy: the budget, the private step, the ledger, the noise
sums/        sums that a server cannot open
encrypted/   inference on encrypted inputs
compiling    how kernels are compiled, and found again
cipher       keys of 256 bits, and the words that ChaCha20 makes of them
errors       all that can go wrong, each with its exit status
text         UTF-8, or refused by the name of what it is
settings     TOML tables as frozen sections, with located errors
documents    JSON that every reader takes
memo         what took long to find out, to be shown again
foreign      files that others made: regular, of bounded size, no links
files        written whole or not at all, held by one process
authority    who may take part: keys and certificates
security     how hard the lattices are: tables, and an estimate
seal         the door to SEAL: contexts, and its objects as bytes
sealed       the envelope of SEAL's files, checked before SEAL sees it
"""
