"""Commands that use a trained run.

evaluate   figures on the test set
export     the model in forms that others read
extract    the net for one device, out of a run that trained many
firmware   the model and its private step as C, checked and audited in an emulator
infer      encrypted inference, here or at a service
serve      the inference service
statement  what it promises, and the evidence
"""
