"""Names of files: which ones every system can hold, and how shells take them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

# names that Windows reserves for devices, with any extension
DEVICES = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[1-9¹²³]|lpt[1-9¹²³]) *(\..*)?", re.IGNORECASE
)
LONGEST = 255  # bytes of one part of a path
FORBIDDEN = '<>:"|?*'  # by Windows, where a colon would name a stream of the file


def is_device(name: str) -> bool:
    """Whether Windows takes this name of a file or folder for a device: `nul`, `aux.csv`."""
    return DEVICES.fullmatch(name) is not None


def unsafe_name(name: str) -> str:
    """Why a file from elsewhere must not get this relative name; "" when the name is safe.

    Names that are unsafe on Windows only are refused, too.
    """
    parts = name.split("/")
    if not name:
        return "no name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in parts:
        return "a path that leaves its folder"
    if "\\" in name or any(ord(character) < 32 or character == "\x7f" for character in name):
        return "a backslash or control character in its name"
    if any(character in FORBIDDEN for character in name):
        return f"one of {FORBIDDEN} in its name"
    if any(part.endswith((".", " ")) and part != "." for part in parts):
        return "a name that ends with a dot or space"
    if (
        not name.isprintable()
        or len(name) > 1000
        or any(len(part.encode("utf-8", "replace")) > LONGEST for part in parts)
    ):
        return "characters or a length that no file name has"
    if any(is_device(part) for part in parts):
        return "the name of a device"
    return ""


def shell_word(path: Path) -> str:
    """The path as a word of a command to copy, with the quotes that the system's shell needs."""
    if os.name == "nt":
        return subprocess.list2cmdline([str(path)])
    return shlex.quote(str(path))
