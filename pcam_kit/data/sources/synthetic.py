"""Layout `synthetic`: no files; the counts of the profile say how much is drawn."""

from __future__ import annotations

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.synthetic import CENTRE, synthetic_parts
from pcam_kit.errors import DataError


def open_synthetic(profile: Competition, seed: int) -> RawCompetition:
    """Made-up tissue of the profile's size and counts; drawn when its blocks are read.

    Labels of every part are known.
    """
    if profile.image_size < CENTRE:
        raise DataError(
            f"{profile.slug}: made-up tissue needs image_size of at least {CENTRE}, found "
            f"{profile.image_size}"
        )
    lost = [split for split in ("train", "test") if profile.counts.get(split, 0) < 1]
    if lost:
        raise DataError(
            f"{profile.slug}: the profile's counts have no {' and no '.join(lost)} patches"
        )
    parts = synthetic_parts(profile.counts, profile.image_size, seed)
    inventory = [{"name": f"synthetic:seed={seed}", "files": 0, "bytes": 0}]
    return RawCompetition(
        profile, parts, inventory, ("synthetic: made-up tissue, says nothing about real patients",)
    )
