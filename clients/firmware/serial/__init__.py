"""A board on a serial port, as `privet node` speaks to it; the board's side is serial.c.

frames     what goes over the line: framed, numbered, checked, bounded
lines      the line: a device file, or an emulated board
emulated   a board in the emulator whose flash is a file
remote     what is asked of a board, one request at a time
chain      a board's ledger, exported: whole, of its contract, and no older than what is known
"""
