"""`privet audit`: does the mechanism do what it claims?"""

import typer
from rich.text import Text

from privacy.documents import to_json
from server.commands.options import AsJson, RunName, Runs, Trust


def audit(run: RunName, as_json: AsJson = False, runs: Runs = None, trust: Trust = False) -> None:
    """Audit the DP of a run, or of an experiment, by its own code; exit status 1 if it fails."""
    from server.adversary.auditing import audit_of, subject
    from server.console import Columns, out
    from server.experiment.promise import BY_CHANCE, caveat_of
    from server.run.directory import runs_folder
    from server.run.origin import admit_model, require_trust
    from server.run.summary import summarise

    experiment, found_run = subject(run, runs_folder(runs))
    if found_run:
        require_trust(found_run.path, experiment.data, trust)
        admit_model(found_run.path, experiment.model, trust)
    done = audit_of(experiment, found_run)
    found = done.to_dict()
    if found_run:
        found_run.keep("audit.json", found)
    if as_json:
        print(to_json(found, indent=1))
    else:
        table = Columns("check", "", "measured", "should be")
        for check in done.checks:
            verdict = Text("passed", "green") if check.passed else Text("FAILED", "red")
            table.add_row(check.name, verdict, check.measured, check.expected)
        out.print(table)
        table = Columns("lower bound", "epsilon", "assumes")
        for bound in done.bounds:
            table.add_row(bound.name, f"{bound.epsilon:.2f}", bound.assumes)
        claimed = f"{done.epsilon:.2f}" if done.epsilon >= 0.1 else f"{done.epsilon:.2g}"
        table.add_row("claimed", claimed, f"for {done.steps} steps")
        out.print(table)
        above = [bound.name for bound in done.bounds if bound.epsilon > done.epsilon]
        if above and done.passed:
            out.print(f"{', '.join(above)}: above the claim, {BY_CHANCE}", highlight=False)
        for warning in summarise(found_run).warnings if found_run else ():
            out.print(f"warning: {warning}", highlight=False)
        if caveat := caveat_of(experiment):
            out.print(f"epsilon is that of {caveat}", highlight=False)
        for line in done.not_examined:
            out.print(f"not examined: {line}", highlight=False)
        for check in done.checks:
            if not check.passed:
                out.print(Text.assemble((check.name, "red"), f": usually {check.meaning}"))
    if not done.passed:
        raise typer.Exit(1)
