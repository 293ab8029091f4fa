"""Exact and near copies of patches: compressed again, brighter, or slightly blurred.

Near copies are found by a 64-bit perceptual hash, which is computed while the pixels stream by, and
confirmed on the pixels. Of 1,500 real patches saved again as JPEG (quality 50) 99% are found at
96 px and 91% at 32 px; made 5 levels brighter 99% and 97%; moved by one pixel 61% and none. Among
19,171 patches one pair is joined that is no copy (nearly empty glass). Rotated and mirrored copies
are not searched for here; `data.copies` finds the exact ones among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Images

SIDE = 16  # a patch is compared as 16x16 block means
BITS = 64
BAND = 16  # near copies share one of four runs of 16 bits
# neighbours compared in the sorted order: bounds the work when thousands of flat patches are alike
WINDOW = 16
MAX_BITS = 10  # that differ between the perceptual hashes of near copies
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B: JPEG preserves it best
# grey levels; below it a patch has no pattern to compare, and only exact copies count
MIN_CONTRAST = 3.0
MIN_CORRELATION = 0.95
MAX_DIFFERENCE = 8.0  # grey levels, mean over the block means
PAIRS_PER_BATCH = 256  # confirmed at a time: bounds the pixels in memory


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is remembered of each patch once its pixels have passed: all arrays are [n]."""

    pixel_hashes: NDArray[np.uint64]
    perceptual_hashes: NDArray[np.uint64]
    flat: NDArray[np.bool_]  # contrast below MIN_CONTRAST


def fingerprint(block: Images) -> Fingerprints:
    """The fingerprints of a block, uint8 [k, h, w, 3]."""
    return Fingerprints(hash_pixels(block), *hash_perceptually(block))


def hash_pixels(block: Images) -> NDArray[np.uint64]:
    """A hash of each image's pixels, [k]: equal for equal ones, in this process only.

    It is Python's own of bytes. Those of hashlib let other threads run for each image, and then
    wait for them.
    """
    return np.array([hash(image.tobytes()) for image in block], np.int64).view(np.uint64)


def hash_perceptually(block: Images) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The perceptual hash of each image of a block, and whether it is flat: both [k]."""
    grey = _thumbnails(block)
    # Signs of the low frequencies around their median: they survive compression, shading and blur.
    frequencies = np.outer(np.arange(1, 9), 2 * np.arange(SIDE) + 1)
    waves = np.cos(np.pi * frequencies / (2 * SIDE)).astype(np.float32)
    coefficients = (waves @ grey @ waves.T).reshape(len(block), BITS)
    bits = coefficients > np.median(coefficients, axis=1, keepdims=True)
    hashes = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return hashes, grey.std(axis=(1, 2)) < MIN_CONTRAST


def join_fingerprints(blocks: Sequence[Fingerprints]) -> Fingerprints:
    """The fingerprints of several blocks as one."""
    return Fingerprints(
        np.concatenate([block.pixel_hashes for block in blocks]),
        np.concatenate([block.perceptual_hashes for block in blocks]),
        np.concatenate([block.flat for block in blocks]),
    )


def _thumbnails(block: Images) -> NDArray[np.float32]:
    """Grey block means, float32 [k, 16, 16]."""
    k, height, width, _ = block.shape
    if height % SIDE == 0 and width % SIDE == 0:
        # whole multiples of 16 go through OpenCV as one tall image, in a single call
        tall = np.ascontiguousarray(block).reshape(k * height, width, 3)
        small = cv2.resize(tall, (SIDE, k * SIDE), interpolation=cv2.INTER_AREA)
        return small.reshape(k, SIDE, SIDE, 3) @ LUMA
    resized = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in block]
    return np.stack(resized) @ LUMA


def duplicate_groups(fingerprints: Fingerprints, images: Images) -> NDArray[np.int64]:
    """A number for each patch: equal for exact and near copies of one another.

    images: uint8 [n, h, w, 3], may be a memory map.
    """
    return group_duplicates(fingerprints, lambda rows: images[rows])


def group_duplicates(
    fingerprints: Fingerprints, read_pixels: Callable[[NDArray[np.int64]], Images]
) -> NDArray[np.int64]:
    """The same for patches that `read_pixels` gathers: rows [m] -> uint8 [m, h, w, 3]."""
    groups = np.unique(fingerprints.pixel_hashes, return_inverse=True)[1].astype(np.int64)
    for pairs in _near_pairs(fingerprints):
        # the first rounds join most copies of large groups, which then need no confirmation
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        groups = _joined(groups, pairs[_confirmed(pairs, read_pixels)])
    return groups


def _joined(groups: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups after joining those of each pair of rows (union-find)."""
    parents: dict[int, int] = {}

    def root(group: int) -> int:
        while parents.get(group, group) != group:
            parent = parents[group]
            parents[group] = parents.get(parent, parent)
            group = parents[group]
        return group

    for a, b in groups[pairs].tolist():
        low, high = sorted((root(a), root(b)))
        parents[high] = low
    renamed = np.arange(len(groups))
    for group in list(parents):
        renamed[group] = root(group)
    return renamed[groups]


def _near_pairs(fingerprints: Fingerprints) -> Iterator[NDArray[np.int64]]:
    """Candidate pairs of rows [m, 2], nearest in the sorted order first.

    The hashes of a pair are equal in a run of 16 bits, differ in at most MAX_BITS bits, and are at
    most WINDOW apart when all are sorted by that run.
    """
    rows = np.flatnonzero(~fingerprints.flat)
    hashes = fingerprints.perceptual_hashes[rows]
    bands: list[tuple[NDArray[np.int64], NDArray[np.uint64]]] = []
    for shift in range(0, BITS, BAND):
        rotated = hashes
        if shift:
            rotated = hashes << np.uint64(shift) | hashes >> np.uint64(BITS - shift)
        order = np.argsort(rotated, kind="stable")
        bands.append((rows[order], rotated[order]))
    for step in range(1, min(WINDOW, len(rows) - 1) + 1):
        candidates: list[NDArray[np.int64]] = []
        for ordered, rotated in bands:
            differing = rotated[step:] ^ rotated[:-step]
            same_run = differing >> np.uint64(BITS - BAND) == 0
            near = np.flatnonzero(same_run & (np.bitwise_count(differing) <= MAX_BITS))
            pairs = np.stack([ordered[near], ordered[near + step]], axis=1)
            candidates.append(np.sort(pairs, axis=1))
        yield np.unique(np.concatenate(candidates), axis=0)


def _confirmed(
    pairs: NDArray[np.int64], read_pixels: Callable[[NDArray[np.int64]], Images]
) -> NDArray[np.bool_]:
    """Whether the pixels of each pair of rows [m, 2] are those of near copies: bool [m]."""
    result = np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), PAIRS_PER_BATCH):
        batch = pairs[start : start + PAIRS_PER_BATCH]
        first, second = (
            _thumbnails(read_pixels(batch[:, column])).reshape(len(batch), -1) for column in (0, 1)
        )
        difference = np.abs(first - second).mean(axis=1)
        first = first - first.mean(axis=1, keepdims=True)
        second = second - second.mean(axis=1, keepdims=True)
        scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        correlation = (first * second).sum(axis=1) / np.maximum(scale, 1e-6)
        result[start : start + len(batch)] = (correlation >= MIN_CORRELATION) & (
            difference <= MAX_DIFFERENCE
        )
    return result


def count_duplicates_across(
    fingerprints: Fingerprints,
    groups: NDArray[np.int64],
    source: NDArray[np.bool_],
    target: NDArray[np.bool_],
) -> tuple[int, int]:
    """How many patches of `target` have an exact copy in `source`, and how many more a near one.

    groups: of `duplicate_groups`. Both masks are [n].
    """
    hashes = fingerprints.pixel_hashes
    exact = target & np.isin(hashes, hashes[source])
    near = target & np.isin(groups, groups[source]) & ~exact
    return int(exact.sum()), int(near.sum())
