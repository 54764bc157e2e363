"""A device's records, as folders of files of every kind, sound or not; and damage. By a seed."""

import gzip
import struct

import numpy as np

ENCODINGS = (*["utf-8"] * 20, "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")
CELLS = (
    "",
    " ",
    "x",
    "-1",
    "256",
    "1.5",
    "1e3",
    "NaN",
    "inf",
    "0x1",
    "１",
    "1,5",
    '"1"',
    "+1",
    "1e400",
    "\x00",
)


def table(rng):
    """A CSV file of small pictures, sound or not."""
    side, num = rng.choice((1, 2, 3, 4)), rng.choice((0, 1, 2, 5, 30, 30))
    classes = rng.choice((1, 2, 2, 3, 3, 3, 3, 300))
    rows = []
    for _ in range(num):
        rows.append([rng.randrange(classes), *(rng.randrange(256) for _ in range(side * side))])
    rows = [[str(cell) for cell in row] for row in rows]
    how = rng.choice((*["sound"] * 9, "cell", "row", "wide", "gap", "quoted"))
    if rows and how == "cell":
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    elif rows and how == "row":
        rng.choice(rows)[1:] = [] if rng.random() < 0.5 else ["1"] * 50
    elif how == "wide":
        rows = [[*row, "7"] for row in rows]
    elif how == "gap":
        rows = [[str(int(row[0]) * rng.choice((1, 25, 1000))), *row[1:]] for row in rows]
    elif how == "quoted":
        rows = [[f'"{cell}"' for cell in row] for row in rows]
    if rng.random() < 0.4:
        names = [f"pixel{i}" for i in range(side * side)]
        at = rng.choice((0, 0, len(names)))
        rows.insert(0, [*names[:at], rng.choice(("label", "y", "class", "")), *names[at:]])
    separator = rng.choice((",", ",", ",", ";", "\t", " ", "|"))
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(row) for row in rows)
    content = (text + rng.choice(("\n", "", "\n\n"))).encode(rng.choice(ENCODINGS), "replace")
    return content if rng.random() < 0.8 else damage(content, rng)


def arrays(rng):
    """The arrays of an npz file, sound or not."""
    num, side, classes = rng.choice((0, 1, 2, 20)), rng.choice((1, 2, 4, 8)), rng.choice((1, 3, 10))
    draw = np.random.default_rng(rng.randrange(1 << 30))

    def part(num):
        return draw.integers(0, 256, (num, side, side)), draw.integers(0, classes, num)

    (x, y), (test_x, test_y) = part(num), part(rng.choice((0, 1, 5)))
    found = {"train_x": x, "train_y": y, "test_x": test_x, "test_y": test_y}
    found = {name: array.astype(np.uint8) for name, array in found.items()}
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        name = rng.choice(sorted(found))
        kind = rng.choice(("gone", "type", "shape", "flat", "beyond", "short", "scalar"))
        if kind == "gone":
            del found[name]
        elif kind == "type":
            found[name] = found[name].astype(rng.choice(("f4", "i8", "i1", "?", "c8", "U3", "f2")))
        elif kind == "shape":
            found[name] = found[name][..., None]
        elif kind == "flat":
            found[name] = found[name].reshape(-1)
        elif kind == "beyond":
            found[name] = found[name].astype("u1") | 128
        elif kind == "short" and found[name].ndim:
            found[name] = found[name][1:]
        else:
            found[name] = np.uint8(3)
    return found


def idx(array):
    """An IDX file."""
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def records(folder, rng):
    """Fill a folder with what is meant to be a device's records."""
    folder.mkdir()
    kind = rng.choice(("csv", "csv", "npz", "npz", "idx", "nothing", "both"))
    if kind in ("csv", "both"):
        (folder / "train.csv").write_bytes(content := table(rng))
        if rng.random() < 0.4:
            (folder / "test.csv").write_bytes(content if rng.random() < 0.5 else table(rng))
    if kind in ("npz", "both"):
        np.savez(folder / "data.npz", **arrays(rng))
        if rng.random() < 0.2:
            (folder / "data.npz").write_bytes(damage((folder / "data.npz").read_bytes(), rng))
    if kind == "idx":
        found = arrays(rng)
        for name, stem in (("train", "train"), ("test", "t10k")):
            for axis, ending in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte")):
                if f"{name}_{axis}" in found:
                    content = idx(np.asarray(found[f"{name}_{axis}"]).real)
                    content = content if rng.random() < 0.9 else damage(content, rng)
                    packed = rng.random() < 0.3
                    path = folder / f"{stem}-{ending}{'.gz' * packed}"
                    path.write_bytes(gzip.compress(content) if packed else content)


def damage(content, rng):
    """Cut, changed, longer, emptied, or of something else."""
    kind = rng.choice(("cut", "bits", "bits", "longer", "empty", "noise", "other"))
    if kind == "cut":
        return content[: rng.randrange(len(content) + 1)]
    if kind == "bits" and content:
        found = bytearray(content)
        for _ in range(rng.randint(1, 5)):
            found[rng.randrange(len(found))] = rng.randrange(256)
        return bytes(found)
    if kind == "longer":
        return content + content[: rng.randrange(len(content) + 1)]
    if kind == "noise":
        return rng.randbytes(rng.randrange(200))
    return rng.choice(OTHER) if kind == "other" else b""


OTHER = (
    b"{}",
    b"[]",
    b"null",
    b"0",
    b'"x"',
    b'{"a": []}',
    b"[" * 100_000,
    b"NaN",
    b"\xff\xfe{}",
    b"[{}]\n",
    b"[[1]]",
)
