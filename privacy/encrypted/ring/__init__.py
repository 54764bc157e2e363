"""Ciphertexts as words: the arithmetic of CKKS, several times as fast as through SEAL.

modular     numbers modulo a prime, exact in float64
transforms  polynomials to values and back
switching   key switches, in parts that are shared
seeds       the random half of what a client sends
foreign     SEAL's bytes, read and written
encoding    a plan's weights, as SEAL encodes them
program     PUBLIC: a planned program on words
engine      who computes a plan: this room, or SEAL
"""
