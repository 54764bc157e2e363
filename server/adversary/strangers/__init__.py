"""What privet did not make, before its adversaries and its auditor: of the user's own files.

steps     a training step, FILE:FUNCTION
flower    Flower's mods and strategies of DP as such a step
models    a finished model: FILE.py:NAME with safetensors, or ONNX
records   those that it was trained on, and others, each from numpy's npz
finished  what the model tells of them
"""
