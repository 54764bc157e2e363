"""Files of data, written for tests."""


def write_idx(folder, name, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    (folder / name).write_bytes(header + array.tobytes())
