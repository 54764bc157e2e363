"""`privet data fetch`, `list`, `check`, `describe` and `split`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.documents import to_json
from privacy.errors import SettingsError
from privacy.text import told_apart
from server.commands.options import AsJson, Settings, Task, Tasks


def fetch(
    name: Annotated[str, typer.Argument(help="mnist or fashion-mnist")],
    path: Annotated[str, typer.Option(help="Folder of IDX files, for fashion-mnist")] = "",
) -> None:
    """Bring a data set into the cache, checked by SHA-256."""
    from clients.data.sets import fetch as fetch_data

    print(fetch_data(name, path))


def list_data(as_json: AsJson = False) -> None:
    """The data sets, and whether they are here."""
    from clients.data.sets import availability
    from server.console import Columns, out

    found = availability()
    if as_json:
        print(to_json(found, indent=1))
        return
    table = Columns("data set", "where")
    for name, where in found.items():
        table.add_row(name, where)
    out.print(table)


def check(
    path: Annotated[Path, typer.Argument(help="A folder of a device's records, or a file")],
    classes: Annotated[
        int, typer.Option(min=0, max=65536, help="Labels are 0 to this less 1; 0: as found")
    ] = 0,
    schema: Annotated[Path | None, typer.Option(help="What is public of a file")] = None,
    s: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Can these records be used, and what would that reveal? For their owner; says counts only."""
    from server.console import fact_table, out

    source = has_schema(path, schema)
    facts = _facts_of_file(path, schema, s) if source else _facts(path, classes)
    if as_json:
        print(to_json(facts, indent=1))
    else:
        out.print(fact_table("", facts))


def has_schema(path: Path, named: Path | None) -> bool:
    """Are these records read by a schema, or a folder of grey pictures that needs none?"""
    from clients.data.settings import is_hub

    told = named is not None or is_hub(path)
    return told or path.is_file() or (path / "schema.toml").is_file()


def _facts_of_file(path: Path, schema: Path | None, settings: list[str] | None) -> dict[str, Any]:
    """Of what `[data] path` and further settings of [data] would read."""
    import numpy as np

    from clients.data.sets import load
    from server.experiment.loading import load_source

    dataset = load(load_source(path, schema, settings))  # as every command does
    facts: dict[str, Any] = {
        "usable": True,
        "records": f"{len(dataset.train_y):,} to train on, {len(dataset.test_y):,} for tests",
        "record": f"{dataset.kind}, {'x'.join(map(str, dataset.form.shape))} numbers to a model",
    }
    if dataset.task == "classes":
        counts = np.bincount(dataset.train_y, minlength=dataset.num_classes)
        names = told_apart(dataset.names or tuple(map(str, range(dataset.num_classes))))
        facts["classes"] = ", ".join(f"{n} {c:,}" for n, c in zip(names, counts, strict=True))
    if dataset.train_person is not None:
        _, held = np.unique(dataset.train_person.astype(str), return_counts=True)
        facts["persons"] = f"{len(held)}, of {held.min():,} to {held.max():,} records"
    facts |= {name: f"{count:,}" for name, count in dataset.counts}
    return facts


def describe(
    path: Annotated[Path, typer.Argument(help="A table, arrays, or a folder or archive of files")],
    output: Annotated[Path | None, typer.Option("-o", help="Where; else it is printed")] = None,
    target: Annotated[str, typer.Option(help="The column that a model is to say, or a,b")] = "",
    person: Annotated[str, typer.Option(help="The column that says whose a record is")] = "",
    pattern: Annotated[str, typer.Option(help="What paths tell: {label}_{person}_{n}.wav")] = "",
    task: Task = Tasks.CLASSES,
) -> None:
    """Draft a schema by looking at the records; says which lines to replace by what is public."""
    from privacy.files import write_atomically
    from server.experiment.beginning import draft_schema

    text = draft_schema(path, target, person, pattern, task.value)
    if output is None:
        print(text, end="")
        return
    if output.exists():
        raise SettingsError(f"-o {output}: is there already; choose another, or take it away")
    with write_atomically(output) as file:
        file.write(text.encode())
    print(output)


def _facts(folder: Path, classes: int) -> dict[str, Any]:
    """Of a folder of grey pictures, as a node holds them."""
    import numpy as np

    from clients.data.formats import files_of, names_in
    from clients.data.sets import labels_without_records, listed, load
    from clients.data.settings import Data

    dataset = load(Data(name="idx", path=str(folder), classes=classes))  # as every command does
    read = files_of(folder)
    num, (height, width) = len(dataset.train_y), dataset.shape
    brightest = max(dataset.train_x.max(), dataset.test_x.max(initial=0))
    of_none, of_tests = labels_without_records(dataset)
    return {
        "usable": True,
        "read": ", ".join(read),
        "not_read": ", ".join(name for name in names_in(folder) if name not in read) or "nothing",
        "training_records": num,
        "held_out_records": len(dataset.test_y),
        "image": f"{height} x {width}",
        "pixels": f"0 to {brightest}, where 255 stands for 1",
        "classes": dataset.num_classes,
        "labels_for_training": listed(np.unique(dataset.train_y).tolist()),
        "labels_never_trained_on": listed(of_tests),
        "labels_of_no_record": listed(of_none),
        "revealed_each_round": f"the number of training records ({num}, or what --records says), "
        "and weights with noise; as they are only under --allow-unprotected",
        "revealed_when_evaluated": "the number of held-out records, loss and accuracy on them "
        "without noise; refused without --allow-unprotected",
    }


def split(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    folder: Annotated[Path, typer.Argument(help="Where node-0, node-1, ... are made")],
    s: Settings = None,
) -> None:
    """Write each simulated client's records to a folder of its own, as a device has them."""
    import numpy as np

    from clients.data.partitions import partition
    from clients.data.sets import load
    from privacy.files import write_atomically
    from server.experiment.loading import load_experiment

    plan = load_experiment(experiment, s)
    if plan.data.name == "file":
        raise SettingsError(
            f"{experiment}: [data] name = 'file': split writes grey pictures; a device takes such "
            "a file as it is: privet node --data FILE --schema FILE"
        )
    dataset = load(plan.data)
    parts = partition(plan.data, plan.federation.clients, plan.seed)
    for client in range(plan.federation.clients):
        mine, aside = parts.members(client), parts.non_members(client)
        with write_atomically(folder / f"node-{client}" / "data.npz") as file:
            np.savez(
                file,
                train_x=dataset.train_x[mine],
                train_y=dataset.train_y[mine],
                test_x=dataset.train_x[aside],
                test_y=dataset.train_y[aside],
            )
        print(folder / f"node-{client}")
