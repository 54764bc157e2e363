"""Run -> Statement: laid out after the questions of NIST SP 800-226, from the top of its pyramid.

Epsilon and the unit first; then what can undermine them (the mechanism and its tests, utility and
bias, trust); then what they stand on (data, access). The words are ours.
"""

from collections.abc import Sequence

from server.report.facts.reading import read_run
from server.report.statement import evidence, guarantee, standing
from server.report.statement.statement import Statement
from server.run.directory import Run


def read_statement(
    run: Run, purpose: str = "", controller: str = "", beside: Sequence[Run] | None = None
) -> Statement:
    """The statement on a run.

    Args:
        purpose, controller: what the run does not know: what the model is for, and who answers.
        beside: other runs, some of which may be on the same records; None: the run's folder.

    Raises:
        PrivetError: the run's settings or rounds are damaged.
    """
    facts = read_run(run)
    return Statement(
        facts.name,
        (
            standing.purpose(run, facts, purpose, controller),
            guarantee.guarantee(run, facts),
            guarantee.odds(facts),
            guarantee.mechanism(run, facts),
            guarantee.composition(run, facts, beside),
            standing.trust(run, facts),
            standing.exposure(run, facts),
            evidence.audited(facts),
            evidence.attacked(facts),
            evidence.useful(facts),
            standing.limits(facts),
            standing.anonymity(),
            standing.versions(run, facts),
        ),
    )
