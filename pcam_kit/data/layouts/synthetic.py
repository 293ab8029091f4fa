"""Layout `synthetic`: no files; the counts of the profile say how many patches are drawn."""

from __future__ import annotations

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.synthetic import CENTRE, synthetic_parts
from pcam_kit.errors import DataError


def open_synthetic(profile: Competition, seed: int) -> RawCompetition:
    """Synthetic tissue of the profile's size and counts; drawn when its blocks are read.

    Labels of every part are known. Raises DataError for patches that are too small, and without
    patches for train or test.
    """
    if profile.image_size < CENTRE:
        raise DataError(
            f"{profile.slug}: synthetic tissue needs image_size of at least {CENTRE}, found "
            f"{profile.image_size}"
        )
    missing = [split for split in ("train", "test") if profile.counts.get(split, 0) < 1]
    if missing:
        raise DataError(
            f"{profile.slug}: the profile's counts have no {' and no '.join(missing)} patches"
        )
    parts = synthetic_parts(profile.counts, profile.image_size, seed)
    inventory = [{"name": f"synthetic:seed={seed}", "files": 0, "bytes": 0}]
    note = "synthetic tissue: says nothing about real patients"
    return RawCompetition(profile, parts, inventory, (note,))
