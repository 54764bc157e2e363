"""Reading is strict: a table is read as it is written, or refused with its file, row and column."""

import json
import os
import sys

import numpy as np
import pytest
from written import write_idx

from clients.data.formats import read_folder
from clients.data.sets import load
from clients.data.settings import Data
from privacy.errors import DataError
from server import cli

ROWS = "0,10,20,30,40\n1,50,60,70,80\n2,90,100,110,120\n"
PIXELS = [[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120]]


def read(folder, text):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "train.csv").write_bytes(content)
    return read_folder(folder)


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        ROWS.rstrip("\n"),
        "\ufeff" + ROWS,
        "\n" + ROWS + "\n\n",
        ROWS.replace(",", ", "),
        '"0","10","20","30","40"\n' + ROWS.partition("\n")[2],
        "\n".join(", ".join(f'"{value}"' for value in row.split(",")) for row in ROWS.split()),
        "0.0,10,20.0,3e1,40\n" + ROWS.partition("\n")[2],
        "-" + ROWS.replace("60", "+60"),
        "label,p0,p1,p2,p3\n" + ROWS,
        '\ufeff"Label",1x1,1x2,2x1,2x2\n' + ROWS,
        "label,0,1,2,3\n" + ROWS,
        "a,b,label,c,d\n10,20,0,30,40\n50,60,1,70,80\n90,100,2,110,120\n",
        "p0,p1,p2,p3,label\n10,20,30,40,0\n50,60,70,80,1\n90,100,110,120,2\n",
    ],
)
def test_every_record_is_read_as_it_is_written(tmp_path, text):
    arrays = read(tmp_path, text)
    assert arrays["train_y"].tolist() == [0, 1, 2]
    assert arrays["train_x"].reshape(3, 4).tolist() == PIXELS
    assert len(arrays["test_x"]) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ROWS.replace("60", "0.6"), "row 2, column 3: a pixel is 0.6.*scale them to 0"),
        (ROWS.replace("60", "-1"), "row 2, column 3: a pixel is -1"),
        (ROWS.replace("60", "256"), "row 2, column 3: a pixel is 256"),
        (ROWS.replace("60", "nan"), "row 2, column 3: a pixel is nan"),
        (ROWS.replace("60", "inf"), "row 2, column 3: a pixel is inf"),
        (ROWS.replace("60", "x"), "row 2, column 3: 'x', must be a number"),
        (ROWS.replace("60", ""), "row 2, column 3: nothing, must be a number"),
        (ROWS.replace("60", "6_0"), "row 2, column 3: '6_0'"),
        (ROWS.replace("60", "60#"), "row 2, column 3: '60#'"),
        (ROWS.replace("60", "\u0667"), "row 2, column 3: '\u0667', must be a number"),
        (ROWS.replace("60", "\u22127"), "row 2, column 3: '\u22127', must be a number"),
        (ROWS.replace("60", "0x3c"), "row 2, column 3: '0x3c'"),
        (
            ROWS.replace("60", '"6,0"'),
            "row 2, column 3: quotation marks must hold one whole number",
        ),
        (ROWS.replace("60", '"6"0'), "row 2, column 3: quotation marks"),
        (ROWS.replace("70,80\n2", '70,"80\n2"'), "row 2, column 5: quotation marks"),
        ('0,"10\n0",20\n', "row 1: cannot be read as names or numbers"),
        ('"' + "x" * 200_000 + '",b\n' + ROWS, "row 1: cannot be read as names or numbers"),
        ("# of 2024\n" + ROWS, "row 1: '# of 2024' is neither names"),
        ("sep=,\n" + ROWS, "row 1: 'sep=,' is neither names"),
        (ROWS + ROWS.replace("0,10", "label,10", 1), "row 4, column 1: 'label'"),
        ("\n\n" + ROWS.replace("60", "x"), "row 4, column 3"),
        ("-1,10,20,30,40\n" + ROWS, "row 1, column 1: a label is -1.*from 0"),
        ("1.5,10,20,30,40\n" + ROWS, "row 1, column 1: a label is 1.5"),
        ("0,x,20,30,40\n" + ROWS, "row 1, column 2: 'x'"),
        (ROWS.replace("60,", ""), "row 2 has 4 columns, not 5"),
        (ROWS.replace("\n", ",\n"), "row 1, column 6: nothing"),
        ("0,1,2,3\n", "0, 1, 2, ...: numbers of columns"),
        ("1,2,3,4,5\n" + ROWS, "1, 2, 3, ...: numbers of columns"),
        ("0,9,9,9\n", "has 4 columns: a label and 3 pixels, which is no square"),
        ("digit,a,b,c,d\n" + ROWS, "none of them label"),
        ("label,label,b,c,d\n" + ROWS, "2 of them label"),
        (",label,p0,p1,p2,p3\n0," + ROWS, "column 1: '' numbers the records"),
        ("label,p1,p0,p2,p3\n" + ROWS, "not in the order of their names"),
        ("label,p0,p1,p2,p3\n", "no records"),
        ("", "no records"),
        (ROWS.replace(",", ";"), "row 1: values are separated by semicolons"),
        (ROWS.replace(",", "\t"), "row 1: values are separated by tabs"),
        ("0;1,5;2,5\n", "commas and semicolons"),
        (ROWS.encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (ROWS.encode("utf-32"), "is UTF-32; save it as UTF-8"),
        (ROWS.encode("utf-16-le"), "holds zero bytes: UTF-16, or no text"),
        ((ROWS + "é").encode("latin-1"), "line 4: byte 0xe9 is not UTF-8"),
        (ROWS + "\0", "zero bytes"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as refused:
        read(tmp_path, text)
    assert str(refused.value).startswith(str(tmp_path / "train.csv"))
    assert "\n" not in str(refused.value)


def test_a_test_set_has_the_columns_of_its_training_set(tmp_path):
    (tmp_path / "test.csv").write_text("label,a,b,d,c\n" + ROWS)
    with pytest.raises(DataError, match=r"test.csv: its columns are not those of train.csv"):
        read(tmp_path, "label,a,b,c,d\n" + ROWS)


@pytest.mark.parametrize("swapped", [False, True])
def test_one_row_of_names_for_two_files_is_refused(tmp_path, swapped):
    """Else the first pixel of the file without one would be taken for its labels."""
    texts = ["a,b,c,d,label\n10,20,30,40,0\n", "50,60,70,80,1\n"]
    train, test = texts[::-1] if swapped else texts
    (tmp_path / "test.csv").write_text(test)
    with pytest.raises(DataError, match=r"test\.csv: one of it and train\.csv has a first row"):
        read(tmp_path, train)


X, Y = np.zeros((4, 2, 2), np.uint8), np.arange(4, dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x_train": X, "y_train": Y}, "no train_x and train_y; it has x_train, y_train"),
        ({"train_x": X, "train_y": Y, "test_x": X}, "test records without test_y"),
        ({"train_x": X, "train_y": Y, "test_y": Y}, "test records without test_x"),
        ({"train_x": X / 2, "train_y": Y}, "train_x is float64, must be uint8"),
        ({"train_x": X.reshape(4, 4), "train_y": Y}, r"4 features of a record"),
        ({"train_x": X[..., None].repeat(3, 3), "train_y": Y}, "average the 3 of axis 3"),
        ({"train_x": X[:, None].repeat(3, 1), "train_y": Y}, "average the 3 of axis 1"),
        ({"train_x": X, "train_y": Y, "x_test": X}, "x_test: not read; take it out, or name it"),
        ({"train_x": np.uint8(3), "train_y": Y}, r"images of shape \[\] must be"),
        ({"train_x": X, "train_y": np.uint8(3)}, r"labels of shape \[\] must be"),
        ({"train_x": X, "train_y": np.eye(4, dtype=np.uint8)}, r"labels of shape \[4, 4\]"),
        ({"train_x": X, "train_y": Y[:3]}, "4 images do not fit 3 labels"),
        ({"train_x": X[:, :0], "train_y": Y}, "must be .records, height, width."),
        ({"train_x": X[:0], "train_y": Y[:0]}, "no training records"),
        ({"train_x": np.array([None]), "train_y": Y}, "cannot be read"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused_by_what_is_wrong(tmp_path, arrays, says):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=says):
        read_folder(tmp_path)


def test_two_data_sets_in_a_folder_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", train_x=X, train_y=Y)
    with pytest.raises(DataError, match=r"data\.npz and train\.csv: which are meant"):
        read(tmp_path, ROWS)


def test_a_lone_half_of_a_test_set_is_refused(tmp_path):
    write_idx(tmp_path, "train-images-idx3-ubyte", X)
    write_idx(tmp_path, "train-labels-idx1-ubyte", Y)
    write_idx(tmp_path, "t10k-labels-idx1-ubyte", Y)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("train.csv.gz", "holds none of data.npz, train.csv and .*; it holds train.csv.gz"),
        ("TRAIN.CSV", "it holds TRAIN.CSV"),
        ("test.csv", r"train\.csv: cannot be read: No such file"),
        ("train-labels-idx1-ubyte", "train-images-idx3-ubyte.*not there"),
    ],
)
def test_a_folder_without_training_records_is_told_what_it_holds(tmp_path, name, says):
    (tmp_path / name).write_text(ROWS)
    with pytest.raises(DataError, match=says):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["Test.csv", "DATA.npz", "T10K-images-idx3-ubyte"])
def test_a_part_under_nearly_its_name_is_not_dropped(tmp_path, name):
    (tmp_path / name).write_text(ROWS)
    with pytest.raises(DataError, match=f"{name}: name it {name.lower()}, or take it out"):
        read(tmp_path, ROWS)


@pytest.mark.parametrize("name", ["train.csv", "data.npz", "train-images-idx3-ubyte"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    write_idx(tmp_path, "train-labels-idx1-ubyte", Y) if "idx" in name else None
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read: not a regular file"):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", [b"\0\0\x08\2", b"\0\0\x08\2\0\0\0", b"\0\0\x08\0a"])
def test_an_idx_header_that_is_cut_short_is_refused(tmp_path, content):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cut short within its header|promises 0 dimensions"):
        read_folder(tmp_path)


def folder_of(path, labels, test=()):
    for part, y in (("train", labels), ("test", test)):
        if len(y):
            (path / f"{part}.csv").write_text("".join(f"{label},9,8,7,6\n" for label in y))
    return str(path)


def test_classes_are_counted_once_for_all(tmp_path):
    """Labels that only the test set has are outputs, too; one that was not told of is refused."""
    path = folder_of(tmp_path, [0, 1, 2], [3, 4])
    assert load(Data(name="idx", path=path)).num_classes == 5
    assert load(Data(name="idx", path=path, classes=7)).num_classes == 7
    with pytest.raises(DataError, match=r"label is 4.*are 0 to 3; say -s data.classes=5"):
        load(Data(name="idx", path=path, classes=4))


def test_one_class_is_refused_until_more_are_told_of(tmp_path):
    """A model of one output is certain of everything: no attack or accuracy tells anything."""
    path = folder_of(tmp_path, [0, 0, 0], [0])
    for told in (0, 1):
        with pytest.raises(DataError, match=r"every label is 0.*-s data\.classes=2"):
            load(Data(name="idx", path=path, classes=told))
    assert load(Data(name="idx", path=path, classes=2)).num_classes == 2


def test_labels_with_gaps_are_refused_until_they_are_told_of(tmp_path):
    path = folder_of(tmp_path, range(0, 226, 25))
    with pytest.raises(DataError, match="go up to 225, but only 10 occur; number them 0 to 9"):
        load(Data(name="idx", path=path))
    assert load(Data(name="idx", path=path, classes=226)).num_classes == 226


@pytest.mark.parametrize("most", [2, 3, 10])
def test_labels_from_one_are_refused_until_they_are_told_of(tmp_path, most):
    """A model would have one output more than there are classes."""
    path = folder_of(tmp_path, range(1, most + 1))
    with pytest.raises(DataError, match=rf"start at 1: class 0 has no .*data\.classes={most + 1}"):
        load(Data(name="idx", path=path))
    assert load(Data(name="idx", path=path, classes=most + 1)).num_classes == most + 1


def test_labels_of_no_record_are_told_where_a_run_trains_on_them(tmp_path, monkeypatch, capsys):
    """A few gaps may be a small set's, so they are no error; a model has outputs for them."""
    monkeypatch.chdir(tmp_path)
    given = [f"data.path={folder_of(tmp_path, [2, 3, 6], [3, 4])}", "data.name=idx"]
    given += ["federation.rounds=1", "federation.clients=1", "model.name=linear"]
    for more, told in (
        ([], "no record has label 0 to 1, 5: the model has 7 outputs; number labels from 0"),
        ([], "label 4 is in tests alone: no model can learn it"),
        (["data.classes=7"], ""),
    ):
        words = [word for one in [*given, *more] for word in ("-s", one)]
        monkeypatch.setattr(sys, "argv", ["privet", "run", "tiny", *words])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        err = capsys.readouterr().err
        assert leave.value.code in (0, None)
        assert told in err if told else "label" not in err


def test_what_check_says_is_what_is_trained_on(tmp_path, monkeypatch, capsys):
    def privet(*arguments):
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        told = capsys.readouterr()
        return int(leave.value.code or 0), told.out, told.err

    path = folder_of(tmp_path, [0, 1, 1, 3], [4])
    (tmp_path / "notes.txt").touch()
    status, out, _ = privet("data", "check", path, "--json")
    facts = json.loads(out)
    assert (status, facts["classes"], facts["training_records"]) == (0, 5, 4)
    assert facts["labels_for_training"] == "0 to 1, 3"
    assert facts["labels_never_trained_on"] == "4"
    assert facts["labels_of_no_record"] == "2"
    assert (facts["read"], facts["not_read"]) == ("test.csv, train.csv", "notes.txt")
    assert facts["pixels"] == "0 to 9, where 255 stands for 1"
    status, out, err = privet("data", "check", path, "--classes", "3")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
