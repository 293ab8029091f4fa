"""Competition profiles: where data comes from and where predictions go.

A profile is a YAML file in `configs/competitions/`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pcam_kit.config import load
from pcam_kit.config.faults import suggestion
from pcam_kit.config.plain import shown
from pcam_kit.config.values import Line, ShortLine, Text
from pcam_kit.errors import ConfigError
from pcam_kit.metrics import METRICS
from pcam_kit.names import is_device, unsafe_name
from pcam_kit.parsing import printable

Split = Literal["train", "valid", "test"]
LAYOUTS = Path(__file__).parent / "data" / "layouts"


class Overlap(BaseModel):
    """Patches that two competitions share.

    Patches of `split` of the other `competition` (its slug) are also in this one's split `ours`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    competition: ShortLine
    split: Split
    ours: Split = "test"
    why: Text


class PublicFile(BaseModel):
    """A file of a public home. bytes: its size, 0 when it is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: ShortLine
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    bytes: int = Field(default=0, ge=0, le=10**15)

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        fault = unsafe_name(name)
        if fault:
            raise ValueError(f"no name of a file: {fault}")
        return name


class PublicFiles(BaseModel):
    """Where the files of a competition are public: no account is needed.

    page: for people. mirrors: addresses that have all files, with `{name}` for a file's name; tried
    in this order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    page: Line
    mirrors: list[Line] = Field(min_length=1, max_length=20)
    files: list[PublicFile] = Field(min_length=1, max_length=50)

    @field_validator("mirrors")
    @classmethod
    def _usable_addresses(cls, mirrors: list[str]) -> list[str]:
        for mirror in mirrors:
            parts = urlsplit(mirror)
            usable = parts.scheme in {"http", "https"} and parts.hostname
            if not usable or mirror.count("{name}") != 1:
                raise ValueError(f"expected https://HOST/...{{name}}..., found {mirror!r}")
        return mirrors

    @field_validator("files")
    @classmethod
    def _different_names(cls, files: list[PublicFile]) -> list[PublicFile]:
        names = [file.name.lower() for file in files]  # some disks do not tell A from a
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        return files


class Competition(BaseModel):
    """One competition, or a dataset used like one.

    `counts` are the published numbers of patches; they are not enforced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)
    title: Line
    aliases: list[ShortLine] = Field(default=[], max_length=100)
    layout: ShortLine  # a module in `data/layouts/`
    image_size: int = Field(gt=0, le=4096)  # side of a patch in pixels
    id_column: ShortLine = "id"
    target_column: ShortLine
    target: Literal["probability", "class"]
    metric: str  # a name in `metrics.METRICS`
    counts: dict[Split, Annotated[int, Field(ge=0, le=10**8)]]
    default_config: Line
    imagenet_config: Line | None = None  # the default where its weights are installed
    # used when the raw files have no validation split
    valid_fraction: float = Field(default=0.15, gt=0, lt=1)
    missing_hint: Text = ""  # where to get the files of what is no competition at Kaggle
    # facts about the data, looked up when needed: stores and runs do not keep a copy
    public_files: PublicFiles | None = Field(default=None, exclude=True)
    overlaps: list[Overlap] = Field(default=[], exclude=True, max_length=100)

    @field_validator("slug")
    @classmethod
    def _usable_slug(cls, slug: str) -> str:
        if is_device(slug):
            raise ValueError("the slug names a folder, and this is the name of a device in Windows")
        return slug

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, name: str) -> str:
        known = [module.name for module in iter_modules([str(LAYOUTS)])]
        if name not in known:
            raise ValueError(f"input should be one of {', '.join(map(repr, known))}")
        return name

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in METRICS:
            raise ValueError(f"input should be one of {', '.join(map(repr, METRICS))}")
        return name

    @model_validator(mode="after")
    def _check_columns(self) -> Competition:
        if self.id_column == self.target_column:
            raise ValueError("id_column and target_column need different names")
        return self

    @property
    def url(self) -> str:
        """Its page on Kaggle."""
        return f"https://www.kaggle.com/competitions/{self.slug}"

    @property
    def header(self) -> tuple[str, str]:
        """The names of the two columns of a submission."""
        return self.id_column, self.target_column


def find_competition(name: str) -> Competition:
    """The profile for a slug, an alias, a Kaggle URL or a path to a YAML file.

    Raises ConfigError, which lists the available profiles.
    """
    if Path(name).suffix in {".yaml", ".yml"}:
        return read_profile(Path(name))
    slug = slug_of(name)
    slugs = load.list_configs(kind="competitions")
    if slug in slugs:
        return read_profile(load.find_config(slug, kind="competitions"))
    faults: list[str] = []
    for candidate in slugs:
        try:
            profile = read_profile(load.find_config(candidate, kind="competitions"))
        except ConfigError as error:  # another one may be meant
            faults.append(error.message)
            continue
        if slug == profile.slug or slug in profile.aliases:
            return profile
    message = f"no profile for the competition {shown(slug)}{suggestion(slug, slugs)}"
    if faults:
        message += "; these cannot be read:"
    raise ConfigError(
        "\n  ".join([message, *faults]),
        hint=f"known: {', '.join(map(printable, slugs))}. For another year or a private copy, copy "
        "one of configs/competitions/*.yaml to "
        f"configs/competitions/{printable(slug)}.yaml, change its slug and columns, and run the "
        "same command again",
    )


def find_overlaps(
    slug: str, splits: Collection[str] = get_args(Split)
) -> list[tuple[Competition, Overlap]]:
    """The competitions whose patches include some of the `splits` of `slug`.

    Profiles that cannot be read are skipped.
    """
    overlaps: list[tuple[Competition, Overlap]] = []
    for name in load.list_configs(kind="competitions"):
        with suppress(ConfigError):  # a fault in another profile is reported when that one is used
            profile = read_profile(load.find_config(name, kind="competitions"))
            overlaps.extend(
                (profile, overlap)
                for overlap in profile.overlaps
                if overlap.competition == slug and overlap.split in splits
            )
    return overlaps


def slug_of(name: str) -> str:
    """The slug in a Kaggle address: `https://www.kaggle.com/c/some-slug/data` -> `some-slug`."""
    match = re.match(
        r"^(?:https?://)?(?:www\.)?kaggle\.com/(?:competitions|c|t)/([^/?#]+)", name.strip()
    )
    slug = match.group(1) if match else name.strip()
    return slug.lower()


def read_profile(path: Path) -> Competition:
    """Read one profile.

    Raises ConfigError, which lists every fault in it.
    """
    if not path.is_file():
        raise ConfigError(f"no competition profile at {printable(str(path))}", hint=_example())
    values = load.read_yaml_file(path)
    try:
        return load.validate(Competition, values, printable(str(path)))
    except ConfigError as error:  # its hint is about configs
        raise ConfigError(error.message, hint=_example()) from error


def _example() -> str:
    """What may stand in a profile, and where to see one."""
    required = [name for name, field in Competition.model_fields.items() if field.is_required()]
    others = [name for name in Competition.model_fields if name not in required]
    folder = load.config_folders()[-1] / "competitions"
    return (
        f"a profile has the keys {', '.join(required)}; it may have {', '.join(others)}; an "
        f"example: {folder / 'pcam.yaml'}"
    )
