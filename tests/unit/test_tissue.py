"""Images of new tissue: what is read, what is refused, where tiles are, what a pixel measures."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from pcam_kit.errors import DataError, UsageError
from pcam_kit.progress import silent
from pcam_kit.tissue import inputs, slides, spacing
from pcam_kit.tissue.heatmap import thumbnail
from pcam_kit.tissue.inputs import find_images, open_image
from pcam_kit.tissue.journal import Journal, Place, Row
from pcam_kit.tissue.pictures import ArrayPicture, Level, Picture
from pcam_kit.tissue.stain import StainMaps
from pcam_kit.tissue.survey import Question, array_images, survey
from pcam_kit.tissue.table import Table, read_table, write_table
from pcam_kit.tissue.tiles import cut, has_tissue, make_grid

RGB: np.ndarray = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
IMAGES: np.ndarray = RGB[None, :64, :64]


def opened(path: Path) -> Picture:
    (image,) = find_images([str(path)]).images
    return open_image(image)


def pixels(path: Path) -> np.ndarray:
    """All pixels of the finest level."""
    picture = opened(path)
    try:
        return picture.read(0, 0, 0, picture.width, picture.height)
    finally:
        picture.close()


def refused(path: Path, *words: str) -> DataError:
    with pytest.raises(DataError) as caught:
        pixels(path)
    for word in (str(path), *words):
        assert word in f"{caught.value} {caught.value.hint}"
    return caught.value


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "deflate"},
        {"rowsperstrip": 8, "compression": "deflate", "predictor": 2},
        {"rowsperstrip": 8, "planarconfig": "separate"},
        {"tile": (16, 16), "planarconfig": "separate", "compression": "packbits"},
        {"rowsperstrip": 8, "compression": "lzw"},
        {"bigtiff": True, "byteorder": ">"},
    ],
    ids=str,
)
def test_tifs_of_every_storage_give_their_pixels(tmp_path: Path, options: dict[str, Any]) -> None:
    if options.get("compression") in ("lzw", "packbits"):
        pytest.importorskip("imagecodecs")
    array = np.moveaxis(RGB, 2, 0) if options.get("planarconfig") == "separate" else RGB
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", **options)
    assert (pixels(path) == RGB).all()
    picture = opened(path)
    assert (picture.read(0, 13, 21, 50, 30) == RGB[21:51, 13:63]).all()
    picture.close()


def test_lzw_without_imagecodecs_goes_through_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), RGB[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert 5 in [page.compression for page in tifffile.TiffFile(path).pages]
    monkeypatch.setattr(inputs, "has_imagecodecs", lambda: False)
    assert (pixels(path) == RGB).all()


def test_colours_are_converted(tmp_path: Path) -> None:
    def written(name: str, array: np.ndarray, **options: Any) -> np.ndarray:
        path = tmp_path / name
        if name.endswith(".png"):
            cv2.imwrite(str(path), array)
        else:
            tifffile.imwrite(path, array, **options)
        return pixels(path)

    grey = RGB[..., 0]
    three = np.repeat(grey[..., None], 3, axis=-1)
    wide = grey.astype(np.uint16) * 257
    assert (written("grey.png", grey) == three).all()
    assert (written("grey.tif", grey) == three).all()
    assert (written("inverted.tif", 255 - grey, photometric="miniswhite") == three).all()
    assert (written("wide.png", wide) == three).all()
    assert (written("wide.tif", wide) == three).all()
    assert (written("wide-rgb.tif", RGB.astype(np.uint16) * 257, photometric="rgb") == RGB).all()
    bgr = RGB[..., ::-1]
    opaque = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    assert (written("opaque.png", opaque) == RGB).all()
    assert (written("clear.png", np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])) == 255).all()
    table = np.random.default_rng(1).integers(0, 256, (3, 256), dtype=np.uint16)
    found = written("palette.tif", grey, photometric="palette", colormap=table * 257)
    assert (found == table.T[grey]).all()
    # cyan takes red away, black takes all
    inks = np.zeros((70, 90, 4), np.uint8)
    inks[..., 0], inks[:35, :, 3] = 255, 255
    found = written("cmyk.tif", inks, photometric="separated")
    assert (found[:35] == 0).all()
    assert (found[35:] == (0, 255, 255)).all()


def test_what_is_no_picture_of_tissue_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for array, options, words in (
        (RGB.astype(np.float32), {}, ("float32", "8 bits")),
        (RGB.astype(np.int16), {}, ("int16",)),
        (np.zeros((70, 90, 7), np.uint8), {"planarconfig": "contig"}, ("7 channels",)),
        (np.zeros((3, 70, 90), np.uint8), {}, ("several pages",)),
    ):
        kind = "rgb" if array.shape[2] == 3 else "minisblack"
        tifffile.imwrite(path, array, photometric=kind, **options)
        refused(path, *words)
    path.write_bytes(b"<!doctype html><title>Sign in</title>")
    refused(path, "web page")
    path.write_bytes(b"")
    refused(path, "empty file")
    fifo = tmp_path / "pipe.tif"
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(fifo)
    with pytest.raises(DataError, match="pipe"):
        find_images([str(fifo)])


def test_damaged_images_are_refused_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for options in ({}, {"tile": (32, 32)}, {"tile": (32, 32), "compression": "deflate"}):
        tifffile.imwrite(path, RGB, photometric="rgb", **options)  # type: ignore[arg-type]
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 3000])
        with pytest.raises((DataError, ValueError), match=r"short|damaged|outside"):
            pixels(path)
    for ending, options in ((".png", []), (".jpg", [])):
        path = tmp_path / f"a{ending}"
        cv2.imwrite(str(path), RGB, options)
        path.write_bytes(path.read_bytes()[:-500])
        refused(path, "damaged")


def test_bombs_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    part = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + part + struct.pack(">I", zlib.crc32(part))
    )
    refused(png, "60,000x60,000", "vips")
    tif = tmp_path / "a.tif"
    tifffile.imwrite(tif, RGB, photometric="rgb", compression="deflate", rowsperstrip=70)
    page = tifffile.TiffFile(tif).pages[0]
    # a strip that unpacks to a thousand times the pixels that are declared
    bomb = zlib.compress(bytes(300 << 20), 9)
    data = bytearray(tif.read_bytes() + bomb)
    for tag, value in ((273, len(data) - len(bomb)), (279, len(bomb))):
        entry = page.tags[tag]  # type: ignore[union-attr]
        struct.pack_into("<HI", data, entry.offset + 2, 4, 1)
        struct.pack_into("<I", data, entry.offset + 8, value)
    tif.write_bytes(data)
    with pytest.raises(ValueError, match="more than its pixels"):
        pixels(tif)
    tifffile.imwrite(tif, RGB, photometric="rgb")
    entry = tifffile.TiffFile(tif).pages[0].tags[256]  # type: ignore[union-attr]
    data = bytearray(tif.read_bytes())
    struct.pack_into("<HII", data, entry.offset + 2, 4, 1, 4_000_000_000)
    tif.write_bytes(data)
    refused(tif, "4,000,000,000")


def test_folders_archives_and_patterns_name_their_images(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "b/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), RGB)
    (tmp_path / "b" / "notes.txt").write_text("no image", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / "b" / "y.png", "below/=z.png")

    def names(*paths: str) -> list[str]:
        found = find_images([str(tmp_path / path) for path in paths])
        found.close()
        root = f"{tmp_path.as_posix()}/"
        return [image.name.replace(root, "") for image in found.images]

    assert names("b") == ["x.png", "y.png"]
    assert names("*/x.png") == ["a/x.png", "b/x.png"], "of two folders"
    assert names("b", "b/y.png") == ["x.png", "y.png"], "twice named, once taken"
    assert names("c.zip") == ["below/=z.png"]
    cv2.imwrite(str(tmp_path / "=1.png"), RGB)
    assert names("=1.png") == ["./=1.png"], "no formula of a spreadsheet"
    with pytest.raises(UsageError, match="no file fits"):
        names("*.jpg")
    with pytest.raises(UsageError, match="there is no"):
        names("absent.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="found nothing"):
        names("none")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(tmp_path / "b" / "y.png", "../z.png")
    with pytest.raises(DataError, match="leaves its folder") as caught:
        names("evil.zip")
    assert "give the folder" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "expected", "source"),
    [
        ({"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, 0.25, "resolution"),
        ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, 1.0, "resolution"),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None, ""),  # a screen's
        ({"resolution": (40_000, 9_000), "resolutionunit": "CENTIMETER"}, None, ""),
        ({"description": "Aperio Image Library|AppMag = 40|MPP = 0.2527"}, 0.2527, "Aperio"),
        ({"metadata": {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}}, 0.5, "OME"),
        ({}, None, ""),
    ],
)
def test_the_pixel_size_is_read(
    tmp_path: Path, options: dict[str, Any], expected: float | None, source: str
) -> None:
    path = tmp_path / ("a.ome.tif" if "metadata" in options else "a.tif")
    tifffile.imwrite(path, RGB, photometric="rgb", **options)
    picture = opened(path)
    size = picture.pixel_size
    picture.close()
    assert (None if size is None else size.value) == pytest.approx(expected)
    assert size is None or source in size.source


def test_a_pixel_size_that_no_microscope_has_is_refused() -> None:
    for value in (0.0, -1.0, 250.0, float("nan")):
        with pytest.raises(UsageError, match="micrometres"):
            spacing.given_size(value)


class Pyramid(ArrayPicture):
    """Levels of 1, 2 and 4, each its own array."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.arrays = [array[::step, ::step] for step in (1, 2, 4)]
        self.levels = tuple(
            Level(level.shape[1], level.shape[0], float(step))
            for level, step in zip(self.arrays, (1, 2, 4), strict=True)
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self.arrays[level][y : y + height, x : x + width]


@pytest.mark.parametrize(("scale", "level"), [(0.7, 0), (1.0, 0), (1.9, 0), (3.9, 1), (4.01, 2)])
def test_the_nearest_finer_level_is_read(scale: float, level: int) -> None:
    grid = make_grid(Pyramid(np.zeros((1000, 1600, 3), np.uint8)), 96, 32, scale)
    assert grid is not None
    assert grid.level == level
    assert (grid.columns, grid.rows) == (
        int((1600 / scale + 0.5 - 96) // 32) + 1,
        int((1000 / scale + 0.5 - 96) // 32) + 1,
    )


def test_every_tile_is_there_once_and_is_what_it_says() -> None:
    array = np.random.default_rng(2).integers(0, 256, (700, 5000, 3), dtype=np.uint8)
    for striped in (False, True):
        picture = ArrayPicture(array)
        picture.striped = striped
        grid = make_grid(picture, 96, 32, 1.0)
        assert grid is not None
        seen: list[tuple[int, int]] = []
        for number, columns, rows in grid.blocks():
            assert number == len(seen)
            tiles = cut(picture, grid, columns, rows)
            places = [grid.place(column, row) for row in rows for column in columns]
            for tile, (x, y) in zip(tiles, places, strict=True):
                assert (tile == array[y : y + 96, x : x + 96]).all()
            seen += places
        assert len(set(seen)) == len(seen) == grid.count == ((700 - 96) // 32 + 1) * 154
        later = [number for number, _, _ in grid.blocks(grid.count - 1)]
        assert len(later) == 1, "one block holds the last tile"


def test_resampling_averages_areas() -> None:
    patch = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for factor in (2, 4):
        large = ArrayPicture(patch.repeat(factor, axis=0).repeat(factor, axis=1))
        grid = make_grid(large, 96, 96, float(factor))
        assert grid is not None
        assert (grid.columns, grid.rows) == (1, 1)
        assert (cut(large, grid, range(1), range(1))[0] == patch).all()


def test_background_by_colour() -> None:
    white = np.full((96, 96, 3), 240, np.uint8)
    noisy = white + np.random.default_rng(4).integers(-4, 5, white.shape).astype(np.uint8)
    assert not has_tissue(white)
    assert not has_tissue(noisy)
    assert not has_tissue(np.zeros_like(white))
    stained = white.copy()
    stained[40:56, 40:56] = (180, 90, 160)
    assert has_tissue(stained)


def test_too_small_images_are_refused_or_left_out(caplog: pytest.LogCaptureFixture) -> None:
    arrays = array_images([np.zeros((96, 96, 3), np.uint8), np.zeros((95, 400, 3), np.uint8)])
    with pytest.raises(DataError, match="at least 96x96, found 400x95"):
        survey(arrays, Question(96, 32), silent)
    found, left_out = survey(arrays, Question(96, 32, skip_unusable=True), silent)
    assert ([one.name for one in found], left_out) == (["0"], ["1"])
    assert "left out" in caplog.text
    size = spacing.given_size(0.243)
    with pytest.raises(DataError, match=r"takes 384x384 pixels of 0.243 µm"):
        survey(arrays[:1], Question(96, 32, size), silent)
    with pytest.raises(DataError, match="none of 1 image"):
        survey(arrays[1:], Question(96, 32, skip_unusable=True), silent)


def test_arrays_have_to_be_images() -> None:
    assert len(array_images(np.zeros((5, 32, 32, 3), np.uint8))) == 5
    assert len(array_images(np.zeros((32, 40, 3), np.uint8))) == 1
    for wrong in ([], [1, 2], "x"):
        with pytest.raises(UsageError, match="expected an array"):
            array_images(wrong)
    (wrong,) = array_images(np.zeros((40, 40, 3)))
    with pytest.raises(DataError, match="float64"):
        wrong.open()


def test_stain_is_normalised_as_that_of_the_run() -> None:
    rng = np.random.default_rng(5)
    stained = np.clip(rng.normal((150, 90, 150), 25, (400, 400, 3)), 0, 255).astype(np.uint8)
    found, _ = survey(array_images(stained), Question(96, 96), silent)
    tile = stained[:96, :96]
    assert (StainMaps(None, found).apply(0, tile) == tile).all()
    first, second = (StainMaps("reinhard", found).apply(0, tile) for _ in range(2))
    assert (first == second).all()
    assert np.abs(first.astype(int) - tile).mean() > 2


def test_a_part_is_read_back_and_another_commands_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.part"
    command = {"run": "one", "stride": 32, "images": "ab"}
    rows = [Row(0, 32, 64, float(np.float32(0.1))), Row(1, 0, 0, 1.0)]
    with Journal(path, command) as journal:
        journal.add(rows, Place(1, 1))
    with open(path, "ab") as handle:
        handle.write(b'{"next": [2, 0], "ro')  # killed here
    with Journal(path, command) as journal:
        assert (journal.rows, journal.next) == (rows, Place(1, 1))
        journal.add([Row(1, 32, 0, 0.5)], Place(1, 2))
    with Journal(path, command) as journal:
        assert len(journal.rows) == 3
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"stride \(32 before, now 96\)"):
        Journal(path, command | {"stride": 96})
    with pytest.raises(UsageError, match=r"images \(other or changed files\)"):
        Journal(path, command | {"images": "cd"})
    assert path.read_bytes() == before
    for damaged in (b"[]\n", b'{"format": 1, "command": {}}\nnull\n', b"\xff\n"):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="part"):
            Journal(path, {})
    path.unlink()
    with Journal(path, {}) as journal:
        assert path.exists()
        journal.delete()
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_tables_are_read_back_and_never_replaced(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    values = np.array([0.1, 1 / 3], np.float32)
    table = Table(
        np.array(["ä, b.png", "c"]),
        np.array([0, 32]),
        np.array([0, 64]),
        values,
        np.array([0.25, np.nan]),
        np.array([0, 1], np.int8),
    )
    path = tmp_path / name
    write_table(path, table)
    read = read_table(path)
    for one, other in zip(vars(read).values(), vars(table).values(), strict=True):
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    write_table(path, table)
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="appeared"):
        write_table(path, table)
    assert path.read_bytes() == b"mine"
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_thumbnail_is_the_average_whatever_the_storage() -> None:
    array = np.random.default_rng(6).integers(0, 256, (3000, 9001, 3), dtype=np.uint8)
    picture = ArrayPicture(array)
    first, factor = thumbnail(picture, 100)
    picture.striped = True
    second, _ = thumbnail(picture, 100)
    assert (first == second).all()
    assert factor == 91
    assert first.shape == (33, 99, 3)
    assert abs(first[5, 5] - array[455:546, 455:546].mean(axis=(0, 1))).max() <= 1


def test_a_slide_without_openslide_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "has_openslide", lambda: False)
    path = tmp_path / "a.mrxs"
    path.write_bytes(b"\xff\xd8 no slide")
    assert 'pip install "pcam-kit[slides]"' in refused(path, "needs OpenSlide").hint
    svs = tmp_path / "a.svs"
    tifffile.imwrite(svs, RGB, tile=(32, 32), description="Aperio x|MPP = 0.5")
    assert (pixels(svs) == RGB).all(), "at heart it is a TIFF"


def test_slides_are_read_through_openslide(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    pytest.importorskip("imagecodecs")
    large = np.zeros((512, 768, 3), np.uint8)
    large[...] = np.linspace(0, 255, 768).astype(np.uint8)[:, None]
    path = tmp_path / "a.svs"
    options: dict[str, Any] = {
        "tile": (256, 256),
        "photometric": "rgb",
        "compression": "jpeg",
        "metadata": None,
    }
    text = "Aperio Image Library v11\r\n768x512|AppMag = 20|MPP = 0.486"
    with tifffile.TiffWriter(path) as writer:
        writer.write(large, description=text, **options)
    picture = opened(path)
    assert isinstance(picture, slides.SlidePicture)
    assert picture.pixel_size is not None
    assert picture.pixel_size.value == pytest.approx(0.486)
    found = picture.read(0, 100, 50, 300, 200)
    picture.close()
    assert np.abs(found.astype(int) - large[50:250, 100:400]).max() <= 8
    path.write_bytes(path.read_bytes()[:40])
    refused(path, "OpenSlide cannot read it")


def test_images_in_archives_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RGB, photometric="rgb", tile=(32, 32), compression="deflate")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.tif", buffer.getvalue())
    assert (pixels(path) == RGB).all()
