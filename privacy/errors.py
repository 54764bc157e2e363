"""The tree of errors.

PrivetError             exit status 1: it failed
├── FederationFailed    no client succeeded; the run says why
│   └── SecureSumFailed a sum that cannot be made, or that would show more than a sum
├── Interrupted         exit status 130: by the user; the run can be resumed
├── BudgetExhausted     a device refuses work that would overspend its epsilon
├── LedgerError         a device's ledger is damaged, or cannot be written
├── WireError           foreign bytes that are not what they should be
│   └── CiphertextError the format is right, the ciphertext or key in it is not
├── ServiceError        the inference service cannot be reached, refuses, or failed
└── UserError           exit status 2: what the user got wrong, in one line with a remedy
    ├── SettingsError   a key or a value, in a file or in -s
    ├── DataError       missing, corrupt or too few records
    ├── ModelError      a model that cannot be trained under the budget asked for, or encrypted
    ├── KeysError       a file of keys that others may read, or that is not one
    └── RunError        a run directory that is there, is not there, or is damaged
"""


class PrivetError(Exception):
    """Anything privet raises on purpose."""

    exit_status = 1


class FederationFailed(PrivetError):
    """No client succeeded in a round."""


class SecureSumFailed(FederationFailed):
    """A sum that cannot be made, or that would show more than a sum."""


class Interrupted(PrivetError):
    """The user stopped a run, which can be resumed."""

    exit_status = 130


class BudgetExhausted(PrivetError):
    """The next round would spend more than the budget allows."""


class LedgerError(PrivetError):
    """A device's ledger is not as it was left, or cannot be written."""


class WireError(PrivetError):
    """Foreign bytes that are not what they should be.

    Args:
        status: the HTTP status that a service answers with.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class CiphertextError(WireError):
    """A ciphertext or key that is not one, or not under these parameters."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message, status)


class ServiceError(PrivetError):
    """The inference service cannot be reached, refuses, or failed."""


class UserError(PrivetError):
    """What the user got wrong: file, key, value and remedy in one line."""

    exit_status = 2


class SettingsError(UserError):
    """An unknown key, a wrong type or a value out of range."""


class DataError(UserError):
    """Data that are missing, corrupt or too few."""


class ModelError(UserError):
    """A model that cannot be trained under the budget asked for, or not evaluated encrypted."""


class KeysError(UserError):
    """A file of keys that others may read, or that is not one."""


class RunError(UserError):
    """A run directory that exists, does not exist, or is damaged."""
