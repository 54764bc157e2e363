"""The data on a device.

sets        [data]: the data sets by name
partitions  who holds which of their records
idx         one IDX file, its header held against what follows
formats     files as people have them: IDX, npz, CSV
tables      CSV: names, numbers, and what is refused of them
schema      what an owner tells of a folder of records, once
distort     small random distortions of images
"""
