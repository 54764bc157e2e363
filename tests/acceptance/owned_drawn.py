"""Records in the forms in which people hold them, small, with their schema; by a seed.

Of three files one has one thing wrong: in the file, in its schema, or in what is said of both.
"""

import csv
import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path

import owned
import pyarrow as pa
import pyarrow.parquet
import tomli_w
from records_drawn import CELLS, damage

LABELS = (
    ("well", "ill"), ("0", "1", "2"), ("1", "2"), ("no", "yes", "Ja, nein", "ü"), ("1.0", "2.0"),
    ("only",), ("a", "b", "c", "d", "e", "f", "g"),
)  # fmt: skip
SOUND = 2 / 3  # share of files with nothing wrong


@dataclass
class Owned:
    """A file, and what is said of it.

    Attributes:
        path: where it lies.
        kind: `table`, `window`, `picture` or `sound`.
        schema: its tables.
        data: settings of [data], but for the path and the schema.
        flaw: what is wrong, or may be; empty if nothing is.
        num: records in it, of those that have a label; of a file with a flaw it is not known.
    """

    path: Path
    kind: str
    schema: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    flaw: str = ""
    num: int = 0

    def write_schema(self, path):
        """Its schema, as a file."""
        path.write_text(tomli_w.dumps(self.schema))


def _column(rng):
    """A column of a schema, and how a cell of it is drawn."""
    missing = rng.choice(([], [], ["NA"], [""], ["?", "-9"]))
    more = {"missing": missing} if missing else {}
    if rng.random() < 0.3:
        values = list(rng.choice((("north", "south"), ("0", "1"), ("a", "b", "c"), ("x",))))
        return {"values": values, **more}, lambda: rng.choice(values + missing)
    low, high = rng.choice(((0.0, 1.0), (-2.0, 2.0), (0.0, 1000.0), (-1e6, 1e6), (5.0, 6.0)))
    more |= rng.choice(({}, {}, {}, {"log": True}, {"knots": 3}, {"log": True, "knots": 2}))
    return {"low": low, "high": high, **more}, lambda: rng.choice(
        [f"{rng.uniform(low, high):.3f}"] * 9 + [*missing, str(int(low)), str(high)]
    )


def table(folder, rng):
    """Rows of a table, for any task."""
    columns = {f"c{n}": _column(rng) for n in range(rng.randint(1, 4))}
    num = rng.choice((1, 2, 5, 30, 30, 30, 60))
    task = rng.choice(("classes", "classes", "classes", "labels", "number", "itself"))
    persons = rng.choice((1, 2, 5, num))
    labels = rng.choice(LABELS)
    schema = {"columns": {name: column for name, (column, _) in columns.items()}}
    told = {
        "classes": {"state": lambda: rng.choice(labels)},
        "labels": {f"f{n}": lambda: rng.choice(("0", "1", "true", "No")) for n in range(3)},
        "number": {"score": lambda: f"{rng.gauss(50, 20):.2f}"},
        "itself": {},
    }[task]
    if task == "classes":
        schema["labels"] = list(labels)
    if task == "number":
        schema |= {"low": 0.0, "high": 100.0}
    drawn = {name: draw for name, (_, draw) in columns.items()} | told
    rows = [["person", *drawn]]
    rows += [[f"p{n % persons}", *(draw() for draw in drawn.values())] for n in range(num)]
    data = {} if task == "classes" else {"task": task}
    if told:
        data["target"] = list(told) if task == "labels" or rng.random() < 0.3 else next(iter(told))
    if rng.random() < 0.5:
        data["person"] = "person"
    found = Owned(folder / "data", "table", schema, data, num=num)
    if rng.random() > SOUND:
        _spoil_table(found, rows, rng)
    return _write_rows(found, rows, rng)


def windows(folder, rng):
    """A recording in a table, to be cut."""
    length, step = rng.choice((4, 8, 10, 128)), rng.choice((1, 4, 8, 20))
    runs = [("1", rng.choice((20, 40, 70))), ("-1", 20), ("2", rng.choice((8, 20, 50)))]
    persons = rng.choice((1, 2, 3, 5))
    rows = [row.split(",") for row in owned.sensor(persons, runs, rng.randrange(1000))]
    schema = {
        "labels": ["1", "2"], "unlabelled": ["-1"], "rate_hz": rng.choice((50.0, 0.0, 1.0)),
        "columns": {name: {"low": -2.0, "high": 2.0} for name in "xy"},
    }  # fmt: skip
    data = {"target": "label", "windows": {"length": length, "step": step}}
    if rng.random() < 0.6:
        data["person"] = "person"
    if rng.random() < 0.2:
        data["task"] = rng.choice(("itself", "number", "labels"))
    of_each = [max(0, (n - length) // step + 1) for label, n in runs if label != "-1"]
    found = Owned(folder / "data", "window", schema, data, num=persons * sum(of_each))
    if "task" in data:
        found.flaw = "another task"
        schema |= {"low": 0.0, "high": 3.0} if data["task"] == "number" else {}
    if rng.random() < 0.1:
        data["windows"]["majority"], found.flaw = rng.choice((0.5, 0.8, 0.1)), "mixed windows"
    if rng.random() > SOUND:
        _spoil_table(found, rows, rng)
    return _write_rows(found, rows, rng)


def _spoil_table(found, rows, rng):
    """One thing wrong with a table, its schema, or what is said of it."""
    schema, data = found.schema, found.data
    names, column = rows[0], rng.choice(sorted(schema["columns"]))
    at = rng.randrange(len(names))
    found.flaw = rng.choice(
        ("cell", "outside", "gone", "twice", "ragged", "one class", "column of the schema",
         "person is target", "person is a column", "no target", "bounds", "label", "labels",
         "task", "no row", "windows", "pattern", "spaces", "missing", "unlabelled", "names",
         "within")
    )  # fmt: skip
    target = data.get("target", "person")
    target = target if isinstance(target, str) else target[0]
    if found.flaw == "cell":
        rng.choice(rows)[at] = rng.choice(CELLS)
    elif found.flaw == "outside":
        rng.choice(rows[1:])[names.index(column)] = rng.choice(("1e9", "-1e9", "9" * 400, "east"))
    elif found.flaw == "gone":
        for row in rows:
            del row[at]
    elif found.flaw == "twice":
        for row in rows:
            row.append(row[at])
    elif found.flaw == "ragged":
        rng.choice(rows)[:] = rng.choice((["1"], ["1"] * 50, []))
    elif found.flaw == "one class":
        for row in rows[2:]:
            row[names.index(target)] = rows[1][names.index(target)]
    elif found.flaw == "column of the schema":
        schema["columns"][target] = rng.choice(({"low": 0.0, "high": 1.0}, {"values": ["a"]}))
    elif found.flaw == "person is target":
        data["person"] = target
    elif found.flaw == "person is a column":
        data["person"] = column
    elif found.flaw == "no target":
        two = (["nobody", target], [target, target])
        data["target"] = rng.choice(([], "", "nobody", column, *two))
    elif found.flaw == "bounds":
        schema["columns"][column] = rng.choice(
            ({"low": 1.0, "high": 1.0}, {"low": 2.0}, {}, {"values": ["a", "a"]}, {"low": "a"},
             {"low": 0.0, "high": 1.0, "values": ["a"]}, {"low": 0.0, "high": 1e30},
             {"low": -1e-30, "high": 1e-30}, {"low": 0.0, "high": 1e-29, "log": True})
        )  # fmt: skip
    elif found.flaw == "label":
        rng.choice(rows[1:])[names.index(target)] = rng.choice(("unknown", "", "NaN", "3"))
    elif found.flaw == "labels":
        schema["labels"] = rng.choice(([], ["a"], ["a", "b"], [1, 2], ["1", "1"], "ab", [1.0, 2.5]))
    elif found.flaw == "task":
        data["task"] = rng.choice(("labels", "number", "itself", "classes", "cluster"))
    elif found.flaw == "no row":
        del rows[1:]
    elif found.flaw == "windows":
        data["windows"] = rng.choice(
            ({"length": 4}, {"length": 1}, {"length": 0}, {"length": 10**6}, {"step": 3},
             {"length": 4, "step": 2, "within": ["person"]}, {"length": 2, "majority": 0.5})
        )  # fmt: skip
    elif found.flaw == "pattern":
        data["pattern"] = "{label}_{n}.png"
    elif found.flaw == "spaces":
        names[:] = [f" {name} " for name in names]
    elif found.flaw == "missing":
        schema["missing"] = rng.choice(([""], ["NA", "?"], "NA", [0]))
    elif found.flaw == "unlabelled":
        schema["unlabelled"] = schema.get("labels", ["x"])[:1]
    elif found.flaw == "names":
        schema["names"] = rng.choice((["one"], ["one", "two"], ["one", "one"], []))
    elif "windows" in data:
        data["windows"]["within"] = rng.choice((["person"], ["nobody"], ["x"], ["label"]))


def _write_rows(found, rows, rng):
    """As one of the forms of a table; perhaps damaged."""
    form = rng.choice((".csv",) * 4 + (".tsv", ".csv.gz", ".parquet", ".txt"))
    path = found.path.with_suffix(form) if form != ".csv.gz" else Path(f"{found.path}{form}")
    if form == ".parquet" and len({len(row) for row in rows}) == 1 and rows[1:]:
        columns = [list(column) for column in zip(*rows[1:], strict=True)]
        pa.parquet.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], rows[0]), path)
    else:
        separator = "\t" if form == ".tsv" else rng.choice((",", ",", ";", "|"))
        end = rng.choice(("\n", "\n", "\r\n"))
        csv.writer(text := io.StringIO(), delimiter=separator, lineterminator=end).writerows(rows)
        content = text.getvalue().encode(rng.choice((*["utf-8"] * 9, "utf-8-sig")), "replace")
        path.write_bytes(gzip.compress(content, mtime=0) if form.endswith(".gz") else content)
    found.path = path
    if rng.random() < 0.05:
        path.write_bytes(damage(path.read_bytes(), rng))
        found.flaw = "damaged"
    return found
