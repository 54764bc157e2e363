"""A trained run for use elsewhere.

firmware   C for a microcontroller
heard      the auditor before an emulated board
"""
