"""All checks of `pcam doctor`, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pcam_kit.errors import ConfigError
from pcam_kit.progress import SILENT, Display
from pcam_kit.workflows.doctor import Check, CheckStatus, machine, packages, run_check

if TYPE_CHECKING:
    from pcam_kit.workspace import Workspace


@dataclass(frozen=True)
class DoctorRequest:
    """What to check.

    `competition`: None for the one fetched last. `offline`: do not use the network. `debug`: log
    the tracebacks of checks that fail.
    """

    competition: str | None = None
    offline: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks."""

    checks: Sequence[Check]

    @property
    def problems(self) -> int:
        """Number of checks that found a problem."""
        return self._count("problem")

    @property
    def warnings(self) -> int:
        """Number of checks that ended with a warning."""
        return self._count("warning")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam doctor`."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "problems": self.problems,
            "warnings": self.warnings,
        }

    def _count(self, status: CheckStatus) -> int:
        return sum(check.status == status for check in self.checks)


def diagnose(
    request: DoctorRequest, workspace: Callable[[], Workspace], *, display: Display = SILENT
) -> Iterator[Check]:
    """The results of every check, each as soon as it is known.

    The slow checks, Keras and Kaggle, run in the background while the others do; their results come
    last.

    `workspace` is called only when it is needed: making a workspace imports packages that may be
    what is broken.
    """
    with machine.backend_checks() as backend:
        for name, check in (
            ("python", packages.python),
            ("packages", packages.packages),
            ("lookalikes", packages.lookalikes),
            ("memory", machine.memory),
        ):
            yield from run_check(name, check, debug=request.debug)
        yield from run_check(
            "pcam-kit",
            lambda: _workspace_checks(request, workspace(), display),
            debug=request.debug,
        )
        yield from run_check("backend", backend, debug=request.debug)


def _workspace_checks(
    request: DoctorRequest, workspace: Workspace, display: Display
) -> Iterator[Check]:
    """The checks of the files in the workspace and of the account on Kaggle."""
    from pcam_kit.workflows.doctor import account, files

    try:
        subject = files.find_subject(request.competition, workspace)
    except ConfigError as error:
        yield Check("competition", "problem", error.message, error.hint)
        subject = files.Subject()
    with account.kaggle_checks(subject, offline=request.offline) as kaggle:
        for name, check in (
            ("disk", lambda: files.disk(subject, workspace)),
            ("store", lambda: files.stores(subject, workspace, display=display)),
            ("runs", lambda: files.runs(subject, workspace)),
            ("ledger", lambda: files.ledger(subject, workspace)),
            ("credentials", lambda: account.credentials(subject)),
            ("kaggle", kaggle),
        ):
            yield from run_check(name, check, debug=request.debug)
