"""`pcam fetch --download` against a loopback server: PCam's files from their public home."""

from __future__ import annotations

import gzip
import hashlib
import io
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import Done, Started, Warm, clean_env, tree
from loopback import ALWAYS, Loopback

from pcam_kit.competitions import find_competition

STEM = "camelyonpatch_level_2_split_"
TRAIN = f"{STEM}train_x.h5.gz"
COUNTS = {"train": 24, "valid": 12, "test": 12}
PROFILE = """\
slug: own-pcam
title: PCam elsewhere
layout: pcam_h5
image_size: 96
target_column: label
target: probability
metric: roc_auc
counts: {train: 24, valid: 12, test: 12}
default_config: pcam96
missing_hint: "without an account: pcam fetch own-pcam --download"
public_files:
  page: https://own.example/pcam
"""
QUICKLY = {"set": {"pcam_kit.downloads.retry.FIRST_DELAY": 0.002}}


class Elsewhere:
    """A folder with a profile whose public home is the loopback server; `pcam` runs there.

    There is no account, and no proxy.
    """

    def __init__(self, root: Path, warm: Warm, kaggle: Loopback, folder: Path) -> None:
        self.kaggle, self.folder, self.warm = kaggle, folder, warm
        self.path, self.env = root / "here", clean_env(root / "home")
        self.raw = self.path / "data" / "own-pcam" / "raw"
        (self.path / "configs" / "competitions").mkdir(parents=True)
        self.write_profile()

    def write_profile(self, **wrong: str) -> None:
        """The profile; `wrong`: other md5s, e.g. of train_x."""
        files: list[str] = []
        for path in sorted(self.folder.iterdir()):
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            md5 = wrong.get(path.name.removeprefix(STEM).partition(".")[0], md5)
            size = "" if path.suffix == ".csv" else f", bytes: {path.stat().st_size}"
            files.append(f"    - {{name: {path.name}, md5: '{md5}'{size}}}")
        mirrors = [f"    - {self.kaggle.publish(at, self.folder)}" for at in ("first", "second")]
        text = "\n".join(["  mirrors:", *mirrors, "  files:", *files])
        profile = self.path / "configs" / "competitions" / "own-pcam.yaml"
        profile.write_text(f"{PROFILE}{text}\n", encoding="utf-8")

    def pcam(self, *args: str, hook: dict[str, Any] = QUICKLY) -> Done:
        return self.warm.run(args, self.path, self.env, hook)

    def start(self, *args: str) -> Started:
        return self.warm.start(args, self.path, self.env, QUICKLY)

    def asked(self) -> list[str]:
        """The names of the files that were asked for since the last time."""
        names = [Path(seen.path.partition("?")[0]).name for seen in self.kaggle.requests]
        self.kaggle.requests.clear()
        return sorted(names)


@pytest.fixture
def elsewhere(warm: Warm, kaggle: Loopback, tmp_path: Path) -> Elsewhere:
    """The nine files as PCam names them."""
    folder, dice = tmp_path / "public", np.random.default_rng(6)
    folder.mkdir()
    for split, count in COUNTS.items():
        images = dice.integers(0, 256, (count, 96, 96, 3), np.uint8)
        labels = (np.arange(count, dtype=np.uint8) % 2).reshape(-1, 1, 1, 1)
        for key, values in (("x", images), ("y", labels)):
            packed = io.BytesIO()
            with h5py.File(packed, "w") as file:
                file[key] = values
            path = folder / f"{STEM}{split}_{key}.h5.gz"
            path.write_bytes(gzip.compress(packed.getvalue(), 1))
        rows = "".join(f"{i},{split}_{i // 4}\n" for i in range(count))
        (folder / f"{STEM}{split}_meta.csv").write_text(f",wsi\n{rows}", encoding="utf-8")
    return Elsewhere(tmp_path, warm, kaggle, folder)


def test_from_the_public_home(elsewhere: Elsewhere) -> None:
    splits = elsewhere.pcam("fetch", "own-pcam", "--download", "--json").json["splits"]
    assert {name: count["n"] for name, count in splits.items()} == COUNTS
    assert tree(elsewhere.raw) == tree(elsewhere.folder)
    assert elsewhere.asked() == sorted(path.name for path in elsewhere.folder.iterdir())
    for args in (("--download",), ()):
        assert "nothing to do" in elsewhere.pcam("fetch", "own-pcam", *args).ok().err
    store = elsewhere.raw.with_name("store")
    (store / "images.npy").unlink()
    assert elsewhere.pcam("fetch", "own-pcam", "--json").json["splits"] == splits
    assert elsewhere.asked() == [], "what is complete is not asked for again"


def test_single_files_and_then_the_rest(elsewhere: Elsewhere) -> None:
    args = ("fetch", "own-pcam", "--download", "--only", "*_valid_*", "--json")
    files = elsewhere.pcam(*args).json["files"]
    names = sorted(Path(file["path"]).name for file in files)
    assert names == sorted(path.name for path in elsewhere.folder.glob("*_valid_*"))
    assert elsewhere.asked() == names
    elsewhere.pcam(*args).ok()
    assert elsewhere.asked() == [], "they are there"
    damaged = elsewhere.raw / f"{STEM}valid_y.h5.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    done = elsewhere.pcam("fetch", "own-pcam", "--download").ok()
    assert "is not the published file (md5: expected" in done.err
    rest = {path.name for path in elsewhere.folder.iterdir()} - set(names)
    assert elsewhere.asked() == sorted([*rest, damaged.name])
    kept = tree(elsewhere.raw)
    assert kept.pop(f"{damaged.name}.damaged").endswith(b"!"), "nothing is lost"
    assert kept == tree(elsewhere.folder)
    elsewhere.pcam("fetch", "own-pcam", "--download", "--only", "*.tif").refused(
        2, "matches *.tif: the profile lists camelyon", "https://own.example/pcam"
    )


def test_ctrl_c_keeps_what_arrived(elsewhere: Elsewhere) -> None:
    half = (elsewhere.folder / TRAIN).stat().st_size // 2
    elsewhere.kaggle.fail("first", name=TRAIN, stall=half)
    command = elsewhere.start("fetch", "own-pcam", "--download")
    part, deadline = elsewhere.raw / f"{TRAIN}.part", time.monotonic() + 20
    while not part.is_file() or part.stat().st_size < half:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    command.kill(signal.SIGINT)
    command.wait(20).refused(130, "stopped", "run the same command again")
    assert part.stat().st_size == half
    assert not (elsewhere.raw / TRAIN).exists()
    elsewhere.pcam("fetch", "own-pcam", "--download").ok()
    assert tree(elsewhere.raw) == tree(elsewhere.folder)
    ranges = [seen.headers.get("range", "") for seen in elsewhere.kaggle.seen("first")]
    assert f"bytes={half}-" in ranges


def test_the_second_address_is_told(elsewhere: Elsewhere) -> None:
    elsewhere.kaggle.fail("first", name=TRAIN, status=404, body=b"", times=ALWAYS)
    done = elsewhere.pcam("fetch", "own-pcam", "--download").ok()
    assert "HTTP 404 Not Found (127.0.0.1/public/first/{name}); trying 127.0.0.1" in done.err
    assert tree(elsewhere.raw) == tree(elsewhere.folder)


def test_other_bytes_than_published(elsewhere: Elsewhere) -> None:
    elsewhere.write_profile(train_y="0" * 32)
    done = elsewhere.pcam("fetch", "own-pcam", "--download").refused(
        7, "no address gives", "train_y", f"md5: expected {'0' * 32}, found "
    )
    assert "Kaggle" not in done.err
    assert not [path for path in elsewhere.raw.iterdir() if "train_y" in path.name]
    assert not elsewhere.raw.with_name("store").exists()
    elsewhere.write_profile()
    elsewhere.asked()
    elsewhere.pcam("fetch", "own-pcam", "--download").ok()
    assert f"{STEM}train_y.h5.gz" in elsewhere.asked()


def test_too_little_room(elsewhere: Elsewhere) -> None:
    """Of the files, of the same unpacked and of the store, and before a byte comes."""
    whole = sum(path.stat().st_size for path in elsewhere.folder.glob("*.gz"))
    args = ("fetch", "own-pcam", "--download")
    elsewhere.pcam(*args, hook={"free": 3 * whole}).refused(8, "not enough space", "--data-dir")
    assert elsewhere.asked() == []
    elsewhere.pcam(*args, hook={"free": 4 * whole + (2 << 20)}).ok()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("pcam",), ("say where its files come from", "pcam fetch pcam --download")),
        (("own-pcam",), ("say where its files come from", "pcam fetch own-pcam --download")),
        (("pcam", "--only", "*.csv"), ("say where", "pcam fetch pcam --download")),
        (("lab", "--download"), ("has no public home", "pcam fetch tnm-112-lab-2-2024")),
        (("pcam", "--download", "--from", "."), ("--download and --from both say",)),
        (("pcam", "--download", "--dataset", "a/b"), ("--download and --dataset both say",)),
    ],
)
def test_where_the_files_come_from_is_said(
    elsewhere: Elsewhere, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    elsewhere.pcam("fetch", *args).refused(2, *words)
    assert elsewhere.asked() == []


def test_the_shipped_profile_has_all_of_pcam() -> None:
    public = find_competition("pcam").public_files
    assert public is not None
    names = {file.name for file in public.files}
    assert names == {
        f"{STEM}{split}_{rest}"
        for split in ("train", "valid", "test")
        for rest in ("x.h5.gz", "y.h5.gz", "meta.csv")
    }
    assert len({file.md5 for file in public.files}) == 9
    assert sum(file.bytes for file in public.files) == 8_028_222_167
