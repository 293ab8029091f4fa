"""The boundary to bytes from elsewhere: one type of error, sizes before memory, no links."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from pcam_kit import parsing
from pcam_kit.errors import DataError, UsageError


def crafted(path: Path, header: dict[str, Any], data: bytes, **how: Any) -> Path:
    """An .npz with one array, whose header may lie."""
    member = io.BytesIO()
    npy.write_array_header_1_0(member, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.npy"), member.getvalue() + data, **how)
    return path


class TestParsing:
    def test_whatever_is_raised_becomes_the_error_with_one_printable_line(self) -> None:
        for error, reason in (
            (RuntimeError("bad \x1b[31mcolour\nsecond line"), r"bad \x1b[31mcolour"),
            (RecursionError(), "it is nested too deeply"),
            (EOFError(), "it is cut short"),
            (KeyError("orbit"), "it has no 'orbit'"),
            (AssertionError(), "AssertionError"),
            (
                ValueError("Exception encountered when calling Pool.\n\n\x1b[1mToo small\x1b[0m"),
                "Too small",
            ),
        ):
            with (
                pytest.raises(DataError) as caught,
                parsing.parsing(lambda reason: DataError(f"x: {reason}")),
            ):
                raise error
            assert caught.value.message == f"x: {reason}"

    @pytest.mark.parametrize("error", [UsageError("ours"), MemoryError(), KeyboardInterrupt()])
    def test_what_is_no_fault_of_the_bytes_passes(self, error: BaseException) -> None:
        with pytest.raises(type(error)), parsing.parsing(DataError):
            raise error


class TestPrintable:
    def test_controls_directions_and_halves_are_escaped(self) -> None:
        assert parsing.printable("é 日本 ± \x1b[2J\n\u202e\x9b\udcff") == (
            "é 日本 ± \\x1b[2J\\n\\u202e\\x9b\\udcff"
        )


class TestJson:
    @pytest.mark.parametrize(
        "text", ["[" * 100_000, '{"a":' * 50_000, "1" * 5000, "NaN", "-Infinity", b"\xff", "", "{"]
    )
    def test_anything_else_is_a_value_error(self, text: str | bytes) -> None:
        with pytest.raises(ValueError, match=r"\w"):
            parsing.parse_json(text)

    def test_a_file_above_the_limit_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('"' + "a" * 100 + '"', encoding="utf-8")
        assert parsing.read_json(path) == "a" * 100
        with pytest.raises(ValueError, match="more than 99 bytes"):
            parsing.read_json(path, 99)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_a_pipe_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.json")
        with pytest.raises(ValueError, match="a pipe"):
            parsing.read_json(tmp_path / "a.json")


class TestNpz:
    def test_what_numpy_writes(self, tmp_path: Path) -> None:
        arrays: dict[str, Any] = {
            "numbers": np.arange(12.0).reshape(3, 4),
            "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
            "texts": np.array(["a", "bé"]),
            "empty": np.zeros((0, 3), np.uint8),
            "scalar": np.array(5),
            "no_text": np.array(""),
        }
        for save in (np.savez, np.savez_compressed):
            save(tmp_path / "a.npz", **arrays)
            read = parsing.read_npz(tmp_path / "a.npz")
            assert list(read) == list(arrays)
            for name, array in arrays.items():
                assert read[name].dtype == array.dtype
                np.testing.assert_array_equal(read[name], array)
            read["numbers"][0, 0] = 7  # may be changed, as what NumPy loads

    def test_a_size_that_is_only_declared_takes_no_memory(self, tmp_path: Path) -> None:
        for shape in ((10**12,), (2**40, 2**40), (-1,)):
            header = {"descr": "<f8", "fortran_order": False, "shape": shape}
            path = crafted(tmp_path / "a.npz", header, b"1234")
            with pytest.raises(ValueError, match=r"than it declares|has the shape"):
                parsing.read_npz(path)

    @pytest.mark.parametrize("order", "<>")
    def test_characters_that_do_not_exist(self, tmp_path: Path, order: str) -> None:
        """Python would hold such a text, and end in a SystemError when it is shown."""
        header = {"descr": f"{order}U2", "fortran_order": False, "shape": (2,)}
        texts = np.array(["ab", "c"], f"{order}U2").tobytes()
        assert list(parsing.read_npz(crafted(tmp_path / "a.npz", header, texts))["a"]) == [
            "ab",
            "c",
        ]
        beyond = np.array([97, 98, 0x110000, 0], f"{order}u4").tobytes()
        with pytest.raises(ValueError, match="characters that do not exist"):
            parsing.read_npz(crafted(tmp_path / "a.npz", header, beyond))

    def test_records(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", a=np.zeros(3, [("id", "U3"), ("p", "f4")]))
        with pytest.raises(ValueError, match=r"a\.npy holds records"):
            parsing.read_npz(tmp_path / "a.npz")

    def test_zeros_that_unpack_to_too_much(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(1_000_000))
        with pytest.raises(ValueError, match="expected at most 100,000"):
            parsing.read_npz(tmp_path / "a.npz", 100_000)

    def test_objects_other_files_and_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, objects=np.array([{}], dtype=object))
        with pytest.raises(ValueError, match="Python objects"):
            parsing.read_npz(path)
        np.save(path.with_suffix(".npy"), np.zeros(3))
        with pytest.raises(ValueError, match=r"no \.npz"):
            parsing.read_npz(path.with_suffix(".npy"))
        np.savez(path, a=np.arange(100))
        data = bytearray(path.read_bytes())
        data[300] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match="damaged"):
            parsing.read_npz(path)


class TestGunzip:
    def test_up_to_the_limit(self) -> None:
        packed = gzip.compress(bytes(3_000_000))
        assert parsing.gunzip(io.BytesIO(packed), 3_000_000) == bytes(3_000_000)
        with pytest.raises(ValueError, match="more than 2,999,999 bytes"):
            parsing.gunzip(io.BytesIO(packed), 2_999_999)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
class TestLinks:
    @pytest.mark.parametrize("mode", ["a", "a+", "w", "r+"])
    def test_nothing_is_written_through_one(self, tmp_path: Path, mode: Any) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"precious")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="no ordinary file"):
            parsing.open_own(tmp_path / "pipe", mode)
        (tmp_path / "link").symlink_to(other)
        with pytest.raises(OSError, match="is a link"):
            parsing.open_own(tmp_path / "link", mode)
        assert other.read_bytes() == b"precious"


class TestDescribeBytes:
    @pytest.mark.parametrize(
        ("head", "what", "advice"),
        [
            (b"", "an empty file", "download"),
            (bytes(64), "nothing but zeros", "download"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer", "git lfs"),
            (b"<!DOCTYPE html><title>Sign in \x1b[2J</title>", "a web page: 'Sign in", "signed in"),
            (b"\xef\xbb\xbf\n <HTML lang=en>", "a web page", "signed in"),
            (b"<!-- saved --><html>", "a web page", "signed in"),
            (b"<?xml version='1.0'?><Error>AccessDenied", "the answer of a server", "download"),
            (b'{"error": "quota"}', 'JSON text: \'{"error"', "download"),
            (b"PK\x03\x04....", "a zip archive", ".zip"),
            (gzip.compress(b"x", mtime=0), "a gzip file", ".gz"),
            (bytes(100) + b"x" + bytes(156) + b"ustar\x0000", "a tar archive", "unpack"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture", "convert"),
            (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file", ".h5"),
            (b"\x80\x04\x95", "a Python pickle", "convert"),
            (b"id,label\na,0\n", "text: 'id,label", "download"),
            ("é".encode() * 30 + b"\xc3", "text", "download"),
            (b"\x01\x02\x03\xff", "", ""),
        ],
    )
    def test_the_first_bytes_tell(self, head: bytes, what: str, advice: str) -> None:
        said = parsing.describe_bytes(head)
        assert said.startswith(what)
        assert said.isprintable()
        assert bool(said) == bool(what)
        assert advice in parsing.advice_for(head)
