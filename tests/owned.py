"""Records as people hold them, small: tables, pictures and sounds, with their schemas."""

import io
import tarfile
import wave

import numpy as np
from PIL import Image

from clients.data.bounds import Column, Schema
from clients.data.files import load_file
from clients.data.settings import Data

PATIENTS = Schema(
    labels=("well", "ill"),
    columns={
        "age": Column(low=0.0, high=100.0),
        "dose": Column(low=0.0, high=1000.0, log=True, missing=("NA",)),
        "ward": Column(values=("north", "south"), missing=("?",)),
    },
)
SENSOR = Schema(
    labels=("1", "2"),
    unlabelled=("-1",),
    rate_hz=50.0,
    columns={"x": Column(low=-2.0, high=2.0), "y": Column(low=-2.0, high=2.0)},
)
PETS = Schema(labels=("cat", "dog"))
WORDS = Schema(labels=("no", "yes"), rate_hz=8000.0, length_s=0.05)


def load_from(path, schema, **settings):
    """A data set of a file."""
    return load_file(Data(name="file", path=str(path), schema=schema, **settings))


def patients(num=40, seed=0):
    """Rows of a table with a header."""
    rng = np.random.default_rng(seed)
    rows = ["person,age,dose,ward,state"]
    for n in range(num):
        dose = "NA" if n % 7 == 0 else f"{rng.integers(0, 1000)}"
        ward, state = rng.choice(["north", "south", "?"]), rng.choice(["well", "ill"])
        rows.append(f"p{n % 5},{rng.integers(0, 100)},{dose},{ward},{state}")
    return rows


STAYS = PATIENTS.model_copy(update={"low": 0.0, "high": 10.0})
TASKS = {"classes": ("state",), "labels": ("pain", "fever"), "number": ("stay",), "itself": ()}


def stays(folder, task, num=120):
    """Patients of whom each task asks something: what a model is to say of them."""
    rng = np.random.default_rng(1)
    header, *rows = patients(num)
    said = [f"{rng.uniform(0, 10):.2f},{rng.integers(2)},{rng.integers(2)}" for _ in rows]
    told = [f"{row},{one}" for row, one in zip(rows, said, strict=True)]
    path = write_table(folder / "stays.csv", [f"{header},stay,pain,fever", *told])
    return Data(name="file", path=str(path), schema=STAYS, task=task, target=TASKS[task])


def write_table(path, rows, end="\n"):
    """A table."""
    path.write_bytes(end.join([*rows, ""]).encode())
    return path


def sensor(persons=3, runs=((1, 70), (-1, 20), (2, 50)), seed=0):
    """A recording of each person: runs of labels, (label, samples) each."""
    rng = np.random.default_rng(seed)
    rows = ["person,label,x,y"]
    for person in range(persons):
        for label, samples in runs:
            for _ in range(samples):
                x, y = rng.uniform(-2, 2, 2)
                rows.append(f"{person},{label},{x:.4f},{y:.4f}")
    return rows


def picture(seed=0, size=(8, 8), kind="PNG"):
    """An image file's bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(out := io.BytesIO(), kind)
    return out.getvalue()


def sound(samples, rate_hz=8000, channels=1):
    """A WAV file's bytes."""
    with wave.open(out := io.BytesIO(), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return out.getvalue()


def write_tree(folder, files):
    """Files by their paths in a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path, files):
    """The same in a tar."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
