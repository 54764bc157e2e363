"""Folders, archives and arrays as people hold them, small, with their schema; by a seed."""

import numpy as np
import owned
from owned_drawn import SOUND, Owned, table, windows
from records_drawn import damage

PATTERNS = ("{label}", "{a}", "{label}_{label}", "({label}", "")


def files(folder, rng):
    """Pictures or sounds: class folders, a pattern, or a tar."""
    kind = rng.choice(("picture", "sound"))
    labels, num = rng.choice((("cat", "dog"), ("0", "1", "2"))), rng.choice((1, 2, 6, 20))
    persons, pattern = rng.choice((1, 2, 3)), rng.random() < 0.5
    size, schema = rng.choice(((8, 8), (8, 8), (16, 8), (32, 32))), {"labels": list(labels)}
    schema |= {"rate_hz": 8000.0, "length_s": 0.05} if kind == "sound" else {}
    if kind == "picture":
        schema |= rng.choice(({}, {"channels": 1}, {"size": [12, 12]}, {"size": [8, 8]}))
    end = rng.choice(("png", "jpg")) if kind == "picture" else "wav"

    def content(seed):
        if kind == "picture":
            return owned.picture(seed, size, {"png": "PNG", "jpg": "JPEG"}[end])
        return owned.sound(np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, 400))

    tree = {}
    for n in range(num):
        label = labels[n % len(labels)]
        place = f"{label}_p{n % persons}_{n}" if pattern else f"{label}/p{n % persons}_{n}"
        tree[f"{place}.{end}"] = content(n)
    data = {"pattern": f"{{label}}_{{person}}_{{n}}.{end}"} if pattern else {}
    data |= {"person": "person"} if pattern and rng.random() < 0.6 else {}
    data |= {"task": "itself"} if rng.random() < 0.15 else {}
    found = Owned(folder / "data", kind, schema, data, num=num)
    if rng.random() > SOUND:
        name = rng.choice(sorted(tree))
        found.flaw = rng.choice(
            ("damaged", "size", "other kind", "pattern", "label", "person", "target", "stereo",
             "task", "channels", "nothing", "rate", "name", "length", "parts")
        )  # fmt: skip
        change = {
            "damaged": {name: damage(tree[name], rng)},
            "size": {name: owned.picture(0, (5, 3))},
            "other kind": {f"{labels[0]}/x.wav": owned.sound([1] * 400)},
            "stereo": {name: owned.sound([1] * 800, channels=2)},
            "rate": {name: owned.sound([1] * 400, 44_100)},
            "length": {name: owned.sound([])},
            "label": {name.replace(labels[0], "bird").replace(labels[1], "bird"): tree[name]},
            "name": {f"{labels[0]}/\udc80 \n.{end}": tree[name]},
        }
        tree |= change.get(found.flaw, {})
        if found.flaw == "nothing":
            tree.clear()
        elif found.flaw == "parts":
            tree = {f"{rng.choice(('train', 'test'))}/{k}": v for k, v in tree.items()}
        data |= {
            "pattern": {"pattern": rng.choice(PATTERNS)},
            "person": {"person": rng.choice(("person", "label", "n", "nobody"))},
            "target": {"target": "label"},
            "task": {"task": rng.choice(("labels", "number"))},
        }.get(found.flaw, {})
        schema |= {"low": 0.0, "high": 3.0} if data.get("task") == "number" else {}
        schema |= {"channels": {"channels": 2}, "length": {"length_s": 0.002}}.get(found.flaw, {})
    if rng.random() < 0.3:
        tree = {ascii(name)[1:-1]: content for name, content in tree.items()}
        found.path = owned.write_tar(folder / "data.tar", tree)
    else:
        found.path.mkdir()
        owned.write_tree(found.path, tree)
    return found


def arrays(folder, rng):
    """Arrays of some shape, and type."""
    draw, num = np.random.default_rng(rng.randrange(1 << 30)), rng.choice((1, 2, 20, 40))
    classes = rng.choice((2, 2, 3))
    kind, shape = rng.choice(
        (("table", (3,)), ("window", (2, 16)), ("picture", (8, 8)), ("picture", (3, 8, 8)),
         ("picture", (8, 8, 3)))
    )  # fmt: skip
    if kind == "picture":
        x, schema = draw.integers(0, 256, (num, *shape), np.uint8), {}
    else:
        x = draw.normal(size=(num, *shape)).astype(rng.choice(("f4", "f8")))
        schema = {"columns": {"v": {"low": -2.0, "high": 2.0}}, "rate_hz": 50.0}
    schema["labels"] = [str(n) for n in range(classes)]
    parts = {"train_x": x, "train_y": draw.integers(0, classes, num)}
    found = Owned(folder / "data.npz", kind, schema, num=num)
    if rng.random() < 0.4:
        parts |= {"test_x": x[: num // 2], "test_y": parts["train_y"][: num // 2]}
        found.num += num // 2
    if rng.random() > SOUND:
        found.flaw = rng.choice(
            ("gone", "type", "shape", "short", "label", "nan", "task", "target", "person", "bounds",
             "scalar", "damaged", "float labels")
        )  # fmt: skip
        name = rng.choice(sorted(parts))
        if found.flaw == "gone":
            del parts[name]
        elif found.flaw == "type":
            parts[name] = parts[name].astype(rng.choice(("f2", "i8", "?", "c8", "U8", "i1", "S3")))
        elif found.flaw == "shape":
            parts[name] = parts[name].reshape(rng.choice(((-1,), (len(parts[name]), -1), (1, -1))))
        elif found.flaw == "short":
            parts[name] = parts[name][1:]
        elif found.flaw == "scalar":
            parts[name] = np.float32(3)
        elif found.flaw == "label":
            parts["train_y"][0] = 99
        elif found.flaw == "float labels":
            parts["train_y"] = parts["train_y"].astype("f4") + rng.choice((0.0, 0.5))
        elif found.flaw == "nan" and kind != "picture":
            parts["train_x"].flat[0] = rng.choice((np.nan, np.inf, 1e30))
        elif found.flaw == "bounds":
            schema["columns"] = {c: {"low": 0.0, "high": 1.0} for c in "ab"}
        found.data |= {
            "task": {"task": rng.choice(("labels", "number", "itself"))},
            "target": {"target": "label"},
            "person": {"person": "person"},
        }.get(found.flaw, {})
        schema |= {"low": 0.0, "high": 3.0} if found.data.get("task") == "number" else {}
    np.savez(found.path, **parts)
    if found.flaw == "damaged":
        found.path.write_bytes(damage(found.path.read_bytes(), rng))
    return found


FORMS = (*[table] * 5, *[windows] * 3, *[files] * 2, *[arrays] * 2)


def own_records(folder, rng):
    """A file of any form."""
    return rng.choice(FORMS)(folder, rng)
