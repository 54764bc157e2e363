"""The tree of errors.

PrivetError             exit status 1: it failed
├── FederationFailed    no client succeeded; the run says why
├── Interrupted         exit status 130: by the user; the run can be resumed
├── BudgetExhausted     a device refuses work that would overspend its epsilon
└── UserError           exit status 2: what the user got wrong, in one line with a remedy
    ├── SettingsError   a key or a value, in a file or in -s
    ├── DataError       missing, corrupt or too few records
    ├── ModelError      a model that cannot be trained under the budget asked for
    └── RunError        a run directory that is there, is not there, or is damaged
"""


class PrivetError(Exception):
    """Anything privet raises on purpose."""

    exit_status = 1


class FederationFailed(PrivetError):
    """No client succeeded in a round."""


class Interrupted(PrivetError):
    """The user stopped a run, which can be resumed."""

    exit_status = 130


class BudgetExhausted(PrivetError):
    """The next round would spend more than the budget allows."""


class UserError(PrivetError):
    """What the user got wrong: file, key, value and remedy in one line."""

    exit_status = 2


class SettingsError(UserError):
    """An unknown key, a wrong type or a value out of range."""


class DataError(UserError):
    """Data that are missing, corrupt or too few."""


class ModelError(UserError):
    """A model that cannot be trained under the budget asked for."""


class RunError(UserError):
    """A run directory that exists, does not exist, or is damaged."""
