"""HDF5 files that name other files, hold less than they declare, or want an unsafe filter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data_factories import fails, labels, patches, profile, read_all, write_h5, write_lab

from pcam_kit.data.layouts import open_raw
from pcam_kit.data.sources import hdf5_safety
from pcam_kit.errors import DataError

X = patches(24)
SHAPE = X.shape
PIXELS = X.tobytes()


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return write_lab(tmp_path / "raw")


def train(lab: Path) -> Path:
    return lab / "patchcam/train.h5"


def rewrite(lab: Path, fill: Callable[[Any], object]) -> None:
    """A new train.h5 with good labels; `fill` makes its x."""
    with h5py.File(train(lab), "w") as file:
        file["y"] = labels(24)
        fill(file)


def elsewhere(lab: Path) -> Path:
    return write_h5(lab.parent / "elsewhere.h5", x=X)


def external_storage(file: Any, path: Path) -> None:
    path.write_bytes(PIXELS)
    file.create_dataset("x", SHAPE, np.uint8, external=[(str(path), 0, len(PIXELS))])


def virtual(file: Any, path: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, np.uint8)
    layout[:] = h5py.VirtualSource(path, "x", SHAPE)
    file.create_virtual_dataset("x", layout)


def through_a_group(file: Any, path: Path) -> None:
    file["far"] = h5py.ExternalLink(path, "/")
    file["x"] = h5py.SoftLink("/far/x")


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda file, path: file.__setitem__("x", h5py.ExternalLink(path, "x")), "a link to"),
            (through_a_group, "a link to another file"),
            (lambda file, path: virtual(file, path), "a virtual dataset"),
            (lambda file, path: external_storage(file, path.with_suffix(".txt")), "in another"),
        ],
    )
    def test_they_are_never_read(self, make: Any, why: str, lab: Path) -> None:
        path = elsewhere(lab)
        rewrite(lab, lambda file: make(file, path))
        message = fails("lab_h5", lab, "train.h5: x is not in this file", why)
        assert "elsewhere" not in message

    def test_links_in_circles(self, lab: Path) -> None:
        def circle(file: Any) -> None:
            file["a"], file["x"] = h5py.SoftLink("/x"), h5py.SoftLink("/a")

        for fill, words in (
            (circle, "leads back to itself"),
            (lambda file: file.__setitem__("x", h5py.SoftLink("/x")), "leads back to itself"),
            (lambda file: file.__setitem__("x", h5py.SoftLink("/no")), "expected a dataset 'x'"),
            (lambda file: file.__setitem__("x", file["/"]), "found a group"),
        ):
            rewrite(lab, fill)
            fails("lab_h5", lab, words)

    def test_a_soft_link_inside_the_file_is_followed(self, lab: Path, tmp_path: Path) -> None:
        def fill(file: Any) -> None:
            file["data/pixels"] = X
            file["data/again"] = h5py.SoftLink("pixels")
            file["x"] = h5py.SoftLink("/data/again")

        rewrite(lab, fill)
        read = read_all(open_raw(profile("lab_h5"), lab), tmp_path / "work")
        np.testing.assert_array_equal(read["train"], X)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_a_pipe_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.h5")
        with (
            pytest.raises(DataError, match="a pipe or a device"),
            hdf5_safety.opened(tmp_path / "a.h5", "a.h5"),
        ):
            pass


def chunked(file: Any, written: int = 24, **how: Any) -> Any:
    data = file.create_dataset("x", SHAPE, np.uint8, chunks=(4, *SHAPE[1:]), **how)
    if written:
        data[:written] = X[:written]
    return data


class TestWhole:
    @pytest.mark.parametrize(
        "how",
        [
            {},
            {"compression": "gzip"},
            {"compression": "lzf"},
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
        ],
    )
    def test_every_safe_form_is_read(self, how: Any, lab: Path, tmp_path: Path) -> None:
        rewrite(lab, lambda file: chunked(file, **how))
        read = read_all(open_raw(profile("lab_h5"), lab), tmp_path / "work")
        np.testing.assert_array_equal(read["train"], X)

    @pytest.mark.parametrize("chunk", [(5, 12, 12, 1), (24, 32, 32, 3), (30, 7, 32, 2)])
    def test_chunks_of_any_shape(self, chunk: Any, lab: Path, tmp_path: Path) -> None:
        def fill(file: Any) -> None:
            file.create_dataset("x", data=X, chunks=chunk, compression="gzip", maxshape=[None] * 4)

        rewrite(lab, fill)
        read = read_all(open_raw(profile("lab_h5"), lab), tmp_path / "work")
        np.testing.assert_array_equal(read["train"], X)

    def test_what_was_never_written_is_not_zeros(self, lab: Path) -> None:
        rewrite(lab, lambda file: file.create_dataset("x", SHAPE, np.uint8))
        fails("lab_h5", lab, "train.h5: x is not complete: nothing of it was ever written")
        rewrite(lab, lambda file: chunked(file, 8))
        fails("lab_h5", lab, "x is not complete: 2 of 6 chunks were written")
        rewrite(lab, lambda file: chunked(file, 0).__setitem__(slice(0, 24), 0))
        fails("lab_h5", lab, "images 0 to 23 are nothing but zeros")
        rewrite(lab, chunked)
        with h5py.File(train(lab), "a") as file:
            del file["y"]
            file.create_dataset("y", (24,), np.uint8)
        fails("lab_h5", lab, "y is not complete")

    def test_what_is_declared_is_held(self, lab: Path) -> None:
        n = 1_000_000_000
        with h5py.File(train(lab), "w") as file:
            file.create_dataset("x", (n, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))[0] = X[0]
            file.create_dataset("y", (n,), np.uint8, chunks=(1,))[0] = 1
        tracemalloc.start()
        try:
            fails("lab_h5", lab, "train.h5: x declares 3,072,000,000,000 bytes and holds 3,072")
            assert tracemalloc.get_traced_memory()[1] < 50e6
        finally:
            tracemalloc.stop()
        with h5py.File(train(lab), "w") as file:
            file["x"] = X
            file.create_dataset("y", (n,), np.uint8, chunks=(1 << 20,), compression="gzip")[0] = 1
        fails("lab_h5", lab, "y declares 1,000,000,000 bytes")

    def test_a_chunk_that_unpacks_to_more_than_it_may(self, lab: Path) -> None:
        shape = (1200, 32, 32, 3)
        bomb = zlib.compress(bytes(700 << 20), 9)
        assert len(bomb) > hdf5_safety.UNMEASURED
        with h5py.File(train(lab), "w") as file:
            file["y"] = labels(1200)
            data = file.create_dataset("x", shape, np.uint8, chunks=shape, compression="gzip")
            data.id.write_direct_chunk((0, 0, 0, 0), bomb)
        fails("lab_h5", lab, "x: a chunk does not unpack to its 3,686,400 bytes")

    def test_chunks_of_too_many_images(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcam_kit.data.sources.hdf5.READ_BYTES", 10_000)
        rewrite(lab, chunked)
        fails("lab_h5", lab, "x is stored in chunks of 4 images")

    def test_a_chunk_cut_out_of_the_index(self, lab: Path) -> None:
        """One of six entries of the chunk index points elsewhere."""
        rewrite(lab, lambda file: chunked(file, compression="gzip"))
        with h5py.File(train(lab), "r") as file:
            where = file["x"].id.get_chunk_info(3).byte_offset
        data = train(lab).read_bytes()
        entry = where.to_bytes(8, "little")
        assert data.count(entry) == 1
        train(lab).write_bytes(data.replace(entry, (1 << 40).to_bytes(8, "little")))
        fails("lab_h5", lab, "train.h5: x ")

    def test_chunks_that_are_listed_and_not_found(self, lab: Path) -> None:
        """HDF5 then gives zeros: they are asked for by themselves."""
        rewrite(lab, lambda file: chunked(file, 4, compression="gzip").__setitem__(8, 0))
        with h5py.File(train(lab)) as file:
            x = file["x"]
            hdf5_safety.check_filled(x, 0, x[:4], "x", "a.h5")
            hdf5_safety.check_filled(x, 8, x[8:12], "x", "a.h5")
            with pytest.raises(DataError, match=r"the chunk at \[4, 0, 0, 0\] is missing"):
                hdf5_safety.check_filled(x, 0, x[:8], "x", "a.h5")


class TestFilters:
    @pytest.mark.parametrize("code", [4, 5, 6, 307, 32001, 32015, 31999])
    def test_others_are_refused_before_they_run(self, code: int, lab: Path) -> None:
        """The number of the filter is changed in a good file: none of them is needed to write it.

        HDF5's own szip ends the process on crafted options.
        """
        rewrite(lab, lambda file: chunked(file, fletcher32=True))
        data = train(lab).read_bytes()
        # message 11 of the header: version 2, filters: 1, then its number
        pattern = re.compile(rb"\x01\x01[\0]{6}\x03\0")
        assert len(pattern.findall(data)) == 1
        train(lab).write_bytes(pattern.sub(b"\1\1" + bytes(6) + code.to_bytes(2, "little"), data))
        name = hdf5_safety.FILTERS.get(code, f"number {code}")
        message = fails("lab_h5", lab, "train.h5")
        is_named = f"x is packed with {name}" in message and "expected gzip, LZF" in message
        # the options of szip, which older h5py reads when it opens a dataset, are not there
        assert is_named or (code == 4 and "cannot be read" in message)

    def test_values_shuffled_as_others(self, lab: Path) -> None:
        """The order of bytes is an option of the filter, and wrong ones give other pixels."""
        rewrite(lab, lambda file: chunked(file, shuffle=True))
        data = train(lab).read_bytes()
        # message 11 of the header: filter 2, the length of its name, flags, one option: 1 byte
        option = b"\x02\0\x08\0\x01\0\x01\0shuffle\0\x01\0\0\0"
        assert data.count(option) == 1
        train(lab).write_bytes(data.replace(option, option[:-4] + b"\x08\0\0\0"))
        fails("lab_h5", lab, "x was shuffled as values of [8] bytes: expected 1")


class TestCause:
    @pytest.mark.skipif(sys.platform == "win32", reason="locks are others there")
    def test_a_lock_of_another_program(self, lab: Path) -> None:
        code = (
            f"import h5py, sys; f = h5py.File({str(train(lab))!r}, 'a');"
            "print('open', flush=True); sys.stdin.read()"
        )
        env = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=-1, stdout=-1, env=env, encoding="utf-8"
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            with pytest.raises(DataError, match="is locked: another program") as caught:
                open_raw(profile("lab_h5"), lab)
            other.kill()
        assert "HDF5_USE_FILE_LOCKING" in caught.value.hint
        assert "download" not in caught.value.hint

    def test_a_file_that_was_never_closed(self, lab: Path) -> None:
        path = train(lab)
        code = (
            "import h5py, os, sys, numpy as np; sys.path[:0] = [sys.argv[2]];"
            "f = h5py.File(sys.argv[1], 'w', libver='latest');"
            "f['x'] = np.ones((24, 32, 32, 3), 'u1'); f['y'] = np.ones(24, 'u1');"
            "f.swmr_mode = True; f.flush(); os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", code, str(path), ""], check=False)
        with pytest.raises(DataError, match=r"train\.h5 was not closed") as caught:
            open_raw(profile("lab_h5"), lab)
        assert "h5clear" in caught.value.hint

    def test_a_file_that_is_cut_short(self, lab: Path) -> None:
        whole = train(lab).stat().st_size
        os.truncate(train(lab), 20_000)
        fails("lab_h5", lab, f"train.h5 is cut short: expected {whole:,} bytes, found 20,000")

    @pytest.mark.parametrize(
        ("head", "what", "hint"),
        [
            (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer", "git lfs pull"),
            (b"<!DOCTYPE html><title>Sign in</title>", "a web page: 'Sign in'", "signed in"),
            (b"PK\x03\x04" + bytes(60), "a zip archive", ".zip"),
            (bytes(100), "nothing but zeros", "download"),
        ],
    )
    def test_something_else(self, head: bytes, what: str, hint: str, lab: Path) -> None:
        train(lab).write_bytes(head)
        with pytest.raises(DataError, match=f"is not HDF5: it is {what}") as caught:
            open_raw(profile("lab_h5"), lab)
        assert hint in caught.value.hint

    def test_no_right_to_read_it(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(hdf5_safety, "open_regular", denied)
        with (
            pytest.raises(DataError, match="you have no permission") as caught,
            hdf5_safety.opened(train(lab), "train.h5"),
        ):
            pass
        assert "chmod" in caught.value.hint

    def test_a_file_system_without_locks(
        self, lab: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        real = h5py.File

        def file(path: Path, mode: str, **how: Any) -> Any:
            if not how:
                raise BlockingIOError("Unable to open file (unable to lock file, errno = 37, ...)")
            return real(path, mode, **how)

        monkeypatch.setattr(hdf5_safety.h5py, "File", file)
        with hdf5_safety.opened(train(lab), "train.h5") as opened:
            assert "x" in opened
        assert "has no locks" in caplog.text

    @pytest.mark.parametrize("error", [RuntimeError, TypeError, ValueError, KeyError, OSError])
    def test_whatever_h5py_raises(self, error: type[Exception], lab: Path) -> None:
        with (
            pytest.raises(DataError, match=r"^train\.h5 cannot be read: .*odd"),
            hdf5_safety.opened(train(lab), "train.h5"),
        ):
            raise error("odd\nnews")
