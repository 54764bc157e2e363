"""A trained run for use elsewhere.

firmware   C for a microcontroller
"""
