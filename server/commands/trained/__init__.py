"""Commands that use a trained run.

evaluate   figures on the test set
export     it as C for a microcontroller
infer      encrypted inference, here or at a service
serve      the inference service
statement  what it promises, and the evidence
"""
