"""Where operands live.

peak     the most memory that a step holds at once
reload   how often operands cross between DRAM and buffer
"""
