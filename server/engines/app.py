"""The ServerApp: a genuine Flower app. `privet run` calls it in process, `flwr run .` on Flower's
own engines; both end in the same run directory.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from clients.data.sets import load
from clients.training.losses import LOSSES
from clients.training.net import Net, build, fill
from clients.training.records import records
from privacy.errors import FederationFailed
from server.console import observer
from server.experiment.experiment import Experiment
from server.experiment.loading import load_experiment
from server.experiment.prepared import prepare
from server.federation.grid import CohortGrid, Nodes
from server.federation.pruned import prune, spared_of
from server.federation.rounds import Evaluate, federate
from server.run.directory import Run, Weights, runs_folder
from server.run.figures import Answers, Score, figures_of
from server.run.merit import half_of
from server.run.origin import admit_model

log = logging.getLogger("privet")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Open or create the run that the run config names, and do what is left of it."""
    config = {key: str(value) for key, value in context.run_config.items()}
    if config.get("run"):
        run = Run.open(config["run"])
        admit_model(run.path, run.experiment.model, trusted=False)
    else:
        experiment = load_experiment(config["experiment"], config.get("set", "").split())
        from flwr.superlink.grid import HttpGrid  # half a second of Flower's database

        if isinstance(grid, HttpGrid):  # devices of their own, whatever the experiment was for
            federation = experiment.federation.model_copy(update={"engine": "superlink"})
            experiment = experiment.model_copy(update={"federation": federation})
        run = create_run(experiment, runs_folder(Path(config["runs"]) if config["runs"] else None))
    with logged(run), observer(run) as observe:
        log.info("run directory: %s", run.path.resolve())
        run.require_same_data()
        experiment = run.experiment
        nodes = call_roll(grid, experiment.federation.clients, experiment.federation.timeout_s)
        federate(run, grid, nodes, test_evaluator(experiment), observe)


def create_run(experiment: Experiment, runs: Path, name: str = "") -> Run:
    """Resolve an experiment, check that it can be done, and make its run directory.

    Raises:
        UserError: the data, the model or the folder will not do; nothing is left behind.
    """
    made = prepare(experiment)
    weights: Weights = {k: v.numpy() for k, v in made.model.state_dict().items()}
    weights = prune(made.experiment, weights, weights, 0, spared_of(made.experiment))
    return Run.create(made.experiment, weights, runs, name)


def call_roll(grid: Grid, num_clients: int, timeout_s: float) -> Nodes:
    """Wait for the clients and learn which node is which: the order of nodes is Flower's affair.

    Raises:
        FederationFailed: not all clients appeared in time, or there are not as many as planned.
    """
    if isinstance(grid, CohortGrid):
        return grid.clients
    nodes: dict[int, int] = {}
    deadline = time.monotonic() + timeout_s
    while len(nodes) < num_clients:
        known = set(nodes.values())
        new = [Message(RecordDict(), n, "query") for n in grid.get_node_ids() if n not in known]
        for reply in grid.send_and_receive(new, timeout=60):
            if reply.has_error():
                continue
            about: dict[str, Any] = dict(reply.content.config_records["about"])
            if about["of"] != num_clients:
                raise FederationFailed(
                    f"the experiment has {num_clients} clients, but the nodes are {about['of']}: "
                    f"set federation.clients={about['of']}, or for a simulation "
                    f"--federation-config 'num-supernodes={num_clients}'"
                )
            client, node = int(about["client"]), reply.metadata.src_node_id
            if nodes.setdefault(client, node) != node:
                raise FederationFailed(f"two nodes say that they are client {client}: see --client")
        if len(nodes) < num_clients:
            if time.monotonic() > deadline:
                raise FederationFailed(f"{len(nodes)} of {num_clients} clients appeared in time")
            time.sleep(1)
    return nodes


def test_evaluator(experiment: Experiment) -> Evaluate:
    """The score on the whole test set, on all cores; the same whatever their number.

    Where there is no test set, it is empty.
    """
    dataset = load(experiment.data)
    model = build(experiment.model, dataset.form, experiment.arithmetic, experiment.pruning)
    _, test = records(experiment.data, experiment.model)
    task = experiment.data.task
    net = Net(model, test.shape)
    pieces = torch.arange(len(test)).split(1000)
    own = experiment.data.name == "file"  # of ready sets, accuracy tells how training goes

    def answer(piece: Tensor) -> tuple[float, Answers]:
        total, parts = 0.0, []
        for batch in piece.split(500):
            inputs = test.inputs(batch)
            outputs, y = net.logits(inputs), test.targets(batch, inputs)
            total += float(LOSSES[task](outputs, y).sum())
            parts.append(Answers.of(task, outputs.numpy(), y.numpy()))
        return total, Answers.joined(parts)

    def evaluate_weights(weights: Weights) -> Score:
        if not len(test):
            return Score()
        fill(model, weights)
        with ThreadPoolExecutor(torch.multiprocessing.cpu_count()) as pool:
            losses, parts = zip(*pool.map(answer, pieces), strict=True)
        answers = Answers.joined(parts)
        right = int((answers.said == answers.y).sum()) if task == "classes" else 0
        accuracy = right / len(test) if task == "classes" else None
        figures = figures_of(answers, dataset.num_classes, half_of(experiment.data)) if own else {}
        figures.pop("accuracy", None)  # it stands beside them
        return Score(sum(losses) / len(test), accuracy, figures, answers)

    return evaluate_weights


class logged:  # noqa: N801
    """While open, Flower's log and ours go to the run's log.txt."""

    def __init__(self, run: Run) -> None:
        self._handler = logging.FileHandler(run.log_path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __enter__(self) -> None:
        log.setLevel(logging.INFO)
        for name in ("privet", "flwr"):
            logging.getLogger(name).addHandler(self._handler)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            log.error("stopped: %s: %s", type(error).__name__, error)
        for name in ("privet", "flwr"):
            logging.getLogger(name).removeHandler(self._handler)
        self._handler.close()
