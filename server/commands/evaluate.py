"""`privet evaluate`: a run's last weights on the test set, on a device with other arithmetic."""

from dataclasses import asdict

from privacy.documents import to_json
from privacy.errors import DataError, RunError, SettingsError
from server.commands.options import AsJson, RunName, Runs, Settings, Trust, open_run


def evaluate(
    run: RunName,
    s: Settings = None,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Evaluate a run's last weights: -s arithmetic.stream_length=16, .fault_rate=0.01 ..."""
    from privacy.settings import override, parse
    from server.engines.app import test_evaluator
    from server.experiment.effects import BACKWARD
    from server.experiment.experiment import Experiment
    from server.experiment.idle import require_effect

    found = open_run(run, runs, trust)
    tables, origins = override(found.experiment.model_dump(mode="json", exclude_none=True), s or [])
    for key, origin in origins.items():
        if not key.startswith("arithmetic."):
            raise SettingsError(f"{origin}: only [arithmetic] can differ from what was trained")
        if key in BACKWARD:
            raise SettingsError(f"{origin}: would change nothing: it is read in training only")
    experiment = parse(Experiment, tables, str(found.path), origins)
    require_effect(experiment, origins)
    found.require_same_data()
    last = len(found.rounds)
    if not last:
        raise RunError(
            f"{found.path}: no round is done: nothing is trained; go on with: privet resume "
            f"{found.path.name}"
        )
    score = test_evaluator(experiment)(found.weights(last))
    if score.loss is None:
        raise DataError(f"{found.path}: its data have no test set to evaluate on")
    facts = {"run": str(found.path), "round": last, **asdict(score)}
    if as_json:
        print(to_json(facts | {"arithmetic": experiment.arithmetic.model_dump()}, indent=1))
    else:
        if score.accuracy is not None:
            print(f"{score.accuracy:.4%}")
        for name, value in score.figures.items():
            print(f"{name} {value:.4f}")
