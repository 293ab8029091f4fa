"""What tells right bytes from wrong ones: announced hashes, zip checksums, and the pause that a
server asks for by its own clock.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from pcam_kit.downloads.integrity import announced_hashes, compare_hashes, crc32c, zip_fault
from pcam_kit.downloads.retry import retry_after

NINE = b"123456789"
CRC = "e3069283"  # the check value of CRC-32C (RFC 3720)
MD5 = "25f9e794323b453885f5181f1b624d0b"
CRC_64, MD5_64 = "4waSgw==", "JfnnlDI7RTiF9RgfG2JNCw=="


def nothing(done: int, total: int) -> None:
    """A progress that says nothing."""


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    (tmp_path / "nine").write_bytes(NINE)
    return tmp_path / "nine"


def test_crc32c_is_the_standard_one(nine: Path) -> None:
    told: list[tuple[int, int]] = []
    assert crc32c(nine, lambda *step: told.append(step)) == CRC
    assert told == [(9, 9)]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"crc32c={CRC_64},md5={MD5_64}", {"crc32c": CRC, "md5": MD5}),
        (f"md5={MD5_64}, crc32c={CRC_64}", {"crc32c": CRC, "md5": MD5}),
        (f"crc32c={CRC_64}", {"crc32c": CRC}),
        ("md5=short==,crc32c=!!!!", {}),
        ("crc32c=AAAA", {}),
        ("", {}),
    ],
)
def test_hashes_are_read_from_the_header(header: str, found: dict[str, str]) -> None:
    assert announced_hashes({"x-goog-hash": header}) == found
    assert announced_hashes({"x-goog-hash": header, "x-goog-stored-content-encoding": "gzip"}) == {}


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        ({}, ""),
        ({"md5": MD5}, ""),
        ({"crc32c": CRC}, ""),
        ({"md5": "0" * 32, "crc32c": CRC}, f"md5: expected {'0' * 32}, found {MD5}"),
        ({"crc32c": "0" * 8}, f"crc32c: expected {'0' * 8}, found {CRC}"),
    ],
)
def test_a_hash_that_differs_is_named(nine: Path, expected: dict[str, str], wrong: str) -> None:
    assert compare_hashes(nine, expected, nothing) == (wrong, CRC)


def test_every_member_of_a_zip_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("first", b"a" * 1000)
        archive.writestr("second", b"b" * 1000)
    whole = buffer.getvalue()
    (tmp_path / "whole.zip").write_bytes(whole)
    told: list[tuple[int, int]] = []
    assert zip_fault(tmp_path / "whole.zip", lambda *step: told.append(step)) == ""
    assert told == [(1000, 2000), (2000, 2000)]
    (tmp_path / "damaged.zip").write_bytes(whole.replace(b"bbbb", b"bbbc", 1))
    assert "Bad CRC-32 for file 'second'" in zip_fault(tmp_path / "damaged.zip", nothing)
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    assert zip_fault(tmp_path / "cut.zip", nothing) != ""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "-7"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "inf"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        # a clock here that is eleven years ahead of the server's changes nothing
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "yesterday"}, 0.0),
    ],
)
def test_a_pause_goes_by_the_servers_clock(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
