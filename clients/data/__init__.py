"""The data on a device.

settings    [data]
dataset     a data set in memory, and who holds it
encodings   what a model reads of records that lie there compactly
sets        the data sets by name
files       a file or folder of somebody's own, as a data set
sources/    each form in which people hold records
told/       what an owner tells of a device's records, once
bounds      what is public of them: the schema
tasks       what a model is to say of a record
partitions  who holds which records
idx         one IDX file, its header held against what follows
formats     folders of IDX, npz, CSV of grey pictures
tables      CSV of pixels: names, numbers, and what is refused of them
distort     small random distortions of images
"""
