"""`pcam apply`: real patches in images of every kind get the probabilities that the run gives them;
what is stopped is resumed; nothing is overwritten.
"""

from __future__ import annotations

import csv
import importlib.util
import shutil
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from command_line import Done, Layout, Project, Warm, clean_env, tree

import pcam_kit as pcam
from pcam_kit.run_folders import find_run
from pcam_kit.tissue.table import read_table
from pcam_kit.workspace import Workspace

QUICK = """\
# pcam train quick
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 1, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: d4}
"""
SIDE = 5  # patches a side of the mosaic


@pytest.fixture(scope="module")
def real(real_patches: Layout, tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Project:
    """A run on few real patches of 96x96 pixels; never changed by a test."""
    raw, _ = real_patches("pcam", "--train", "160", "--valid", "60", "--test", "40")
    root = tmp_path_factory.mktemp("real")
    project = Project(root / "work", clean_env(root / "home"), warm)
    (project.path / "configs").mkdir(parents=True)
    (project.path / "configs" / "quick.yaml").write_text(QUICK, encoding="utf-8")
    project.quick("fetch", "pcam", "--from", raw).ok()
    project.quick("train", "quick", "--set", "competition=pcam").ok()
    return project


def patches(project: Project) -> tuple[np.ndarray, np.ndarray]:
    """Validation patches, uint8 [n, 96, 96, 3], and what the run's own predictions say of them."""
    workspace = Workspace.below(project.path)
    kept = find_run(workspace.runs, None).load_predictions("valid")
    assert kept is not None
    store = workspace.store("pcam")
    return np.asarray(store.images[store.rows("valid")]), kept.probability("d4")


def applied(
    project: Project, folder: Path, *args: str | Path, draw: bool = False
) -> tuple[Done, dict[Any, float]]:
    """Run the command in `folder`; the probabilities by image, x and y."""
    options = [] if draw else ["--no-heatmap"]
    done = Project(folder, project.env, project.warm).quick(
        "apply", *project.runs()[-1:], *args, *options, "--runs-dir", project.path / "runs"
    )
    done.ok()
    table = folder / done.out.splitlines()[0]
    with open(table, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return done, {
        (row["image"], int(row["x"]), int(row["y"])): float(row["probability"]) for row in rows
    }


def mosaic(images: np.ndarray) -> np.ndarray:
    rows = images[: SIDE * SIDE].reshape(SIDE, SIDE, 96, 96, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(SIDE * 96, SIDE * 96, 3)


def test_tiles_of_an_image_get_what_their_patches_get(real: Project, tmp_path: Path) -> None:
    images, expected = patches(real)
    whole = mosaic(images)
    tifffile.imwrite(
        tmp_path / "plain.tif",
        whole,
        photometric="rgb",
        tile=(128, 128),
        compression="deflate",
        resolution=(10_000 / 0.972, 10_000 / 0.972),
        resolutionunit="CENTIMETER",
    )
    _, found = applied(real, tmp_path, "plain.tif", "--stride", "48", "--keep-background")
    assert len(found) == ((SIDE * 96 - 96) // 48 + 1) ** 2
    for i in range(SIDE * SIDE):
        row, column = divmod(i, SIDE)
        assert found["plain.tif", 96 * column, 96 * row] == pytest.approx(expected[i], abs=1e-5)
    # at twice the size, with a level that has the patches' own
    large = whole.repeat(2, axis=0).repeat(2, axis=1)
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (128, 128),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        size = 10_000 / 0.486
        writer.write(large, subifds=1, resolution=(size, size), **options)
        writer.write(whole, subfiletype=1, **options)
    done, twice = applied(
        real, tmp_path, "pyramid.tif", "--stride", "96", "--keep-background", draw=True
    )
    assert "read 0.486 µm/pixel (its resolution tags), resampled 2 times to 0.972" in done.err
    assert "from a level reduced 2 times" in done.err
    assert len(twice) == SIDE * SIDE
    for (_, x, y), p in twice.items():
        assert p == pytest.approx(found["plain.tif", x // 2, y // 2], abs=1e-5)
    picture = cv2.imread(str(tmp_path / "tissue" / "pyramid-heatmap.png"))
    assert picture is not None
    assert min(picture.shape[:2]) > 500
    assert not (tmp_path / "tissue" / "plain-heatmap.png").exists()


def test_patches_in_folders_zips_and_patterns(real: Project, tmp_path: Path) -> None:
    images, expected = patches(real)
    (tmp_path / "new").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "new" / f"{i}.png"), images[i][..., ::-1])
    tifffile.imwrite(tmp_path / "new" / "3.tif", images[3], photometric="rgb")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for path in (tmp_path / "new").iterdir():
            archive.write(path, path.name)
    for argument in ("new.zip", "new/*"):
        done, found = applied(real, tmp_path, argument, "--out", f"{len(argument)}.csv")
        assert list(found.values()) == pytest.approx(expected[:4], abs=1e-5)
        assert [name for name, _, _ in found] == ["0.png", "1.png", "2.png", "3.tif"]
        assert "4 images of one patch" in done.err
        assert "8 views averaged" in done.err


def test_colours_and_sizes_that_need_work(real: Project, tmp_path: Path) -> None:
    images, expected = patches(real)
    (tmp_path / "new").mkdir()
    for i in range(3):
        twice = cv2.resize(images[i], (192, 192), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "new" / f"{i}.png"), twice[..., ::-1])
    done, found = applied(real, tmp_path, "new", "--pixel-size", "0.486")
    # enlarging blurs a little, and this network has hardly learned
    assert list(found.values()) == pytest.approx(expected[:3].tolist(), abs=0.06)
    assert "given 0.486 µm/pixel, resampled 2 times to 0.972" in done.err
    inks = np.dstack([255 - images[0], np.zeros((96, 96), np.uint8)])
    tifffile.imwrite(tmp_path / "cmyk.tif", inks, photometric="separated")
    cv2.imwrite(str(tmp_path / "grey.png"), cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY))
    opaque = np.dstack([images[0][..., ::-1], np.full((96, 96), 255, np.uint8)])
    cv2.imwrite(str(tmp_path / "rgba.png"), opaque)
    done, found = applied(real, tmp_path, "cmyk.tif", "grey.png", "rgba.png")
    assert found["cmyk.tif", 0, 0] == pytest.approx(expected[0], abs=1e-5)
    assert found["rgba.png", 0, 0] == pytest.approx(expected[0], abs=1e-5)
    assert 0 <= found["grey.png", 0, 0] <= 1
    for words in ("cmyk.tif: CMYK", "warning: grey.png: greyscale", "rgba.png: transparent"):
        assert words in done.err


def tissue(project: Project, side: int = 400) -> Path:
    """An image of noise in tissue's colours, for the runs on synthetic patches of 32 pixels."""
    noise = np.random.default_rng(0).normal((170, 100, 170), 40, (side, side, 3))
    path = project.path / "slide.tif"
    tifffile.imwrite(path, np.clip(noise, 0, 255).astype(np.uint8), photometric="rgb")
    return path


def test_killed_and_resumed_it_equals_one_that_was_not(project: Project) -> None:
    tissue(project)
    args = ("apply", "tiny0", "slide.tif", "--stride", "8", "--pixel-size", "0.972")
    # what is drawn is tested elsewhere; here it has to be the same
    project.quick(*args, "--out", "whole/t.csv").ok()
    assert project.warm is not None
    part = project.path / "part" / "t.csv.part"
    for batches in (1, 3):
        started = project.warm.start((*args, "--out", "part/t.csv"), project.path, project.env)
        deadline = time.monotonic() + 60
        while not part.exists() or part.read_bytes().count(b"\n") < batches + 1:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        started.kill(signal.SIGKILL)
        started.wait()
        assert sorted(path.name for path in part.parent.glob("[!.]*")) == ["t.csv.part"]
    before = part.read_bytes()
    other = project.quick(*args[:-2], "--pixel-size", "0.5", "--out", "part/t.csv")
    other.refused(2, "pixel size (0.972 before, now 0.5)", "to start anew, delete")
    assert part.read_bytes() == before
    assert "resumed after" in project.quick(*args, "--out", "part/t.csv").ok().err
    for name in ("t.csv", "t-heatmap.png"):
        assert (project.path / "part" / name).read_bytes() == (
            project.path / "whole" / name
        ).read_bytes()
    assert not part.exists()


def test_only_its_own_files_are_replaced(project: Project) -> None:
    tissue(project)
    args = ("apply", "tiny0", "slide.tif", "--out", "out/t.csv")
    first = project.quick(*args, "--json").json
    assert first["tiles"] == 12 * 12
    assert first["images"][0]["heatmap"] == str(Path("out/t-heatmap.png"))
    before = tree(project.path / "out")
    again = project.quick(*args, "--json")
    assert again.json == first
    assert "nothing to do" in again.err
    other = project.quick(*args, "--stride", "16")
    other.refused(2, "would be overwritten", "stride (32 before, now 16)", "another --out")
    if importlib.util.find_spec("pyarrow") is not None:
        other = project.quick(*args[:-1], "out/t.parquet")
        other.refused(2, "table (t.csv before, now t.parquet)")
    assert tree(project.path / "out") == before
    (project.path / "out" / "t.csv").write_text("mine", encoding="utf-8")
    project.quick(*args).refused(2, "were changed")
    shutil.rmtree(project.path / "out")
    (project.path / "out").mkdir()
    (project.path / "out" / "t.csv").write_text("mine", encoding="utf-8")
    project.quick(*args).refused(2, "out/t.csv would be overwritten")
    assert tree(project.path / "out") == {"t.csv": b"mine"}


def test_an_image_without_tissue(project: Project) -> None:
    white = np.full((400, 500, 3), 243, np.uint8)
    cv2.imwrite(str(project.path / "white.png"), white)
    done = project.quick("apply", "tiny0", "white.png", "--json")
    assert done.json["tiles"] == 0
    assert done.json["images"][0]["background"] == 12 * 15
    assert "white.png: no tissue was found in this image" in done.err
    assert "no pixel size in the file" in done.err
    table = project.path / "tissue" / "white.csv"
    assert table.read_text(encoding="utf-8") == "image,x,y,probability,calibrated,class\n"
    pytest.importorskip("pyarrow")
    args = ("apply", "tiny0", "white.png", "--keep-background", "--no-heatmap", "--out")
    project.quick(*args, "all.parquet").ok()
    kept = read_table(project.path / "all.parquet")
    assert kept.images.tolist() == ["white.png"] * 12 * 15
    assert np.ptp(kept.probabilities) < 1e-6, "one white tile is like another"
    project.quick(*args, "all.xlsx").refused(2, ".parquet")


def test_which_run_and_which_images(project: Project) -> None:
    path = tissue(project)
    project.quick("apply", "tiny0").refused(2, "no images are given")
    project.quick("apply", "nothing.tif").refused(2, "neither a run")
    project.quick("apply", "nothing", "slide.tif").refused(2, "neither a run")
    project.quick("apply", "tiny0", "absent.tif").refused(2, "there is no absent.tif")
    path.rename(project.path / "tiny0")
    project.quick("apply", "tiny0", "tiny0").refused(2, "may mean the run", "or the file")
    done = project.quick("apply", "./tiny0", "--no-heatmap", "--out", "t.csv")
    assert "the newest finished run" in done.ok().err
    path = project.path / "tiny0"
    run = project.runs()[-1]
    project.quick("apply", run, path, "--stride", "33").refused(2, "1 to 32")


def test_a_run_of_predictions_from_elsewhere_has_no_model(project: Project) -> None:
    tissue(project)
    kept = find_run(project.path / "runs", "tiny0").load_predictions("valid")
    assert kept is not None
    pairs = dict(zip(kept.ids.tolist(), kept.probability("none").tolist(), strict=True))
    workspace = Workspace.below(project.path)
    pcam.import_predictions(pairs, competition="tiny", name="torch", workspace=workspace)
    project.quick("apply", "torch", "slide.tif").refused(4, "no model to apply", "pcam runs")


def test_arrays_in_python(real: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, expected = patches(real)
    result = pcam.apply(None, images[:5], workspace=real.path)
    assert result.probabilities == pytest.approx(expected[:5], abs=1e-5)
    assert result.ids.tolist() == ["0", "1", "2", "3", "4"]
    assert "5 (0 of background left out)" in result._repr_html_()
    result = pcam.apply(None, mosaic(images), stride=96, keep_background=True, workspace=real.path)
    found = result.heatmap()
    assert found.shape == (SIDE, SIDE)
    assert found.ravel() == pytest.approx(expected[: SIDE * SIDE], abs=1e-5)
    assert list(tmp_path.iterdir()) == [], "nothing is written"
