"""The data on a device.

sets      [data]: the data sets by name, and who holds which of their records
formats   files as people have them: IDX, npz, CSV
distort   small random distortions of images
"""
