"""Every error a user can meet, as one tree.

    PcamError                     exit 1
    ├── UsageError (ValueError)   exit 2   a wrong argument, or no run, CSV or store to work on
    ├── ConfigError (ValueError)  exit 2   a YAML file or --set that does not fit the schema
    ├── DataError (ValueError)    exit 3   raw files or a store that cannot be trusted
    ├── RunError (ValueError)     exit 4   a run that is missing, incomplete or of another schema
    ├── TrainingError (ArithmeticError)  exit 5   a loss that is not finite
    ├── SubmissionError (ValueError)     exit 6   a CSV that would be refused, or was sent before
    ├── KaggleError (RuntimeError)       exit 7   Kaggle refused, or did not answer
    │   ├── CredentialsError             no credentials, or refused ones
    │   ├── AccessError                  rules not accepted, or no such competition
    │   └── TransferError                a download, also from elsewhere, or an upload that failed
    │       ├── UnreachableError         no connection came about
    │       └── OutcomeUnknownError      a submission that may or may not have arrived
    ├── StorageError (OSError)    exit 8   disk full, folder read-only, or in use elsewhere
    │   ├── LockedError                  another process holds the lock
    │   └── RemoteError                  object storage refused, or did not answer
    │       └── ConflictError            a file changed here and there
    ├── MismatchError (ArithmeticError)  exit 9   two computations that must agree do not
    └── Interrupted               exit 130 Ctrl-C; finished work is kept

A message says what is wrong, where, what was expected and what was found. The hint says what to
do next.
"""

from __future__ import annotations

from pcam_kit.text import printable_lines


class PcamError(Exception):
    """An error with a message for the user.

    `hint` says what to do next, `exit_code` is the exit status of the process. Control characters
    are escaped: names and answers from elsewhere are in messages.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = printable_lines(message)
        self.hint = printable_lines(hint)
        super().__init__(self.message)
        if hint:
            self.add_note(f"-> {self.hint}")  # printed below a traceback, as in a notebook

    def __str__(self) -> str:
        return self.message


class UsageError(PcamError, ValueError):
    """A wrong argument, or no run, CSV or store to work on."""

    exit_code = 2


class ConfigError(PcamError, ValueError):
    """A configuration or competition profile that does not fit its schema.

    The message lists all faults at once.
    """

    exit_code = 2


class DataError(PcamError, ValueError):
    """Raw files or a store that cannot be trusted."""

    exit_code = 3


class RunError(PcamError, ValueError):
    """A run folder that is missing, incomplete, damaged or of another schema."""

    exit_code = 4


class TrainingError(PcamError, ArithmeticError):
    """Training cannot continue, e.g. because the loss is not finite."""

    exit_code = 5


class SubmissionError(PcamError, ValueError):
    """A CSV that the competition would refuse, or that was sent before."""

    exit_code = 6


class KaggleError(PcamError, RuntimeError):
    """Kaggle refused a request, or did not answer."""

    exit_code = 7


class CredentialsError(KaggleError):
    """No Kaggle credentials, or Kaggle refused them."""


class AccessError(KaggleError):
    """The competition does not exist, or its rules are not accepted."""


class TransferError(KaggleError):
    """A download, also from another server than Kaggle, or an upload that failed."""


class UnreachableError(TransferError):
    """No connection to the server came about: nothing was asked."""


class OutcomeUnknownError(TransferError):
    """A submission was sent but Kaggle's reply was lost: it may have arrived."""


class StorageError(PcamError, OSError):
    """The disk is full, a folder is read-only, or another process uses the file."""

    exit_code = 8


class LockedError(StorageError):
    """Another process holds the lock."""


class RemoteError(StorageError):
    """Object storage refused a request, or did not answer. What is on this machine is kept."""


class ConflictError(RemoteError):
    """A file of a mirror was changed on this machine and in the storage."""


class MismatchError(PcamError, ArithmeticError):
    """Two computations that must agree do not.

    `result`: the result of the comparison, for a closer look.
    """

    exit_code = 9

    def __init__(self, message: str, *, hint: str = "", result: object = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class Interrupted(PcamError):
    """Stopped by Ctrl-C; everything finished so far is kept."""

    exit_code = 130
