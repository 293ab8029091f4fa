"""Pictures that are damaged, declare too much, or are of another kind: checked before decoding."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_factories import SIZE, patches, tif_bytes

from pcam_kit.data.sources import images
from pcam_kit.data.sources.files import FolderFiles
from pcam_kit.data.sources.jpegs import check_jpeg
from pcam_kit.errors import DataError

IMAGE = patches(1, 5)[0]
NOISY = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 3), dtype=np.uint8)


def decode(data: bytes, folder: Path) -> np.ndarray:
    (folder / "a.tif").write_bytes(data)
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    images.decode(FolderFiles(folder, {"a.tif": len(data)}), "a.tif", SIZE, out)
    return out


def refused(data: bytes, folder: Path) -> DataError:
    with pytest.raises(DataError, match=r"a\.tif: expected a whole 32x32 8-bit RGB image") as error:
        decode(data, folder)
    return error.value


def written(image: np.ndarray, kind: str, **tags: int) -> bytes:
    """By Pillow: OpenCV would share its mistakes."""
    pillow = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    picture = pillow.fromarray(image)
    if kind in ("PNG", "JPEG"):
        picture.save(buffer, kind)
    else:
        picture.save(
            buffer, "TIFF", compression=kind, tiffinfo={int(k): v for k, v in tags.items()}
        )
    return buffer.getvalue()


def without(data: bytes, at: int) -> bytes:
    """40 bytes less at `at`, and as many zeros a little later: what comes after keeps its place."""
    return data[:at] + data[at + 40 : at + 140] + bytes(40) + data[at + 140 :]


PREDICTED = {"317": 2}  # a tag: differences of neighbours are packed
STRIPS = {"278": 5}  # rows of a strip
FORMS: list[tuple[str, dict[str, int]]] = [
    ("raw", {}),
    ("raw", STRIPS),
    ("tiff_lzw", {}),
    ("tiff_lzw", PREDICTED),
    ("tiff_lzw", STRIPS),
    ("tiff_adobe_deflate", {}),
    ("tiff_adobe_deflate", PREDICTED | STRIPS),
    ("packbits", {}),
    ("packbits", STRIPS),
    ("PNG", {}),
]


@pytest.mark.parametrize(("kind", "tags"), FORMS)
@pytest.mark.parametrize("image", [IMAGE, NOISY, np.full_like(IMAGE, 255)])
def test_every_compression_is_read(
    kind: str, tags: dict[str, int], image: np.ndarray, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(decode(written(image, kind, **tags), tmp_path), image)


@pytest.mark.parametrize("kind", ["jpeg", "JPEG"])
def test_jpeg_is_read(kind: str, tmp_path: Path) -> None:
    flat = np.full_like(IMAGE, 200)
    np.testing.assert_allclose(decode(written(flat, kind), tmp_path), 200, atol=2)


@pytest.mark.parametrize(("kind", "tags"), FORMS[2:])
@pytest.mark.parametrize("image", [IMAGE, NOISY])
def test_bytes_missing_inside_the_pixels(
    kind: str, tags: dict[str, int], image: np.ndarray, tmp_path: Path
) -> None:
    """All later rows would be wrong or black, and OpenCV gives them without an error."""
    whole = written(image, kind, **tags)
    for at in range(len(whole) // 4, 3 * len(whole) // 4, len(whole) // 16):
        refused(without(whole, at), tmp_path)


@pytest.mark.parametrize("kind", ["jpeg", "JPEG"])
def test_bytes_missing_inside_jpeg(kind: str, tmp_path: Path) -> None:
    whole = written(NOISY, kind)
    decode(whole, tmp_path)
    start = whole.index(b"\xff\xda") + 20  # the scan
    missed = 0
    for at in range(start, start + 300, 10):
        try:
            decode(without(whole, at), tmp_path)
        except DataError:
            continue
        missed += 1  # other codes that stand for as many blocks: JPEG has no checksum
    assert missed <= 15


@pytest.mark.parametrize("size", [96, 33, 7])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "how",
    [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 2}],
)
def test_jpegs_of_every_form_are_whole(size: int, mode: str, how: dict[str, Any]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    picture = pillow.fromarray(NOISY.repeat(3, 0).repeat(3, 1)[: size + 2, :size]).convert(mode)
    for quality in (30, 100):
        for subsampling in (0, 1, 2):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, subsampling=subsampling, **how)
            check_jpeg(buffer.getvalue(), *picture.size)


@pytest.mark.parametrize("tags", [{}, PREDICTED, STRIPS])
def test_one_bit_in_pixels_with_a_checksum(tags: dict[str, int], tmp_path: Path) -> None:
    for kind in ("tiff_adobe_deflate", "PNG"):
        whole = bytearray(written(NOISY, kind, **tags))
        for at in range(len(whole) // 4, 3 * len(whole) // 4, 97):
            whole[at] ^= 1
            refused(bytes(whole), tmp_path)
            whole[at] ^= 1


def test_opencv_gives_wrong_rows_without_an_error() -> None:
    """The reason for the checks: when this fails, they may go."""
    whole = written(NOISY, "tiff_lzw")
    data = without(whole, len(whole) // 2)
    level = cv2.utils.logging.setLogLevel(0)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    cv2.utils.logging.setLogLevel(level)
    assert image is not None
    assert (image[..., ::-1] != NOISY).any(axis=(1, 2)).sum() > 5


@pytest.mark.parametrize("kind", ["tiff_lzw", "packbits", "jpeg", "PNG", "JPEG", "raw"])
@pytest.mark.parametrize("keep", [0, 5, 30, 0.5, 0.9, -1])
def test_cut_short(kind: str, keep: float, tmp_path: Path) -> None:
    whole = written(NOISY, kind)
    if kind != "raw" and kind.islower() and keep == -1:
        keep = 0.95  # the last byte is not one of the pixels
    refused(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep], tmp_path)


def changed(tag: int, value: int) -> bytes:
    """A tif of ours with another value for one tag."""
    data = bytearray(tif_bytes(IMAGE))
    for at in range(10, 10 + 12 * 10, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<I", data, at + 8, value)
            return bytes(data)
    raise AssertionError(tag)


@pytest.mark.parametrize(
    ("tag", "value", "found"),
    [
        (256, 20_000, "found 20000x32"),
        (257, 1 << 31, "found 32x2147483648"),
        (259, 50_000, "Zstandard"),
        (259, 9, "method 9"),
        (273, 1 << 30, "0 of 3,072 bytes of pixels"),
        (279, 3000, "unpack to 3,000 of 3,072 bytes"),
        (278, 0, "strips without rows"),
        (277, 4, "4 channels"),
        (258, 1 << 30, "damaged"),
    ],
)
def test_what_it_declares_is_checked_first(
    tag: int, value: int, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("it was decoded"))
    assert found in refused(changed(tag, value), tmp_path).message


def test_a_bomb_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("it was decoded"))
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for size, found in ((30_000, "30000x30000"), (SIZE, "damaged")):
        header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
        bomb = part(b"IDAT", zlib.compress(bytes(90 << 20), 9)) + part(b"IEND", b"")
        data = images.PNG + part(b"IHDR", header) + bomb
        assert found in refused(data, tmp_path).message


def test_kinds_that_need_a_conversion(tmp_path: Path) -> None:
    deep = refused(tif_bytes(IMAGE.astype(np.uint16)), tmp_path)
    assert "3 channels of uint16" in deep.message
    assert "magick mogrify -depth 8" in deep.hint
    clear = refused(tif_bytes(np.dstack([IMAGE, IMAGE[..., 0]])), tmp_path)
    assert "4 channels of uint8" in clear.message
    assert "-alpha off" in clear.hint
    pillow = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    page = pillow.fromarray(IMAGE)
    page.save(buffer, "TIFF", save_all=True, append_images=[page])
    pages = refused(buffer.getvalue(), tmp_path)
    assert "found several pages" in pages.message
    assert "FILE.tif[0]" in pages.hint


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"BM" + bytes(60), "a BMP picture"),
    ],
)
def test_other_kinds(head: bytes, what: str, tmp_path: Path) -> None:
    error = refused(head, tmp_path)
    assert what in error.message
    assert error.hint


def test_any_byte_changed_never_ends_in_anything_else(tmp_path: Path) -> None:
    dice = random.Random(1)
    for kind, tags in [*FORMS, ("jpeg", {}), ("JPEG", {})]:
        whole = written(NOISY, kind, **tags)
        for _ in range(60):
            data: Any = bytearray(whole)
            start = dice.choice([0, 0, len(data) - 250])
            for _ in range(dice.choice([1, 2, 8])):
                data[dice.randrange(max(0, start), len(data))] = dice.randrange(256)
            try:
                decode(bytes(data), tmp_path)
            except DataError as error:
                assert "a.tif" in error.message  # noqa: PT017
