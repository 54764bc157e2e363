"""What a lesson sends, takes and promises: said before a record is encrypted."""

from typing import Any

from clients.learning.refreshes import column_bytes, refreshes
from clients.learning.settings import Lesson
from clients.learning.shares import Prepared, course_of, residual_of
from privacy.dp.ledger import Ledger
from privacy.encrypted.learning.course import SLOTS


def plan_of(lesson: Lesson) -> dict[str, Any]:
    """Facts by name; its refreshes as `refreshes` has them, the one that is taken first.

    Raises:
        DataError, ModelError, SettingsError: as the lesson would.
    """
    prepared = Prepared.of_lesson(lesson)
    course, residual = course_of(lesson, prepared), residual_of(lesson)
    learning, budget = lesson.learning, lesson.resolve().budget
    found = refreshes(course, learning.link_mbit)
    each = course.features * column_bytes(residual=False)
    each += course.outputs * column_bytes(residual=True)
    epsilon = None
    if (sigma := budget.noise_multiplier) is not None:
        ledger = Ledger()
        ledger.charge(sigma, 1.0, learning.steps)
        epsilon = ledger.epsilon(budget.delta)
    return {
        "records": len(prepared.inputs),
        "blocks": f"{course.blocks} of {SLOTS:,} records, told to the server",
        "outputs": course.outputs,
        "features": course.features,
        "sensitivity": residual.sensitivity,
        "noise_multiplier": sigma,
        "epsilon": epsilon,
        "delta": None if epsilon is None else budget.delta,
        "records_bytes": course.blocks * each,
        "lesson_bytes": learning.steps * found[0].step_bytes,
        "lesson_s": learning.steps * found[0].step_s,
        "refreshes": found,
    }
