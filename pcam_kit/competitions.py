"""Competition profiles: where data comes from and where predictions go, as YAML in
`configs/competitions/`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pcam_kit.config import load
from pcam_kit.errors import ConfigError

Split = Literal["train", "valid", "test"]


class Overlap(BaseModel):
    """Patches that two competitions share: those of `split` of another `competition` (its slug) are
    among this one's split `ours`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    competition: str
    split: Split
    ours: Split = "test"
    why: str


class Competition(BaseModel):
    """One competition, or a dataset in the same role. Counts are told, not enforced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    aliases: list[str] = []
    layout: Literal["tif_folders", "lab_h5", "pcam_h5", "synthetic"]
    image_size: int = Field(gt=0)  # pixels a side
    id_column: str = "id"
    target_column: str
    target: Literal["probability", "class"]
    metric: Literal["roc_auc", "accuracy"]
    counts: dict[Split, int]
    default_config: str
    # used where the raw files have no validation part
    valid_fraction: float = Field(default=0.15, gt=0, lt=1)
    missing_hint: str = ""  # said when Kaggle does not know the slug
    # knowledge about the data: not part of what a store or a run remembers
    overlaps: list[Overlap] = Field(default=[], exclude=True)

    @property
    def url(self) -> str:
        """Its page on Kaggle."""
        return f"https://www.kaggle.com/competitions/{self.slug}"

    @property
    def header(self) -> tuple[str, str]:
        """The two columns of a submission."""
        return self.id_column, self.target_column


def find_competition(name: str) -> Competition:
    """The profile for a slug, an alias, a Kaggle URL or a path to a YAML file.

    Raises ConfigError naming those there are.
    """
    if Path(name).suffix in {".yaml", ".yml"}:
        return read_profile(Path(name))
    slug = slug_of(name)
    known = load.list_configs(kind="competitions")
    if slug in known:
        return read_profile(load.find_config(slug, kind="competitions"))
    for other in known:
        profile = read_profile(load.find_config(other, kind="competitions"))
        if slug == profile.slug or slug in profile.aliases:
            return profile
    raise ConfigError(
        f"no profile for the competition {slug!r}{load.suggestion(slug, known)}",
        hint=f"known: {', '.join(known)}. For another year or a private copy, copy one of "
        "configs/competitions/*.yaml to "
        f"configs/competitions/{slug}.yaml, change its slug and columns, and run the same "
        "command again",
    )


def find_overlaps(
    slug: str, splits: Collection[str] = get_args(Split)
) -> list[tuple[Competition, Overlap]]:
    """The competitions among whose patches are some of the `splits` of `slug`.

    Profiles that cannot be read are passed over.
    """
    found: list[tuple[Competition, Overlap]] = []
    for name in load.list_configs(kind="competitions"):
        with suppress(ConfigError):  # a fault in another profile is told when that one is used
            profile = read_profile(load.find_config(name, kind="competitions"))
            found.extend(
                (profile, one)
                for one in profile.overlaps
                if one.competition == slug and one.split in splits
            )
    return found


def slug_of(name: str) -> str:
    """`https://www.kaggle.com/c/some-slug/data` or `some-slug` -> `some-slug`."""
    match = re.match(
        r"^(?:https?://)?(?:www\.)?kaggle\.com/(?:competitions|c|t)/([^/?#]+)", name.strip()
    )
    return (match.group(1) if match else name.strip()).lower()


def read_profile(path: Path) -> Competition:
    """Read one profile. Raises ConfigError with every fault in it."""
    if not path.is_file():
        raise ConfigError(f"no competition profile at {path}")
    return load.validate(Competition, load.read_yaml_file(path), str(path))
