"""The settings of an experiment, as the schema has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcam_kit.config.reference import Setting


def settings(key: str | None = None) -> list[Setting]:
    """Every setting of an experiment: key, type, default, allowed values, meaning.

    key: only that one, e.g. "training.learning_rate", or all below e.g. "training"; the last part
    is enough where it is unique. Options of networks come once for each network that has them.
    Raises UsageError for a key that is none.
    """
    from pcam_kit.config.reference import all_settings, find_settings

    return list(all_settings()) if key is None else find_settings(key)
