"""What a command is asked for and would not do is refused: settings of a run, and options."""

import pytest


@pytest.fixture
def mine(privet, runs):
    """A run in floats that kept no updates."""
    settings = ["federation.rounds=1", "model.hidden=[8]"]
    asked = [word for text in settings for word in ("-s", text)]
    assert privet("run", "tiny", *asked, "--name", "mine")[0] == 0
    return "mine"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("evaluate mine -s arithmetic.stream_length=16", "needs [arithmetic] name = 'stochastic'"),
        ("evaluate mine -s arithmetic.fault_rate=0.1", "[arithmetic] in words or streams"),
        ("evaluate mine -s arithmetic.slope=3", "read in training only"),
        ("attack mine -s attack.candidates=50", "updates that the run kept"),
        ("infer mine --flood 5", "--flood: would change nothing: it is for --logits"),
        ("infer mine --evaluate 3 --images 2", "--images: would change nothing"),
        ("infer mine --token t", "--token: would change nothing: it is for a service at --url"),
        ("sweep tiny --over seed=1,2 --budget 4", "--budget: would change nothing"),
        ("sweep tiny --over model.norm=group,batch", "needs [model] name = 'convnet'"),
        ("sweep tiny -s data.shards=3 --over seed=1,2", "needs [data] partition = 'shards'"),
        ("sweep tiny --over arithmetic.name=float+arithmetic.bits=4,fixed", "arithmetic.bits"),
        ("audit mine -s seed=1", " -s: would change nothing: it is of: privet audit model FILE"),
        ("cost mine -s model.hidden=[3]", " -s: would change nothing"),
        ("audit tiny.toml", "no such file"),
    ],
)
def test_what_would_change_nothing_is_refused(privet, mine, command, says):
    status, out, err = privet(*command.split())
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_an_axis_that_another_puts_out_of_force_shares_the_run(privet, runs):
    """Without a promise nothing is clipped: both clips are one run, made once."""
    import json

    axes = ["--over", "budget.clip=0.5,1.5", "--over", "budget.epsilon=8,none"]
    quick = ["-s", "federation.rounds=1", "-s", "model.hidden=[8]"]
    status, out, err = privet("sweep", "tiny", *quick, *axes, "--json")
    assert status == 0, err
    cells = json.loads(out.splitlines()[-1])["cells"]
    free = {cell["run"] for cell in cells if cell["point"]["budget.epsilon"] == "none"}
    assert len(free) == 1
    assert len({cell["run"] for cell in cells}) == 3
