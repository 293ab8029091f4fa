"""Drift between the splits of a store: measured, put into words, and told before a submission."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_factories import profile
from numpy.typing import NDArray

from pcam_kit.cli import shift as shift_command
from pcam_kit.data.raw import SPLITS, Images, Part, RawCompetition
from pcam_kit.data.shift import (
    LIMIT,
    SAMPLE,
    WORDS,
    measure_colours,
    measure_drift,
    patch_statistics,
)
from pcam_kit.data.store import Store, build_store
from pcam_kit.data.store_stain import normalise_store
from pcam_kit.submissions import Origin, write_csv
from pcam_kit.workflows import shift as command
from pcam_kit.workflows import submit
from pcam_kit.workspace import Workspace

pytestmark = pytest.mark.usefixtures("messages")

RNG = np.random.default_rng(0)


def tissue(n: int, seed: int, size: int = 32) -> Images:
    """Patches that differ in brightness and colour, with some grain: uint8 [n, size, size, 3]."""
    rng = np.random.default_rng(seed)
    base = rng.normal((190, 130, 170), (20, 20, 20), (n, 1, 1, 3))
    return (base + rng.normal(0, 15, (n, size, size, 3))).clip(0, 255).astype(np.uint8)


def stored(folder: Path, *, size: int = 32, **parts: Images) -> Store:
    """A store of these splits, found as the competition `tiny`."""

    def part(split: str, images: Images) -> Part:
        labels = (
            np.full(len(images), -1, np.int8)
            if split == "test"
            else (np.arange(len(images)) % 2).astype(np.int8)
        )
        return Part(
            split,
            [str(i) for i in range(len(images))],
            labels,
            lambda: (block for block in [images]),
        )  # type: ignore[arg-type]

    raw = RawCompetition(
        profile("lab_h5", image_size=size),
        tuple(part(split, parts[split]) for split in SPLITS if split in parts),
        [],
    )
    store = build_store(raw, folder / "tiny" / "store")
    (folder / "tiny" / "fetched.json").write_text('{"time": "2024-01-01"}', encoding="utf-8")
    return store


def test_statistics_are_what_their_names_say() -> None:
    images = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    images[1, :16] = 230
    h, e = (np.array(v) / np.linalg.norm(v) for v in ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)))
    basis = np.stack([h, e, np.cross(h, e)]).T
    for image, row in zip(images, patch_statistics(images), strict=True):
        pixels = image.reshape(-1, 3).astype(float)
        amounts = np.linalg.solve(basis, -np.log((pixels + 1) / 256).T)
        saturation = [0.0 if max(p) == 0 else (max(p) - min(p)) / max(p) for p in pixels.tolist()]
        white = [min(p) >= 220 for p in pixels.tolist()]
        expected = [amounts[0].mean(), amounts[0].std(), amounts[1].mean(), amounts[1].std()]
        np.testing.assert_allclose(
            row,
            [*expected, pixels.mean() / 255, np.mean(saturation), np.mean(white)],
            rtol=1e-4,
            atol=1e-6,
        )


def darker(images: Images) -> Images:
    return (images * 0.85).astype(np.uint8)


def redder(images: Images) -> Images:
    return np.clip(images.astype(int) + np.array((25, -20, 0)), 0, 255).astype(np.uint8)


def whiter(images: Images) -> Images:
    images = images.copy()
    images[::2, :12] = 250
    return images


@pytest.mark.parametrize(
    ("change", "words"),
    [(darker, "is darker"), (redder, "is more saturated"), (whiter, "has more white")],
)
def test_drift_is_named(change: Callable[[Images], Images], words: str, tmp_path: Path) -> None:
    store = stored(
        tmp_path, train=tissue(300, 1), valid=tissue(200, 2), test=change(tissue(200, 3))
    )
    train, valid, test = (measure_colours(store, split) for split in store.splits)
    assert measure_drift(train, valid).sentences == []
    found = measure_drift(train, test)
    assert any(sentence.startswith(f"test {words} than train by ") for sentence in found.sentences)
    name = next(name for name, pair in WORDS.items() if words in pair)
    a, b = (
        patch_statistics(store.images[store.rows(split)])[:, list(WORDS).index(name)]
        for split in ("train", "test")
    )
    assert found.differences[name] == pytest.approx(
        (b.mean() - a.mean()) / np.sqrt((a.var() + b.var()) / 2), rel=1e-6
    )
    assert found.largest == max(abs(value) for value in found.differences.values())
    sizes = [abs(found.differences[name]) for name in found.drifted]
    assert sizes == sorted(sizes, reverse=True)


def test_drift_turns_round_with_the_splits(tmp_path: Path) -> None:
    store = stored(tmp_path, train=tissue(300, 1), test=darker(tissue(200, 3)))
    train, test = (measure_colours(store, split) for split in ("train", "test"))
    there, back = measure_drift(train, test), measure_drift(test, train)
    assert there.drifted == back.drifted
    assert any("train is brighter than test" in sentence for sentence in back.sentences)
    assert there.differences == pytest.approx(
        {name: -value for name, value in back.differences.items()}
    )


def test_halves_of_one_split_do_not_drift() -> None:
    """With few patches chance alone is above the limit, and must not be called drift: 2 of 200
    pairs may.
    """
    from pcam_kit.data.shift import Colours

    def look(n: int) -> Colours:
        values = RNG.normal(size=(n, len(WORDS)))
        return Colours(
            "x",
            n,
            dict(zip(WORDS, values.mean(0), strict=True)),
            dict(zip(WORDS, values.std(0), strict=True)),
        )

    pairs = [measure_drift(look(20), look(20)) for _ in range(200)]
    assert sum(pair.largest > LIMIT for pair in pairs) > 150
    assert sum(bool(pair.drifted) for pair in pairs) <= 20


@pytest.mark.parametrize("level", [0, 128, 255])
def test_patches_of_one_colour_give_finite_numbers(level: int, tmp_path: Path) -> None:
    flat: NDArray[np.uint8] = np.full((100, 32, 32, 3), level, np.uint8)
    store = stored(tmp_path, train=flat, test=np.full((100, 32, 32, 3), 255 - level, np.uint8))
    found = measure_drift(*(measure_colours(store, split) for split in ("train", "test")))
    assert np.isfinite(list(found.differences.values())).all()
    assert found.drifted


def test_large_splits_and_large_patches_are_sampled(tmp_path: Path) -> None:
    raw = tissue(SAMPLE + 200, 1)
    store = stored(tmp_path, train=raw, valid=raw[:10])
    first, again, other = (measure_colours(store, "train", seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first.n == SAMPLE
    np.testing.assert_allclose(
        list(first.mean.values()), patch_statistics(raw).mean(0), rtol=0.03, atol=0.003
    )


def test_of_large_patches_every_third_pixel_is_enough(tmp_path: Path) -> None:
    raw = tissue(50, 1, size=96)
    found = measure_colours(stored(tmp_path, size=96, train=raw, valid=raw[:10]), "train")
    np.testing.assert_allclose(
        list(found.mean.values()), patch_statistics(raw).mean(0), rtol=0.03, atol=0.003
    )


@pytest.fixture
def drifted(tmp_path: Path) -> Workspace:
    stored(
        tmp_path / "data", train=tissue(300, 1), valid=tissue(200, 2), test=darker(tissue(200, 3))
    )
    return Workspace(tmp_path / "data", tmp_path / "runs", tmp_path / "submissions")


def test_the_command(drifted: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    shifted = command.colour_shift(None, None, drifted)
    told = json.loads(json.dumps(shifted.to_dict(), allow_nan=False))
    assert list(told["splits"]) == ["train", "valid", "test"]
    assert told["splits"]["valid"]["n"] == 200
    assert [one["split"] for one in told["drifts"]] == ["valid", "test"]
    assert told["drifts"][0]["sentences"] == []
    shift_command.show(shifted)
    seen = capsys.readouterr()
    assert all(
        word in seen.out for word in ("train (300)", "test (200)", "test - train", "brightness")
    )
    assert "test is darker than train by" in seen.err
    assert "augment.stain.strength" in seen.err
    assert "pcam fetch tiny --stain reinhard" in seen.err


def dry_run(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "id,label\n" + "".join(f"{i},0.{i % 9 + 1}\n" for i in range(200)), encoding="utf-8"
    )
    submit.submit(
        submit.SubmitRequest(tmp_path / "mine.csv", dry_run=True), workspace, lambda _: True
    )


def test_told_before_a_submission_in_one_line(
    drifted: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(drifted, tmp_path)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "than train" in line)
    assert line.startswith("test ")
    assert line.endswith("sd: the score may be lower than in validation (pcam shift tiny)")


def test_nothing_is_told_without_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path / "data", train=tissue(300, 1), test=tissue(200, 3))
    dry_run(Workspace(tmp_path / "data", tmp_path / "runs", tmp_path / "submissions"), tmp_path)
    assert "than train" not in capsys.readouterr().err


def test_drift_is_that_of_the_patches_the_runs_saw(
    drifted: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Normalised, test is as dark as train; that of another store, or of one that is not there, is
    not told.
    """
    ids = [str(i) for i in range(200)]
    store = drifted.store("tiny")
    for stain, told in ((None, True), ("reinhard", False), ("macenko", False)):
        if stain == "reinhard":
            build_store(
                normalise_store(store, stain, progress=lambda *_: None),
                drifted.store_path("tiny", stain),
            )
        path = tmp_path / "submissions" / f"{stain}.csv"
        made = write_csv(
            path,
            store.profile,
            ids,
            np.random.default_rng(len(str(stain))).random(200),
            threshold=0.5,
        )
        drifted.ledger.record_written(made, "tiny", Origin(stain=stain))
        submit.submit(submit.SubmitRequest(path, dry_run=True), drifted, lambda _: True)
        assert ("than train" in capsys.readouterr().err) == told
