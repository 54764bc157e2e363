"""What an owner tells of records, once, before any server asks.

All that a node says of its data follows from this, so that no answer that costs nothing depends on
a record: neither the greatest label among them nor how many there are.

pictures  a folder of grey pictures
source    records in a file, with a schema
coverage  what an epsilon of such records covers
"""
