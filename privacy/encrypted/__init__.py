"""Inference on encrypted inputs, and learning on encrypted records.

net            the layers that can be computed on ciphertexts
recipes        CKKS parameters that fit one another
layout         where numbers stand in the slots
plan           a net as a program: products, rotations, levels
ckks           PUBLIC: a planned program on ciphertexts
batch          PUBLIC: many inputs at once, one number in each ciphertext
programs       a program as files
signs          a binarized net: integers
boolean        PUBLIC: a binarized net as a circuit
trial          PUBLIC: what foreign keys are held against before they are kept
wire           frames and offers between client and service
keys           SECRET: CKKS
boolean_keys   SECRET: boolean FHE
ring/          ciphertexts as words: CKKS several times as fast
learning/      a training's steps on encrypted records
"""
