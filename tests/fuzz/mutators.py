"""Seeded changes of good bytes: as disks, editors, other programs and attackers make them.

A mutator takes the good bytes and a `random.Random`, and gives other bytes.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

Mutator = Callable[[bytes, random.Random], bytes]

INTEGERS = (0, 1, 2, 3, 127, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
# what is found under the name of something else
FOREIGN = (
    b"",
    b"\n",
    b"\0" * 512,
    b"<!DOCTYPE html><html><title>Sign in</title></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n",
    b"PK\x05\x06" + bytes(18),
    b"PK\x03\x04" + bytes(40),
    b"\x1f\x8b\x08\x00" + bytes(20),
    b"\x89HDF\r\n\x1a\n" + bytes(600),
    b"II*\0\x08\0\0\0" + b"\xff" * 60,
    b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    b"BZh91AY&SY",
    b"\xff\xfe{\0}\0",
    b"{}",
    b"[]",
    b"null",
)
WORDS = (
    "",
    "0",
    "-1",
    "1e999",
    "-0.0",
    "NaN",
    ".inf",
    "9" * 5000,
    "1" + "0" * 400,
    "null",
    "true",
    "[]",
    "{}",
    "[[[[",
    "[" * 500 + "]" * 500,
    "2024-02-30",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "0x1f",
    "1_000",
    "12:30:45",
    "!!int abc",
    "!!float x",
    "!!binary ====",
    "!!python/object/apply:os.getcwd []",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!unknown x",
    "&a [*a, *a]",
    "*nobody",
    "<<: {a: 1}",
    "? [a, b]",
    "%YAML 9.9",
    "---",
    "...",
    "|",
    ">-",
    "'",
    '"',
    "\t",
    "\\",
    "#",
    ",",
    ":",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "\ufeff",
    "\ufffe",
    "é",
    "日本",
    "[red]",
    "../../outside/precious",
    "/etc/passwd",
    "C:\\x",
    "nul",
    "a" * 200_000,
    "=1+1",
    "id",
    "label",
)
# names of a file beside the working directory, from several places in it
OUTSIDE = tuple(f"{'../' * n}outside/precious" for n in range(1, 6))
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**30,
    -(10**400),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\x1b[31mred\x07",
    "\ud800",
    "\u202etxt",
    "../../../../outside/precious",
    "/etc/passwd",
    "a" * 100_000,
    "2024-01-01",
    "[bold]x[/bold]",
    [],
    {},
    [[]],
    {"": {}},
    [None] * 1000,
)


def some_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to three changes of the bytes, whatever they mean."""
    if rng.random() < 0.05:
        return rng.choice(FOREIGN)
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        result = rng.choice(BYTE_CHANGES)(result, rng)
    return bytes(result)


def _place(data: bytearray, rng: random.Random) -> int:
    """A position: anywhere, or near one of the ends, where headers and tables are."""
    n = len(data)
    if n == 0:
        return 0
    near = min(n, 512)
    return rng.choice((rng.randrange(n), rng.randrange(near), n - 1 - rng.randrange(near)))


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def _set(data: bytearray, rng: random.Random) -> bytearray:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return data


def _integer(data: bytearray, rng: random.Random) -> bytearray:
    at = _place(data, rng)
    code = rng.choice("BHIQ")
    value = rng.choice(INTEGERS) % (1 << (8 * struct.calcsize(code)))
    packed = struct.pack(rng.choice("<>") + code, value)
    data[at : at + len(packed)] = packed
    return data


def _remove(data: bytearray, rng: random.Random) -> bytearray:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 8, 64, 4096))]
    return data


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))
    return data


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((1, 16, 512))] * rng.choice((1, 2, 50))
    return data


def _clear(data: bytearray, rng: random.Random) -> bytearray:
    at = _place(data, rng)
    end = min(len(data), at + rng.choice((4, 64, 4096)))
    data[at:end] = bytes((rng.choice((0, 255)),)) * (end - at)
    return data


def _shorten(data: bytearray, rng: random.Random) -> bytearray:
    return data[: _place(data, rng)]


def _lengthen(data: bytearray, rng: random.Random) -> bytearray:
    return data + rng.choice(FOREIGN)


def _move(data: bytearray, rng: random.Random) -> bytearray:
    here, there, size = _place(data, rng), _place(data, rng), rng.choice((1, 32, 512))
    data[here : here + size] = data[there : there + size]
    return data


BYTE_CHANGES = (
    _flip,
    _flip,
    _set,
    _integer,
    _integer,
    _remove,
    _insert,
    _repeat,
    _clear,
    _shorten,
    _lengthen,
    _move,
)


def some_text(data: bytes, rng: random.Random) -> bytes:
    """Words and lines are replaced, added, repeated or removed; sometimes only bytes."""
    if rng.random() < 0.2:
        return some_bytes(data, rng)
    text = data.decode("utf-8")
    for _ in range(rng.choice((1, 1, 2, 4))):
        text = rng.choice((_word, _word, _word, _line, _add_word))(text, rng)
    encoding = rng.choice(("utf-8",) * 12 + ("utf-16", "utf-8-sig"))
    if rng.random() < 0.05:
        text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\x0b", "\u2028")))
    return text.encode(encoding, "surrogatepass")


def _word(text: str, rng: random.Random) -> str:
    """Another word in the place of one."""
    words = list(re.finditer(r"\w+|[^\w\s]", text))
    if not words:
        return rng.choice(WORDS)
    word = rng.choice(words)
    return text[: word.start()] + rng.choice(WORDS) + text[word.end() :]


def _add_word(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(WORDS) + text[at:]


def _line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    lines[at : at + 1] = rng.choice(
        ([], [lines[at]] * 2, [lines[at], rng.choice(lines)], [" " + lines[at]], [lines[at] + ","])
    )
    return "\n".join(lines)


def some_json(data: bytes, rng: random.Random) -> bytes:
    """Values of another type, keys gone or new, deep nesting; sometimes text or bytes."""
    choice = rng.random()
    if choice < 0.15:
        return some_text(data, rng)
    if choice < 0.25:
        return some_bytes(data, rng)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _change_value(value, rng)
    return json.dumps(value, indent=rng.choice((None, 2))).encode()


def some_json_lines(data: bytes, rng: random.Random) -> bytes:
    """One line changed as `some_json` does, or lines exchanged, repeated or removed."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    if rng.random() < 0.2:
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [lines[at], b"\n"], [b"null\n"]))
        rng.shuffle(lines)
        return b"".join(lines)
    changed = some_json(lines[at], rng).replace(b"\n", b" ")
    return b"".join([*lines[:at], changed + b"\n", *lines[at + 1 :]])


def _change_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        items: dict[str, Any] = dict(value)
        key = rng.choice(list(items))
        what = rng.random()
        if what < 0.1:
            del items[key]
        elif what < 0.2:
            items[rng.choice(WORDS)[:1000]] = items.pop(key)
        else:
            items[key] = _change_value(items[key], rng)
        return items
    if isinstance(value, list) and value and rng.random() < 0.7:
        members = list(value)
        at = rng.randrange(len(members))
        members[at] = _change_value(members[at], rng)
        return members
    what = rng.random()
    if what < 0.1:
        return [value]
    if what < 0.15:
        return _nested(value, rng)
    return rng.choice(VALUES)


def _nested(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((5, 50, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def outside_names(data: bytes, rng: random.Random) -> bytes:
    """A name in the JSON, a key or a text, is that of a file outside."""
    names = re.findall(rb'"([^"\\]+)"', data)
    return data.replace(rng.choice(names), rng.choice(OUTSIDE).encode(), 1)


def deep_json(data: bytes, rng: random.Random) -> bytes:
    """A text that is nested deeper than Python's stack."""
    opening = rng.choice((b"[", b'{"a":', b"[[", b'[{"id":'))
    return opening * rng.choice((2_000, 100_000))


def zip_members(data: bytes, rng: random.Random) -> bytes:
    """The archive written again, every checksum right, with one thing other than it was."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    info, content = members[at]
    what = rng.choice(("name", "content", "bomb", "twice", "less", "link", "folder"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (member, bytes_) in enumerate(members):
            if i != at:
                archive.writestr(member.filename, bytes_)
            elif what == "name":
                archive.writestr(_zip_name(member.filename, rng), bytes_)
            elif what == "content":
                archive.writestr(member.filename, some_bytes(bytes_, rng))
            elif what == "bomb":
                archive.writestr(member.filename, bytes_ + bytes(30_000_000))
            elif what == "link":
                link = zipfile.ZipInfo(member.filename)
                link.external_attr = 0o120777 << 16
                archive.writestr(link, "../../outside/precious")
            elif what == "folder":
                archive.writestr(member.filename + "/", b"")
        if what == "twice":
            archive.writestr(info.filename, content)
            archive.writestr("a" + info.filename, content)
    written = buffer.getvalue()
    if what == "less" and rng.random() < 0.5:  # `zipfile` does not write an empty name
        return written.replace(members[0][0].filename.encode(), b"", 1)
    return written


def _zip_name(name: str, rng: random.Random) -> str:
    return rng.choice(
        (
            f"../../outside/{name}",
            f"/tmp/{name}",
            f"x/../../{name}",
            f"C:\\{name}",
            "/",
            name.upper(),
            name + "\x1b[31m",
            name + "\u202e",
            "nul",
            f"{name}/{name}",
            f"é/{name}",
            "a" * 300 + name,
        )
    )


def hdf5_features(data: bytes, rng: random.Random) -> bytes:
    """HDF5 that no honest file of patches has; `data` is not used.

    It points outside, has nothing stored, declares what no memory holds, or holds other things.
    """
    import h5py
    import numpy as np

    buffer = io.BytesIO()
    kind = rng.choice(HDF5_KINDS)
    with h5py.File(buffer, "w") as file:
        if kind != "y only":
            file["y"] = (np.arange(24) % 3 == 0).astype(np.uint8)
        images = rng.randbytes(24 * 32 * 32 * 3)
        x = np.frombuffer(images, np.uint8).reshape(24, 32, 32, 3)
        shape = x.shape
        match kind:
            case "external link":
                file["x"] = h5py.ExternalLink(rng.choice(("valid.h5", "../secret.h5")), "x")
            case "soft link":
                file["x"] = h5py.SoftLink(rng.choice(("/x", "/nowhere", "/")))
            case "cycle":
                file["x"] = file["/"]
            case "external storage":
                where = [("../../configs/quick.yaml", 0, x.size)]
                file.create_dataset("x", shape, np.uint8, external=where)
            case "virtual":
                layout = h5py.VirtualLayout(shape, np.uint8)
                layout[:] = h5py.VirtualSource(rng.choice(("valid.h5", "gone.h5")), "x", shape)
                file.create_virtual_dataset("x", layout, fillvalue=7)
            case "never written":
                file.create_dataset("x", shape, np.uint8, chunks=rng.choice((None, (8, 32, 32, 3))))
            case "partly written":
                file.create_dataset("x", shape, np.uint8, chunks=(8, 32, 32, 3))[:8] = x[:8]
            case "many rows":
                rows = rng.choice((10**6, 10**9, 2**40))
                file.create_dataset("x", (rows, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
            case "many labels":
                file["x"] = x
                del file["y"]
                file.create_dataset("y", (10**10,), np.uint8, chunks=(1000,))
            case "zeros":
                rows = (20_000, 32, 32, 3)
                file.create_dataset("x", rows, np.uint8, compression="gzip", fillvalue=0)
                file["x"][-1] = 1
            case "group":
                file.create_group("x")
            case "type":
                file["x"] = np.dtype(np.uint8)
            case "texts":
                file.create_dataset("x", data=["a"] * 24, dtype=h5py.string_dtype())
            case "references":
                file.create_dataset("x", (24, 32, 32, 3), dtype=h5py.ref_dtype)
            case "compound":
                file.create_dataset("x", (24,), dtype=[("a", "u1"), ("b", "f8")])
            case "nothing":
                file.create_dataset("x", data=h5py.Empty("u1"))
            case "number":
                file["x"] = 5
            case "other labels":
                file["x"] = x
                del file["y"]
                other: Any = rng.choice(([0.5] * 24, [float("nan")] * 24, [2] * 24, ["0"] * 24))
                file["y"] = other
            case _:
                pass
    return buffer.getvalue()


HDF5_KINDS = (
    "external link",
    "soft link",
    "cycle",
    "external storage",
    "virtual",
    "never written",
    "partly written",
    "many rows",
    "many labels",
    "zeros",
    "group",
    "type",
    "texts",
    "references",
    "compound",
    "nothing",
    "number",
    "other labels",
    "y only",
)


def zip_flags(data: bytes, rng: random.Random) -> bytes:
    """Members said to be encrypted, packed in another way, or of another size."""
    result = bytearray(data)
    field, value = rng.choice(
        (
            (8, 1),  # encrypted
            (8, 0x2000),  # a masked header
            (8, 0x20),  # patched data
            (10, 9),  # Deflate64
            (10, 99),  # AES
            (10, 93),  # Zstandard
            (10, 14),  # LZMA
            (10, 12),  # bzip2
            (24, 0xFFFF),  # the size
            (20, 0xFFFF),  # the packed size
            (42, 0xFFFF),  # where it begins
        )
    )
    central = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    if not central:
        return some_bytes(data, rng)
    for start in rng.sample(central, min(len(central), rng.choice((1, 1000)))):
        struct.pack_into("<H", result, start + field, value)
        if field in (8, 10):  # the header before the member, too
            local = struct.unpack_from("<I", result, start + 42)[0]
            struct.pack_into("<H", result, local + field - 2, value)
    return bytes(result)
