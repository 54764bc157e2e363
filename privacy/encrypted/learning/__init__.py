"""Learning on encrypted records: what a server computes of a step, and what it cannot know.

residual   a polynomial in the sigmoid's place, and how far one record can move a step
course     what both sides know of a training: shapes, levels, scales
steps      PUBLIC: a step's gradient, from ciphertexts to ciphertexts
owner      SECRET: whose records they are: keys, encryption, decryption
"""
