"""Patches that are there twice: exactly, or nearly (compressed again, brighter, a little blurred).

Near copies are found by a 64-bit perceptual hash made while the pixels stream by, and confirmed on
the pixels. Of 1,500 real patches saved again as JPEG (quality 50) 99% are found at 96 px and 91% at
32 px, made 5 levels brighter 99% and 97%, moved by one pixel 61% and none; among 19,171 patches one
pair is joined that is no copy (nearly empty glass). Turned or mirrored copies are not looked for
here; `data.copies` finds the exact ones among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Images

SIDE = 16  # a patch is compared as 16x16 block means
BITS = 64
BAND = 16  # near copies share one of four runs of 16 bits
# neighbours looked at in the sorted order: bounds the work when thousands of flat patches look
# alike
WINDOW = 16
MOST_BITS = 10
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B: JPEG keeps it best
# grey levels; below it a patch has no pattern to compare, only exact copies count
LEAST_CONTRAST = 3.0
LEAST_CORRELATION = 0.95
MOST_DIFFERENCE = 8.0  # grey levels, mean over the block means


@dataclass(frozen=True, eq=False)
class Looks:
    """What is remembered of each patch while its pixels pass: all arrays are [n]."""

    exact: NDArray[np.uint64]  # hash of the pixels
    rough: NDArray[np.uint64]  # perceptual hash
    flat: NDArray[np.bool_]


def look_at(block: Images) -> Looks:
    """The looks of a block, uint8 [k, h, w, 3]."""
    return Looks(hash_pixels(block), *rough_look(block))


def hash_pixels(block: Images) -> NDArray[np.uint64]:
    """A hash of each image's pixels, [k]; the images must be contiguous."""
    return np.array(
        [int.from_bytes(blake2b(image, digest_size=8).digest(), "little") for image in block],
        np.uint64,
    )


def rough_look(block: Images) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The perceptual hash of each image of a block, and whether it is flat: both [k]."""
    grey = _thumbnails(block)
    # Signs of the low frequencies around their median: what is left of a picture after compression,
    # shading and blur.
    waves = np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(
        np.float32
    )
    coefficients = (waves @ grey @ waves.T).reshape(len(block), BITS)
    bits = coefficients > np.median(coefficients, axis=1, keepdims=True)
    rough = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return rough, grey.std(axis=(1, 2)) < LEAST_CONTRAST


def join(looks: Sequence[Looks]) -> Looks:
    """The looks of several blocks as one."""
    return Looks(
        np.concatenate([look.exact for look in looks]),
        np.concatenate([look.rough for look in looks]),
        np.concatenate([look.flat for look in looks]),
    )


def _thumbnails(block: Images) -> NDArray[np.float32]:
    """Grey block means, float32 [k, 16, 16].

    Whole multiples of 16 go through OpenCV as one tall picture.
    """
    k, height, width, _ = block.shape
    if height % SIDE == 0 and width % SIDE == 0:
        tall = np.ascontiguousarray(block).reshape(k * height, width, 3)
        small = cv2.resize(tall, (SIDE, k * SIDE), interpolation=cv2.INTER_AREA).reshape(
            k, SIDE, SIDE, 3
        )
    else:
        small = np.stack(
            [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in block]
        )
    return small @ LUMA


def twins(looks: Looks, images: Images) -> NDArray[np.int64]:
    """A number for each patch: equal for exact and near copies of one another.

    `images`: uint8 [n, h, w, 3], may be a memory map.
    """
    return group_alike(looks, lambda rows: images[rows])


def group_alike(looks: Looks, pixels: Callable[[NDArray[np.int64]], Images]) -> NDArray[np.int64]:
    """The same for patches that `pixels` gathers: rows [m] -> uint8 [m, h, w, 3]."""
    groups = np.unique(looks.exact, return_inverse=True)[1].astype(np.int64)
    for pairs in _near_pairs(looks):
        # most copies of many are joined by the first rounds
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        groups = _joined(groups, pairs[_confirmed(pairs, pixels)])
    return groups


def _joined(groups: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups after joining those of each pair of rows."""
    above: dict[int, int] = {}

    def root(i: int) -> int:
        while (up := above.get(i, i)) != i:
            above[i] = above.get(up, up)
            i = above[i]
        return i

    for a, b in groups[pairs].tolist():
        low, high = sorted((root(a), root(b)))
        above[high] = low
    renamed = np.arange(len(groups))
    for i in list(above):
        renamed[i] = root(i)
    return renamed[groups]


def _near_pairs(looks: Looks) -> Iterator[NDArray[np.int64]]:
    """Pairs [m, 2] worth a look, nearest first: equal in a run of 16 bits, at most 10 bits apart,
    near when sorted by that run.
    """
    rows = np.flatnonzero(~looks.flat)
    bands: list[tuple[NDArray[np.int64], NDArray[np.uint64]]] = []
    for shift in range(0, BITS, BAND):
        bits = looks.rough[rows]
        turned = bits << np.uint64(shift) | (
            bits >> np.uint64(BITS - shift) if shift else np.uint64(0)
        )
        order = np.argsort(turned, kind="stable")
        bands.append((rows[order], turned[order]))
    for step in range(1, min(WINDOW, len(rows) - 1) + 1):
        found: list[NDArray[np.int64]] = []
        for ordered, turned in bands:
            apart = turned[step:] ^ turned[:-step]
            near = np.flatnonzero(
                (apart >> np.uint64(BITS - BAND) == 0) & (np.bitwise_count(apart) <= MOST_BITS)
            )
            found.append(np.sort(np.stack([ordered[near], ordered[near + step]], axis=1), axis=1))
        yield np.unique(np.concatenate(found), axis=0)


def _confirmed(
    pairs: NDArray[np.int64], pixels: Callable[[NDArray[np.int64]], Images]
) -> NDArray[np.bool_]:
    result = np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), 256):
        part = pairs[start : start + 256]
        first, second = (
            _thumbnails(pixels(part[:, side])).reshape(len(part), -1) for side in (0, 1)
        )
        difference = np.abs(first - second).mean(axis=1)
        first, second = (side - side.mean(axis=1, keepdims=True) for side in (first, second))
        scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        correlation = (first * second).sum(axis=1) / np.maximum(scale, 1e-6)
        result[start : start + 256] = (correlation >= LEAST_CORRELATION) & (
            difference <= MOST_DIFFERENCE
        )
    return result


def crossings(
    looks: Looks, groups: NDArray[np.int64], here: NDArray[np.bool_], there: NDArray[np.bool_]
) -> tuple[int, int]:
    """How many patches of `there` have an exact copy in `here`, and how many others a near one.

    Both masks are [n].
    """
    exact = there & np.isin(looks.exact, looks.exact[here])
    near = there & np.isin(groups, groups[here]) & ~exact
    return int(exact.sum()), int(near.sum())
