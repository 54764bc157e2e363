"""`privet audit step FILE:FUNCTION`: one line for what is wrong, JSON, exit status 1 on red."""

import json

STEP = """
import museum
from museum import maker
x, y = museum.records()
claims = dict(records=x, labels=y, noise_multiplier=1.0, sample_rate=0.25, steps=8)
make, wrong = maker(), maker("tied weights")
"""


def test_a_step_of_the_users_own_file(privet, tmp_path):
    path = tmp_path / "my_step.py"
    path.write_text(STEP)
    status, said, _ = privet("audit", "step", f"{path}:make", "--json")
    told = json.loads(said)
    assert status == 0
    assert told["passed"] is True
    assert told["unit"] == "record"
    status, said, _ = privet("audit", "step", f"{path}:wrong")
    assert status == 1
    assert "sensitivity: usually" in said


def test_what_is_wrong_is_one_line(privet, tmp_path):
    path = tmp_path / "my_step.py"
    for text, named, told in (
        (STEP, "my_step.py", "FILE:FUNCTION"),
        (STEP, f"{tmp_path}/none.py:make", "no Python file"),
        (STEP, f"{path}:mak", "did you mean make"),
        ("1/0", f"{path}:make", "ZeroDivisionError"),
        ("def make(): pass", f"{path}:make", "claims: not there"),
        (STEP + "claims['sigma'] = 1", f"{path}:make", "claims: sigma: unknown"),
        (STEP + "claims.pop('labels')", f"{path}:make", "labels"),
    ):
        path.write_text(text)
        status, said, err = privet("audit", "step", named)
        assert (status, said, len(err.splitlines())) == (2, "", 1), err
        assert told in err
    for words, told in (
        (("draft", str(path)), "is there already"),
        (("draft", f"{tmp_path}/step.txt"), "must end in .py"),
    ):
        status, said, err = privet("audit", *words)
        assert (status, said, len(err.splitlines())) == (2, "", 1), err
        assert told in err
    status, _, err = privet("audit", "stop", f"{path}:make")
    assert status == 2
    assert "privet audit step" in err


def test_what_a_step_prints_is_no_part_of_the_answer(privet, tmp_path, monkeypatch):
    """And of a slow one is told, once, how long all calls take."""
    path = tmp_path / "my_step.py"
    aloud = "def loud(*told):\n    print('loss 0.3')\n    raise ValueError('no\\nbatch')\n"
    path.write_text(f"print('imported')\n{STEP}\n{aloud}\nclaims['steps'] = 2\n")
    monkeypatch.setattr("server.commands.audit.SLOW_S", 0.0)
    status, said, err = privet("audit", "step", f"{path}:make", "--json")
    assert json.loads(said)["checks"]
    assert err.count("about 254 calls of 0.0 s each: 0 min") == 1
    assert "imported" in err
    status, said, err = privet("audit", "step", f"{path}:loud")
    assert status == 1
    assert "no check could be made, and nothing is known" in said
    assert "loss 0.3" in err
    assert "loss 0.3" not in said
