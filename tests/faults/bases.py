"""The two small competitions that the rows are about, what an undisturbed fetch makes of them, and
a world for each row.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
from command_line import Warm, clean_env
from loopback import USERNAME, Loopback
from world import CANARY_KEY, CANARY_TOKEN, LAB, ROWS, SIZE, TIFS, World

PROFILE = """\
slug: {slug}
title: {slug}
layout: {layout}
image_size: {size}
target_column: class
target: class
metric: accuracy
counts: {counts}
default_config: quick
"""
PROFILES = {
    LAB: PROFILE.format(
        slug=LAB, layout="lab_h5", size=32, counts="{train: 60, valid: 40, test: 40}"
    ),
    TIFS: PROFILE.format(slug=TIFS, layout="tif_folders", size=16, counts="{train: 40, test: 20}"),
}


def make_lab(folder: Path, n: int = 60) -> Path:
    """A small competition in the lab's layout. train.h5 has exactly SIZE bytes if that is enough:
    what HDF5 files end with is not read.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(20240229)
    for name, count in (("train", n), ("valid", 40), ("test_x", ROWS)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
            if name != "test_x":
                file["y"] = np.arange(count, dtype=np.uint8) % 2
    with open(folder / "train.h5", "ab") as file:
        file.write(rng.bytes(max(0, SIZE - file.tell())))
    return folder


def make_tifs(folder: Path, train: int = 40, test: int = 20) -> Path:
    """A small competition of so many files that it comes as one zip."""
    rng = np.random.default_rng(20240229)
    for part, n in (("train", train), ("test", test)):
        (folder / part).mkdir(parents=True)
        for i in range(n):
            ok, data = cv2.imencode(".tif", rng.integers(0, 256, (16, 16, 3), np.uint8))
            assert ok
            (folder / part / f"{part}{i}.tif").write_bytes(data.tobytes())
    (folder / "train_labels.csv").write_text(
        "id,class\n" + "".join(f"train{i},{i % 2}\n" for i in range(train)), encoding="utf-8"
    )
    return folder


def account(kaggle: Loopback, home: Path) -> dict[str, str]:
    """The variables of an account with canary credentials, in an otherwise clean environment."""
    kaggle.users.add((USERNAME, CANARY_KEY))
    kaggle.tokens[CANARY_TOKEN] = USERNAME
    ours = {
        name: value
        for name, value in kaggle.env(home).items()
        if name.startswith("KAGGLE_") or name.endswith("_proxy")
    }
    return clean_env(home) | ours | {"KAGGLE_KEY": CANARY_KEY}


@dataclass(frozen=True)
class Bases:
    """Both competitions' files, and what an undisturbed fetch makes of them; made once, never
    changed.
    """

    root: Path
    warm: Warm

    def prepare(self) -> None:
        """Make them."""
        make_lab(self.root / "remote" / LAB)
        make_tifs(self.root / "remote" / TIFS)
        for slug in (LAB, TIFS):
            with self.world(slug, self.root / "undisturbed" / slug) as world:
                world.run(("fetch", slug, "--json")).ok()
                shutil.copytree(world.home, self.whole(slug))
                world.check_finished()

    def whole(self, slug: str) -> Path:
        return self.root / "whole" / slug

    @contextlib.contextmanager
    def world(self, slug: str, root: Path) -> Iterator[World]:
        """An empty working folder and a server of its own with a copy of the competition."""
        (root / "work" / "configs" / "competitions").mkdir(parents=True)
        (root / "home").mkdir()
        for name, text in PROFILES.items():
            (root / "work" / "configs" / "competitions" / f"{name}.yaml").write_text(
                text, encoding="utf-8"
            )
        shutil.copytree(self.root / "remote" / slug, root / "remote")
        solution = root / "solution.csv"
        solution.write_text(
            "id,class\n" + "".join(f"{i},{i % 2}\n" for i in range(ROWS)), encoding="utf-8"
        )
        with Loopback() as kaggle:
            kaggle.serve(slug, root / "remote", solution)
            yield World(
                root,
                slug,
                root / "remote",
                self.whole(slug),
                kaggle,
                self.warm,
                account(kaggle, root / "home"),
            )

    @contextlib.contextmanager
    def world_of(self, kind: str, root: Path, *, fresh: bool) -> Iterator[World]:
        """The world of a row."""
        with self.world(TIFS if kind == "tifs" else LAB, root) as world:
            # finished before the fault; only train.h5 is still to come
            if kind == "lab" and not fresh:
                world.raw.mkdir(parents=True)
                for name in ("valid.h5", "test_x.h5"):
                    shutil.copy2(world.remote / name, world.raw / name)
            if kind == "submit":
                shutil.copytree(self.whole(LAB), world.home)
                (world.here / "mine.csv").write_text(
                    "id,class\n"
                    + "".join(f"{i},{i % 2 if i >= 4 else 1 - i % 2}\n" for i in range(ROWS)),
                    encoding="utf-8",
                )
            yield world
