"""Sums that a server cannot open.

terms           what the members of a sum agree on
roster          who they are, by their node keys
marks           SECRET: the steps that a device took, on disk
fixed_point     numbers as words that add without rounding
boxes           messages between members that the server passes on
shares          a secret in parts
masks           pairwise masks, and what is revealed to take them away
masking         SECRET: a member behind masks
unmasking       the server's half: from revealed parts to the sum
encrypted_sum   PUBLIC: CKKS ciphertexts, added
sum_keys        SECRET: a member under CKKS
"""
